"""A simulated VM: what it wants, what it has got so far, and its knobs."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Final

from evenkeel.domain.host import Capability
from evenkeel.domain.ids import NO_TENANT, TenantId, VmId
from evenkeel.domain.vm import CpuTuning, Vm, VmState
from evenkeel.sim.workload import NOTHING, Steady, Workload

DEFAULT_SHARES: Final = 1024
UNLIMITED: Final = -1
KERNEL_SHARE: Final = 0.03
"""Of a guest's memory, what its kernel keeps from its working set."""


@dataclass(frozen=True, slots=True)
class VmSpec:
    """A VM to start. Workloads are in cores, requests/s, Mbit/s and MiB.

    No `working_set_mib` means half the memory, all the time; no pins mean any CPU of the host.
    A vCPU that wants part of a core is on and off (`in_spells`), or wants that part all the time.
    """

    name: str
    n_vcpus: int = 1
    memory_mib: float = 2048.0
    cpu: Workload = NOTHING
    iops: Workload = NOTHING
    net_mbit_s: Workload = NOTHING
    working_set_mib: Workload | None = None
    request_kib: float = 16.0
    tenant: TenantId = NO_TENANT
    priority: float = 1.0
    exempt: bool = False
    vcpu_pins: tuple[tuple[int, ...], ...] | None = None
    shares: int = DEFAULT_SHARES
    period_us: int = 100_000
    quota_us: int = UNLIMITED
    has_balloon: bool = True
    has_delay: bool = True
    has_profiler: bool = False
    in_spells: bool = True

    def tuning(self, cpus: tuple[int, ...]) -> CpuTuning:
        """The knobs it starts with on a host of these CPUs."""
        pins = self.vcpu_pins or (cpus,) * self.n_vcpus
        return CpuTuning(pins, self.shares, self.period_us, self.quota_us)


@dataclass(slots=True)
class Work:
    """What a VM wanted and what it got since it was first started: the yardstick of recovery."""

    wanted_core_s: float = 0.0
    got_core_s: float = 0.0
    wanted_requests: float = 0.0
    got_requests: float = 0.0
    wanted_mbit: float = 0.0
    got_mbit: float = 0.0

    def __sub__(self, earlier: Work) -> Work:
        return Work(*(getattr(self, f.name) - getattr(earlier, f.name) for f in fields(Work)))

    @property
    def lost_core_s(self) -> float:
        """CPU work that was wanted and not done."""
        return self.wanted_core_s - self.got_core_s

    @property
    def cpu_share(self) -> float:
        """Share of the wanted CPU work that was done; 1 when none was wanted."""
        return self.got_core_s / self.wanted_core_s if self.wanted_core_s > 0 else 1.0


@dataclass(slots=True)
class Totals:
    """Cumulative counters of one run of a VM; they start from zero with every boot."""

    run_s: float = 0.0
    neighbour_delay_s: float = 0.0
    throttled_s: float = 0.0
    major_faults: float = 0.0
    disk_requests: float = 0.0
    disk_bytes: float = 0.0
    disk_time_s: float = 0.0
    net_mbit: float = 0.0
    dropped_mbit: float = 0.0


@dataclass(slots=True)
class SimVm:
    """The changing side of a VM on its present host."""

    id: VmId
    spec: VmSpec
    incarnation: int
    tuning: CpuTuning
    balloon_mib: float
    state: VmState = VmState.RUNNING
    totals: Totals = field(default_factory=Totals)
    work: Work = field(default_factory=Work)
    working_set_mib: float = 0.0
    resident_mib: float = 0.0
    stats_wall_s: float = 0.0

    def boot(self, incarnation: int) -> None:
        """A new process: counters start again from zero."""
        self.incarnation = incarnation
        self.totals = Totals()

    def working_set(self) -> Workload:
        return self.spec.working_set_mib or Steady(self.spec.memory_mib / 2)

    def count_cores(
        self, wanted_s: float, run_s: float, delay_s: float, throttled_s: float
    ) -> None:
        """Add core-seconds: wanted, run, waited for neighbours, throttled by its own quota."""
        self.totals.run_s += run_s
        self.totals.neighbour_delay_s += delay_s
        self.totals.throttled_s += throttled_s
        self.work.wanted_core_s += wanted_s
        self.work.got_core_s += run_s

    def count_devices(
        self,
        faults: float,
        io_requests: float,
        io_time_s: float,
        wanted_requests: float,
        got_requests: float,
        wanted_mbit: float,
        got_mbit: float,
    ) -> None:
        """Add amounts of one advance. `io_requests` includes those that faults cause."""
        totals, work = self.totals, self.work
        totals.major_faults += faults
        totals.disk_requests += io_requests
        totals.disk_bytes += io_requests * self.spec.request_kib * 1024
        totals.disk_time_s += io_time_s
        totals.net_mbit += got_mbit
        totals.dropped_mbit += wanted_mbit - got_mbit
        work.wanted_requests += wanted_requests
        work.got_requests += got_requests
        work.wanted_mbit += wanted_mbit
        work.got_mbit += got_mbit

    def describe(self, capabilities: frozenset[Capability]) -> Vm:
        spec = self.spec
        return Vm(
            id=self.id,
            name=spec.name,
            n_vcpus=spec.n_vcpus,
            memory_mib=spec.memory_mib,
            tenant=spec.tenant,
            state=self.state,
            priority=spec.priority,
            exempt=spec.exempt,
            tuning=visible_tuning(self.tuning, capabilities),
        )


def visible_tuning(tuning: CpuTuning, capabilities: frozenset[Capability]) -> CpuTuning:
    """What a host without a CPU controller can say of a VM's knobs: the pins."""
    has_quota = Capability.QUOTA in capabilities
    return CpuTuning(
        vcpu_pins=tuning.vcpu_pins,
        shares=tuning.shares if Capability.SHARES in capabilities else None,
        period_us=tuning.period_us if has_quota else None,
        quota_us=tuning.quota_us if has_quota else None,
    )
