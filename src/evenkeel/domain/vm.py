"""Virtual machines as the agent sees them, and the knobs of theirs that mitigations turn."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache

from evenkeel.domain.ids import NO_TENANT, TenantId, VmId


class VmState(StrEnum):
    RUNNING = "running"
    PAUSED = "paused"
    SHUTOFF = "shutoff"
    CRASHED = "crashed"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class CpuTuning:
    """A VM's CPU knobs, read back from the hypervisor; restoring it is what rollback means.

    `vcpu_pins[k]` is the sorted tuple of host CPUs that vCPU k may run on. `shares` (weight) and
    the quota are None where the host has no CPU controller; `quota_us` < 0 means unlimited.
    """

    vcpu_pins: tuple[tuple[int, ...], ...]
    shares: int | None = None
    period_us: int | None = None
    quota_us: int | None = None

    @property
    def cpuset(self) -> frozenset[int]:
        """Host CPUs that any vCPU may run on."""
        return _cpus_of(self.vcpu_pins)

    @property
    def quota_cores(self) -> float:
        """Most cores that the quota lets this VM use; infinite when there is no quota."""
        if self.quota_us is None or self.quota_us < 0 or not self.period_us:
            return float("inf")
        return self.quota_us / self.period_us * max(1, len(self.vcpu_pins))


@lru_cache(maxsize=4096)
def _cpus_of(vcpu_pins: tuple[tuple[int, ...], ...]) -> frozenset[int]:
    return frozenset(cpu for pins in vcpu_pins for cpu in pins)


@dataclass(frozen=True, slots=True)
class Vm:
    """One VM on one host. `priority` weighs its losses (1: normal); exempt VMs stay untouched."""

    id: VmId
    name: str
    n_vcpus: int
    memory_mib: float
    tenant: TenantId = NO_TENANT
    state: VmState = VmState.RUNNING
    priority: float = 1.0
    exempt: bool = False
    tuning: CpuTuning = field(default_factory=lambda: CpuTuning(vcpu_pins=()))
