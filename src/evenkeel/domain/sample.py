"""Measurements: cumulative counters as read, and what one tick derives from two of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from evenkeel.domain.arrays import F32, F64
from evenkeel.domain.host import Host
from evenkeel.domain.ids import VmId
from evenkeel.domain.vm import Vm


class Flaw(StrEnum):
    """Why a VM's numbers in a tick are not trusted in full; flawed values are NaN.

    The PROFILER_ ones are about `inside_loss` alone.
    """

    NEW = "new"
    RESET = "reset"
    PAUSED = "paused"
    NO_BALLOON = "no_balloon"
    STALE_BALLOON = "stale_balloon"
    NO_DELAY = "no_delay"
    IMPLAUSIBLE = "implausible"
    PROFILER_NONSENSE = "profiler_nonsense"
    """A line that is no report, or says what cannot be."""
    PROFILER_TIME = "profiler_time"
    """Two reports for one second, or a clock that went back or far too fast."""
    PROFILER_FLOOD = "profiler_flood"
    """More than a profiler has to say; the rest was thrown away."""
    PROFILER_RESET = "profiler_reset"
    PROFILER_SILENT = "profiler_silent"
    """It spoke before, and now nothing comes."""


@dataclass(frozen=True, slots=True)
class VmCounters:
    """One VM's cumulative counters at one instant, as the hypervisor gave them.

    Times are in nanoseconds, memory in KiB (libvirt's units); None means "not offered". A counter
    may restart from zero when the VM reboots or migrates: `incarnation` (libvirt's domain id)
    changes then.
    """

    vm: Vm
    incarnation: int
    vcpu_time_ns: int
    vcpu_delay_ns: int | None
    cpu_time_ns: int
    throttled_ns: int | None = None
    balloon_kib: int | None = None
    unused_kib: int | None = None
    available_kib: int | None = None
    rss_kib: int | None = None
    swap_in_kib: int | None = None
    swap_out_kib: int | None = None
    major_faults: int | None = None
    balloon_updated_at_s: int | None = None
    disk_requests: int = 0
    disk_bytes: int = 0
    disk_time_ns: int = 0
    net_bytes: int = 0
    net_packets: int = 0
    net_drops: int = 0
    net_errors: int = 0


@dataclass(frozen=True, slots=True)
class HostCounters:
    """One observation of a host and all its VMs. `monotonic_s` orders, `wall_s` dates.

    Disk and balloon counters cost the hypervisor most and may be read less often than the rest:
    `devices_at_s` is the monotonic time of their reading, None: the same as the observation's.
    """

    host: Host
    monotonic_s: float
    wall_s: float
    vms: tuple[VmCounters, ...]
    cpu_busy_ns: int | None = None
    memory_used_mib: float = float("nan")
    psi_cpu_some: float = float("nan")
    psi_memory_some: float = float("nan")
    psi_io_some: float = float("nan")
    devices_at_s: float | None = None

    @property
    def devices_read_s(self) -> float:
        return self.monotonic_s if self.devices_at_s is None else self.devices_at_s


@dataclass(frozen=True, slots=True)
class GuestReport:
    """What a VM's own profiler said: counters since it started, at `guest_s` of the VM's clock.

    `work` is in the application's own unit, `ops` operations took `op_ms` together; None: it did
    not say. `pressure` is the share of time that something inside waited for CPU, memory and I/O.
    """

    guest_s: float
    work: float | None
    ops: float | None
    op_ms: float | None
    pressure: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class GuestReading:
    """What came from a VM's profiler since the last reading, at the host's `monotonic_s`.

    `report` is the newest that was accepted, None when none came; `flaws` say what was refused.
    """

    monotonic_s: float
    report: GuestReport | None
    flaws: frozenset[Flaw] = frozenset()


@dataclass(frozen=True, slots=True, eq=False)
class Ahead:
    """What a tick's VMs will want: `quantiles` (n_vms, n_resources, H, Q), NaN where not known.

    `horizons_s` (H,) are the times ahead; `models` (n_resources,) says who forecast.
    """

    horizons_s: tuple[float, ...]
    quantiles: F32
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class NearSlots:
    """The controller's forecast of the coming slots: slot k, counted from 0, covers
    `[origin_s + k * step_s, ... + step_s)` of the wall clock.

    `of` has for a VM (n_resources, K, Q) quantiles of its mean demand, NaN where not forecast.
    """

    origin_s: float
    step_s: float
    of: Mapping[str, F32]

    def slot(self, at_s: float) -> int:
        """Negative before the origin."""
        return int((at_s - self.origin_s) // self.step_s)


@dataclass(frozen=True, slots=True, eq=False)
class HostTick:
    """What one tick says about a host: arrays are (n_vms, n_resources) in the order of `AXIS`.

    `demand` is what a VM wanted, `usage` what it got, `loss` the share of demand it did not get
    because of others, `self_limited` what its own limits took (unit of the resource).
    `background` (n_resources) is what the host itself used beside its VMs. NaN: not known.
    `inside_loss` (n_vms,) is the share of its work that a VM's own profiler says it did not get
    done; NaN, or None for all, where no profiler speaks.
    """

    host: Host
    taken_at_s: float
    interval_s: float
    vms: tuple[Vm, ...]
    demand: F64
    usage: F64
    loss: F64
    self_limited: F64
    background: F64
    flaws: tuple[frozenset[Flaw], ...]
    psi: tuple[float, float, float] = (float("nan"), float("nan"), float("nan"))
    inside_loss: F64 | None = None

    def index_of(self, vm_id: VmId) -> int | None:
        """Row of a VM, or None when it is not on the host in this tick."""
        for i, vm in enumerate(self.vms):
            if vm.id == vm_id:
                return i
        return None
