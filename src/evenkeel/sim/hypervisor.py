"""The Hypervisor port of one simulated host: libvirt-like counters out, instructions in."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, cast

from evenkeel.domain.errors import (
    ActionRefused,
    ActionUnsupported,
    HypervisorTimeout,
    HypervisorUnavailable,
    VmGone,
)
from evenkeel.domain.host import Capability
from evenkeel.domain.ids import HostId, VmId
from evenkeel.domain.plan import Instruction, SetCpuQuota, SetCpuShares, SetVcpuPins
from evenkeel.domain.sample import HostCounters, VmCounters
from evenkeel.domain.vm import CpuTuning
from evenkeel.sim.devices import PACKET_BYTES, PAGE_KIB
from evenkeel.sim.faults import FaultKind, Faults
from evenkeel.sim.fleet import SimFleet
from evenkeel.sim.host import SimHost
from evenkeel.sim.vm import KERNEL_SHARE, SimVm, visible_tuning

MIN_SHARES, MAX_SHARES = 2, 262_144
MIN_QUOTA_US: Final = 1000
MIN_PERIOD_US, MAX_PERIOD_US = 1000, 1_000_000
_NEEDS: Final = {
    SetVcpuPins: Capability.PIN,
    SetCpuShares: Capability.SHARES,
    SetCpuQuota: Capability.QUOTA,
}


class SimHypervisor:
    """Implements `ports.Hypervisor`; `applied` records every instruction that took effect."""

    def __init__(self, fleet: SimFleet, host_id: HostId, faults: Faults | None = None) -> None:
        self._fleet = fleet
        self._host_id = host_id
        self._faults = faults
        self._stale: dict[VmId, VmCounters] = {}
        self.applied: list[Instruction] = []

    def observe(self) -> HostCounters:
        host = self._reach()
        can_do = host.spec.capabilities
        nan = float("nan")
        has_psi = Capability.PSI in can_do
        return HostCounters(
            host=host.describe(),
            monotonic_s=self._fleet.clock.monotonic_s(),
            wall_s=self._fleet.clock.wall_s(),
            vms=tuple(self._spoil(_counters(vm, can_do)) for vm in host.vms.values()),
            cpu_busy_ns=round(host.busy_s * 1e9),
            memory_used_mib=host.memory_used_mib,
            psi_cpu_some=host.psi_cpu if has_psi else nan,
            psi_memory_some=host.psi_memory if has_psi else nan,
            psi_io_some=host.psi_io if has_psi else nan,
        )

    def tuning(self, vm_id: VmId) -> CpuTuning:
        host = self._reach()
        return visible_tuning(self._vm(host, vm_id).tuning, host.spec.capabilities)

    def apply(self, instruction: Instruction) -> None:
        host = self._reach()
        vm = self._vm(host, instruction.vm)
        needed = _NEEDS[type(instruction)]
        if needed not in host.spec.capabilities:
            raise ActionUnsupported(f"host {self._host_id} cannot {needed}")
        tuning = _turned(vm, instruction, host.spec.cpus)
        if self._strikes(FaultKind.APPLY_REFUSED, vm.id):
            raise ActionRefused(f"simulated: VM {vm.spec.name} refuses the change")
        vm.tuning = tuning
        self.applied.append(instruction)
        if self._strikes(FaultKind.APPLY_UNCERTAIN, vm.id):
            raise HypervisorTimeout("simulated: the change was made, the answer was lost")

    def close(self) -> None:
        """Nothing to close; the host lives on."""

    def _reach(self) -> SimHost:
        if self._strikes(FaultKind.HYPERVISOR_AWAY, self._host_id):
            raise HypervisorUnavailable(f"simulated: nobody answers on {self._host_id}")
        if self._strikes(FaultKind.HYPERVISOR_HANGS, self._host_id):
            raise HypervisorTimeout(f"simulated: {self._host_id} does not answer in time")
        return self._fleet.hosts[self._host_id]

    def _vm(self, host: SimHost, vm_id: VmId) -> SimVm:
        vm = host.vms.get(vm_id)
        if vm is None:
            raise VmGone(f"VM {vm_id} is not on {self._host_id}")
        return vm

    def _strikes(self, kind: FaultKind, subject: str) -> bool:
        return self._faults is not None and self._faults.strikes(kind, subject)

    def _spoil(self, counters: VmCounters) -> VmCounters:
        """Falsify a VM's counters as the faults have it."""
        vm_id = counters.vm.id
        if self._strikes(FaultKind.BALLOON_STALE, vm_id):
            old = self._stale.setdefault(vm_id, counters)
            counters = replace(
                counters,
                unused_kib=old.unused_kib,
                available_kib=old.available_kib,
                swap_in_kib=old.swap_in_kib,
                swap_out_kib=old.swap_out_kib,
                major_faults=old.major_faults,
                balloon_updated_at_s=old.balloon_updated_at_s,
            )
        else:
            self._stale.pop(vm_id, None)
        if self._strikes(FaultKind.COUNTER_NEGATIVE, vm_id):
            counters = replace(counters, vcpu_time_ns=-1, disk_requests=-(2**31))
        if self._strikes(FaultKind.COUNTER_NAN, vm_id):
            nan = cast(int, float("nan"))  # what a broken driver may hand through
            counters = replace(counters, vcpu_time_ns=nan, net_bytes=nan)
        return counters


def _turned(vm: SimVm, instruction: Instruction, cpus: tuple[int, ...]) -> CpuTuning:
    """The tuning after the instruction. Raises ActionRefused for values the kernel refuses."""
    if isinstance(instruction, SetVcpuPins):
        pins = tuple(tuple(sorted(set(pinned))) for pinned in instruction.vcpu_pins)
        if len(pins) != vm.spec.n_vcpus or any(not p or not set(p) <= set(cpus) for p in pins):
            raise ActionRefused(f"{vm.spec.name}: pins {pins} do not fit {cpus}")
        return replace(vm.tuning, vcpu_pins=pins)
    if isinstance(instruction, SetCpuShares):
        if not MIN_SHARES <= instruction.shares <= MAX_SHARES:
            raise ActionRefused(f"{vm.spec.name}: {instruction.shares} shares are out of range")
        return replace(vm.tuning, shares=instruction.shares)
    period_us, quota_us = instruction.period_us, instruction.quota_us
    if not MIN_PERIOD_US <= period_us <= MAX_PERIOD_US or 0 <= quota_us < MIN_QUOTA_US:
        raise ActionRefused(f"{vm.spec.name}: quota {quota_us}/{period_us} us is out of range")
    return replace(vm.tuning, period_us=period_us, quota_us=quota_us if quota_us >= 0 else -1)


def _counters(vm: SimVm, can_do: frozenset[Capability]) -> VmCounters:
    totals = vm.totals
    run_ns, throttled_ns = round(totals.run_s * 1e9), round(totals.throttled_s * 1e9)
    delay_ns = round(totals.neighbour_delay_s * 1e9) + throttled_ns
    has_balloon = vm.spec.has_balloon and Capability.BALLOON in can_do
    available_mib = vm.balloon_mib * (1 - KERNEL_SHARE)
    swapped_kib = round(totals.major_faults) * PAGE_KIB
    return VmCounters(
        vm=vm.describe(can_do),
        incarnation=vm.incarnation,
        vcpu_time_ns=run_ns,
        vcpu_delay_ns=delay_ns if vm.spec.has_delay else None,
        cpu_time_ns=run_ns,
        throttled_ns=throttled_ns if Capability.THROTTLE_STATS in can_do else None,
        balloon_kib=round(vm.balloon_mib * 1024),
        unused_kib=round(max(0.0, available_mib - vm.working_set_mib) * 1024)
        if has_balloon
        else None,
        available_kib=round(available_mib * 1024) if has_balloon else None,
        rss_kib=round(vm.resident_mib * 1024),
        swap_in_kib=swapped_kib if has_balloon else None,
        swap_out_kib=swapped_kib if has_balloon else None,
        major_faults=round(totals.major_faults) if has_balloon else None,
        balloon_updated_at_s=int(vm.stats_wall_s) if has_balloon else None,
        disk_requests=round(totals.disk_requests),
        disk_bytes=round(totals.disk_bytes),
        disk_time_ns=round(totals.disk_time_s * 1e9),
        net_bytes=round(totals.net_mbit * 125_000),
        net_packets=round(totals.net_mbit * 125_000 / PACKET_BYTES),
        net_drops=round(totals.dropped_mbit * 125_000 / PACKET_BYTES),
    )
