"""What a domain's XML says about a VM's owner, importance, balloon and profiler port.

    <metadata><evenkeel:vm xmlns:evenkeel="https://evenkeel.dev/xmlns/vm/1"
        tenant="acme" priority="2" exempt="yes"/></metadata>

Without a tenant there, the project that OpenStack Nova writes into the metadata counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree

from evenkeel.domain.ids import NO_TENANT, TenantId
from evenkeel.guest_wire import PORT_NAME

VM_NAMESPACE: Final = "https://evenkeel.dev/xmlns/vm/1"
NOVA_NAMESPACE: Final = "http://openstack.org/xmlns/libvirt/nova/1.1"
MAX_PRIORITY: Final = 1000.0
_TRUE: Final = frozenset({"yes", "true", "on", "1"})
_FALSE: Final = frozenset({"no", "false", "off", "0", ""})


@dataclass(frozen=True, slots=True)
class Metadata:
    """Owner and importance of a VM; `flaws` say what in the metadata could not be understood."""

    tenant: TenantId = NO_TENANT
    priority: float = 1.0
    exempt: bool = False
    flaws: tuple[str, ...] = ()


def parse(domain_xml: str) -> Metadata:
    """Metadata of a domain; what cannot be understood keeps its default and is named in `flaws`."""
    try:
        # libvirt wrote this XML itself and without a DTD: entity tricks do not pass through it.
        root = ElementTree.fromstring(domain_xml)  # noqa: S314  libvirt wrote it, without a DTD
    except ElementTree.ParseError as error:
        return Metadata(flaws=(f"domain XML does not parse: {error}",))
    flaws: list[str] = []
    own = root.find(f"metadata/{{{VM_NAMESPACE}}}vm")
    nova = root.find(f"metadata/{{{NOVA_NAMESPACE}}}instance/{{{NOVA_NAMESPACE}}}owner")
    project = None if nova is None else nova.find(f"{{{NOVA_NAMESPACE}}}project")
    tenant = "" if project is None else project.get("uuid", "").strip()
    if own is None:
        return Metadata(tenant=TenantId(tenant or NO_TENANT))
    tenant = own.get("tenant", "").strip() or tenant
    return Metadata(
        tenant=TenantId(tenant or NO_TENANT),
        priority=_priority(own.get("priority"), flaws),
        exempt=_exempt(own.get("exempt"), flaws),
        flaws=tuple(flaws),
    )


def profiler_socket(domain_xml: str) -> str | None:
    """Path of the unix socket behind the VM's profiler port; None where it has no such port."""
    try:
        channels = ElementTree.fromstring(domain_xml).iterfind("devices/channel[@type='unix']")  # noqa: S314  libvirt wrote it
    except ElementTree.ParseError:
        return None
    for channel in channels:
        target, source = channel.find("target"), channel.find("source")
        if target is not None and source is not None and target.get("name") == PORT_NAME:
            return source.get("path") if source.get("mode", "bind") == "bind" else None
    return None


def balloon_is_silent(domain_xml: str) -> bool:
    """Whether a VM has a balloon that was never told to report memory statistics."""
    # As above: libvirt's own XML.
    balloon = ElementTree.fromstring(domain_xml).find("devices/memballoon")  # noqa: S314  as above
    if balloon is None or balloon.get("model") == "none":
        return False
    stats = balloon.find("stats")
    return stats is None or stats.get("period", "0") == "0"


def _priority(text: str | None, flaws: list[str]) -> float:
    if text is None:
        return 1.0
    try:
        priority = float(text)
    except ValueError:
        priority = math.nan
    if not 0 < priority <= MAX_PRIORITY:
        flaws.append(f"priority {text!r} is not a number above 0 and up to {MAX_PRIORITY:g}")
        return 1.0
    return priority


def _exempt(text: str | None, flaws: list[str]) -> bool:
    word = (text or "").strip().lower()
    if word not in _TRUE | _FALSE:
        flaws.append(f"exempt {text!r} is neither yes nor no; the VM is left alone")
        return True  # whoever wrote it wanted to say something: the cautious reading
    return word in _TRUE
