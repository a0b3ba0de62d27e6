"""Who may see what: a tenant sees its own VMs, and strangers only as strangers.

A foreign neighbour keeps one pseudonym per tenant that looks, so a tenant can tell two strangers
apart over time, and two tenants cannot put together what they see. Free text that could name a
stranger is replaced for tenants. They do see the ids of the hosts that their VMs are on.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

from evenkeel.api.reader import Principal, Role
from evenkeel.domain.errors import Forbidden, NotFound
from evenkeel.domain.ids import HOST_ITSELF, NOBODY, TenantId, VmId
from evenkeel.ports_store import Session
from evenkeel.records import VmRecord

STRANGER = "another tenant's VM"
HOST_NAME = "the host itself"
NOBODY_NAME = "nobody that can be named"
_NO_VMS = {HOST_ITSELF: HOST_NAME, NOBODY: NOBODY_NAME}


class Viewer:
    """A principal's eyes during one request."""

    def __init__(self, who: Principal, session: Session, pseudonym_key: bytes) -> None:
        if who.role is Role.AGENT:
            raise Forbidden("an agent's token may not read the fleet")
        self.tenant = TenantId(who.subject) if who.role is Role.TENANT else None
        self._session = session
        self._key = pseudonym_key
        self._known: dict[VmId, VmRecord] = {}

    def look_up(self, vms: Iterable[VmId]) -> None:
        """Read the VMs that will be named, all at once."""
        self._known |= self._session.inventory.vms_by_id(
            vm for vm in vms if vm not in self._known and vm not in _NO_VMS
        )

    def owns(self, vm: VmId) -> bool:
        """Whether it may be shown in full; the host itself belongs to nobody."""
        if self.tenant is None:
            return True
        record = self._known.get(vm)
        return record is not None and record.vm.tenant == self.tenant

    def may_name(self, *vms: VmId) -> bool:
        return all(vm in _NO_VMS or self.owns(vm) for vm in vms)

    def shown(self, vm: VmId) -> tuple[str, str]:
        """(id, name) as this principal may know them."""
        if vm in _NO_VMS:
            return vm, _NO_VMS[vm]
        if self.owns(vm):
            record = self._known.get(vm)
            return vm, record.vm.name if record else vm
        digest = hmac.new(self._key, f"{self.tenant}\x00{vm}".encode(), hashlib.sha256)
        return f"stranger-{digest.hexdigest()[:12]}", STRANGER

    def name(self, vm: VmId) -> str:
        return self.shown(vm)[1]

    def find(self, vm: str, *, departed: bool = False) -> VmRecord:
        """By id, or by a name that only one visible VM has. Raises NotFound."""
        self.look_up([VmId(vm)])
        record = self._known.get(VmId(vm))
        if record and self.owns(record.vm.id) and (departed or record.home is not None):
            return record
        named = self._session.inventory.vms_named(vm, self.tenant)
        if not named:
            raise NotFound(f"there is no VM {vm!r}", hint="`evenkeel vms` lists them.")
        if len(named) > 1:
            raise NotFound(f"several VMs are named {vm!r}", hint="Ask by id: `evenkeel vms`.")
        self._known[named[0].vm.id] = named[0]
        return named[0]
