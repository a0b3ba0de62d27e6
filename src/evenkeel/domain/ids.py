"""Names of things. All are strings on the wire; the types keep them from being swapped."""

from __future__ import annotations

from typing import Final, NewType

HostId = NewType("HostId", str)
VmId = NewType("VmId", str)
"""A libvirt domain UUID: survives reboot and migration."""
TenantId = NewType("TenantId", str)
MitigationId = NewType("MitigationId", str)

NO_TENANT: Final = TenantId("default")
HOST_ITSELF: Final = VmId("host")
"""Stands in for an aggressor when the load comes from the host and from no VM."""
NOBODY: Final = VmId("nobody")
"""Stands in for an aggressor where a loss is measured and no culprit can be named."""
