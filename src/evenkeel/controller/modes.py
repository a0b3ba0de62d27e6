"""The operator's modes and the policy that each host gets from them."""

from __future__ import annotations

import dataclasses

from evenkeel.domain.errors import InvalidRequest
from evenkeel.domain.events import Event
from evenkeel.domain.host import Mode
from evenkeel.domain.ids import HostId
from evenkeel.domain.policy import Policy
from evenkeel.ports import Clock
from evenkeel.ports_store import Store
from evenkeel.records import ModeSettings


def policy_for(host: HostId, settings: ModeSettings, base: Policy) -> Policy:
    """A host's own mode wins over the fleet's; a tenant's can only hold Evenkeel back."""
    return dataclasses.replace(
        base,
        version=settings.version,
        mode=settings.hosts.get(host, settings.fleet),
        tenant_modes=dict(settings.tenants),
    )


class ModeService:
    """Sets modes; agents hear of it in the reply to their next batch."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def set_mode(
        self, mode: Mode | None, host: str | None, tenant: str | None, who: str
    ) -> ModeSettings:
        """Set one host's, one tenant's or the fleet's mode, and log who did it.

        Raises InvalidRequest (both given; fleet mode unset), StoreUnavailable.
        """
        if host is not None and tenant is not None:
            raise InvalidRequest("give a host or a tenant, not both")
        if mode is None and host is None and tenant is None:
            raise InvalidRequest("the fleet's mode cannot be unset", hint="Set another mode.")
        scope, name = "fleet", ""
        if host is not None:
            scope, name = "host", host
        elif tenant is not None:
            scope, name = "tenant", tenant
        if scope != "fleet" and not (0 < len(name) <= 255 and name.isprintable()):
            raise InvalidRequest(f"{scope} is not a name of 1-255 printable characters")
        what = f"{scope} {name}".strip()
        event = Event(
            self._clock.wall_s(),
            "mode_set",
            f"{who} {'unset the mode' if mode is None else f'set the mode {mode.value}'} of {what}",
            host=HostId(host) if host is not None else None,
            detail={"who": who, "scope": scope, "name": name, "mode": mode and mode.value},
        )
        with self._store.write() as session:
            session.access.put_mode(scope, name, mode)
            session.chronicle.add_events([event])
            return session.access.modes()
