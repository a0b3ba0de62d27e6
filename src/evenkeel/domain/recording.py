"""What a fleet looked like over some time: its hosts, its VMs, and what each wanted, slot by slot.

The form in which a simulation takes real traces, a recording of one's own fleet, or made-up
demand. Columns of the resource axis are those of `domain.resources.AXIS`, in its units.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from evenkeel.domain.arrays import F32, F64, Ints
from evenkeel.domain.errors import TraceInvalid
from evenkeel.domain.resources import CPU_AXIS, N_RESOURCES

NOWHERE: Final = -1
NEVER: Final = np.iinfo(np.int64).max
"""The slot in which a VM leaves that stays to the end."""


class SlotDemand(Protocol):
    """What all VMs want, slot by slot."""

    def at(self, slot: int) -> F64:
        """(V, R) mean demand over the slot, >= 0; NaN: not known. Rows of absent VMs: any."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Recorded:
    """Demand that is all there: `values` (V, R, T)."""

    values: F32

    def at(self, slot: int) -> F64:
        return self.values[:, :, slot].astype(np.float64)


@dataclass(frozen=True, slots=True)
class HostShape:
    """A host as a simulation needs it. Watts at idle and with all CPUs busy; 0: not known."""

    name: str
    n_cpus: int
    memory_mib: float
    net_mbit_s: float = 10_000.0
    iops: float = 50_000.0
    idle_w: float = 0.0
    busy_w: float = 0.0
    fault_domain: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class VmTable:
    """V VMs in columns.

    `vcpus` cores each may use at most, `memory_mib` its size; it is there from slot `arrives` up
    to, without, slot `leaves`; `host` is where it was in its first slot (position in the
    recording's hosts), NOWHERE: not known. `kind` says what it has in common with others.
    """

    ids: tuple[str, ...]
    vcpus: F64
    memory_mib: F64
    arrives: Ints
    leaves: Ints
    host: Ints
    tenant: tuple[str, ...]
    kind: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """`n_slots` slots of `slot_s` seconds from `start_s` (UTC). `hosts` may be empty: traces of
    VMs know none. `notes` says what is assumed and not in the source, for every report."""

    source: str
    start_s: float
    slot_s: float
    n_slots: int
    hosts: tuple[HostShape, ...]
    vms: VmTable
    demand: SlotDemand
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises TraceInvalid for a table that does not fit together."""
        vms, n = self.vms, len(self.vms.ids)
        columns = (vms.vcpus, vms.memory_mib, vms.arrives, vms.leaves, vms.host)
        if any(len(c) != n for c in (*columns, vms.tenant, vms.kind)):
            raise TraceInvalid(f"{self.source}: columns of VMs differ in length")
        if len(set(vms.ids)) != n:
            raise TraceInvalid(f"{self.source}: two VMs have one name")
        if self.n_slots < 1 or not self.slot_s > 0:
            raise TraceInvalid(f"{self.source}: it holds no time")
        if n and not (np.all(vms.vcpus > 0) and np.all(vms.memory_mib > 0)):
            raise TraceInvalid(f"{self.source}: a VM has no vCPUs or no memory")
        if np.any(vms.leaves <= vms.arrives) or np.any(vms.arrives < 0):
            raise TraceInvalid(f"{self.source}: a VM leaves before it comes")
        if np.any((vms.host < NOWHERE) | (vms.host >= len(self.hosts))):
            raise TraceInvalid(f"{self.source}: a VM is on a host that is not recorded")

    def present(self, slot: int) -> Ints:
        """VMs that are there in `slot`."""
        return np.flatnonzero((self.vms.arrives <= slot) & (slot < self.vms.leaves))

    def wanted(self, slot: int) -> F64:
        """(V, R) with what is not known as 0, and no more CPU than the VM has."""
        wanted = np.nan_to_num(self.demand.at(slot), nan=0.0)
        assert wanted.shape == (len(self.vms.ids), N_RESOURCES)
        wanted[:, CPU_AXIS] = np.minimum(wanted[:, CPU_AXIS], self.vms.vcpus)
        return np.maximum(wanted, 0.0)
