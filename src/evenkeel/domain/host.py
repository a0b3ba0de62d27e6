"""A hypervisor host: what it has and what may be done on it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from evenkeel.domain.ids import HostId
from evenkeel.domain.resources import Resource


class Capability(StrEnum):
    """What a host lets Evenkeel do or see; found by asking, never assumed."""

    PIN = "pin"
    SHARES = "shares"
    QUOTA = "quota"
    THROTTLE_STATS = "throttle_stats"
    BALLOON = "balloon"
    PSI = "psi"


class Mode(StrEnum):
    """How far Evenkeel may go: only score, show plans, or carry them out."""

    OBSERVE = "observe"
    ADVISE = "advise"
    ACT = "act"


@dataclass(frozen=True, slots=True)
class NumaCell:
    """`cpus` that VMs may use and the memory next to them."""

    cpus: tuple[int, ...]
    memory_mib: float


@dataclass(frozen=True, slots=True)
class Host:
    """`cpus` are the host CPUs that VMs may use; the other capacities are in the resource's unit.

    None stands for a capacity nobody has told or learned yet. `cells` is empty where there is one
    alone or none is known; `fault_domain` is what fails together, empty: the host by itself.
    """

    id: HostId
    cpus: tuple[int, ...]
    memory_mib: float
    net_mbit_s: float | None = None
    iops: float | None = None
    capabilities: frozenset[Capability] = frozenset()
    hypervisor: str = ""
    cells: tuple[NumaCell, ...] = ()
    fault_domain: str = ""

    @property
    def capacity(self) -> dict[Resource, float | None]:
        """Of each resource, in its unit; None: nobody knows. No host has no CPUs, no network and no
        disk: nothing told of these is unknown, and not nothing."""
        return {
            Resource.CPU: float(len(self.cpus)) or None,
            Resource.MEMORY: self.memory_mib,
            Resource.NET: self.net_mbit_s or None,
            Resource.IOPS: self.iops or None,
        }
