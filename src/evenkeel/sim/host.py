"""A simulated host: lets time pass for all its VMs at once and keeps their counters.

Within one step everything follows from what the VMs want at that moment: memory says who faults,
faults and requests load the disk, the disk says how long a fault stalls, and a stalled VM wants
that much less CPU. Nothing is carried from step to step but the counters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from uuid import NAMESPACE_OID, UUID, uuid5

import numpy as np

from evenkeel.domain.arrays import F64
from evenkeel.domain.host import Capability, Host
from evenkeel.domain.ids import HostId, VmId
from evenkeel.domain.vm import VmState
from evenkeel.sim.devices import share_disk, share_link, share_memory, stall_share
from evenkeel.sim.scheduler import share_cores, share_within_quota, split_delay
from evenkeel.sim.spells import in_spells
from evenkeel.sim.vm import DEFAULT_SHARES, KERNEL_SHARE, SimVm
from evenkeel.sim.workload import NOTHING, Workload

PSI_WINDOW_S: Final = 10.0
QUOTA_PERIOD_S: Final = 0.1
"""libvirt's default, taken for every period."""
REQUESTS_PER_FAULT: Final = 2.0
"""A page comes in and, in the long run, another one goes out."""

TINY: Final = 1e-12


@dataclass(frozen=True, slots=True)
class HostSpec:
    """A host to build. `background` is what the host itself uses, in cores, on all its CPUs."""

    name: str
    cpus: tuple[int, ...] = (0, 1, 2, 3)
    memory_mib: float = 65_536.0
    net_mbit_s: float = 1000.0
    iops: float = 5000.0
    background: Workload = NOTHING
    capabilities: frozenset[Capability] = frozenset(Capability)


class SimHost:
    """VMs in the order they came; `psi` is the `some` share of the last 10 s, as in avg10."""

    def __init__(self, spec: HostSpec) -> None:
        self.spec = spec
        self.vms: dict[VmId, SimVm] = {}
        self.busy_s = 0.0
        self.memory_used_mib = 0.0
        self.psi_cpu = self.psi_memory = self.psi_io = 0.0
        self._n_boots = 0
        self._seed = uuid5(NAMESPACE_OID, f"evenkeel-sim-host/{spec.name}").int

    def describe(self) -> Host:
        spec = self.spec
        return Host(
            id=HostId(spec.name),
            cpus=spec.cpus,
            memory_mib=spec.memory_mib,
            net_mbit_s=spec.net_mbit_s,
            iops=spec.iops,
            capabilities=spec.capabilities,
            hypervisor="simulated",
        )

    def next_incarnation(self) -> int:
        self._n_boots += 1
        return self._n_boots

    def advance(self, start_s: float, n_steps: int, step_s: float, first_step: int) -> None:
        """Let `n_steps` steps of `step_s` seconds pass, beginning at the fleet's `start_s`."""
        time_s: F64 = start_s + (np.arange(n_steps, dtype=np.float64) + 0.5) * step_s
        vms = [vm for vm in self.vms.values() if vm.state is VmState.RUNNING]
        wish = _columns([np.minimum(vm.spec.cpu.at(time_s), vm.spec.n_vcpus) for vm in vms], time_s)
        stall, disk_busy = self._use_devices(vms, time_s, step_s, wish)
        waiting = self._use_cores(vms, time_s, step_s, wish, stall, first_step)
        self.memory_used_mib = sum(vm.resident_mib for vm in self.vms.values())
        keep = math.exp(-n_steps * step_s / PSI_WINDOW_S)
        self.psi_cpu = keep * self.psi_cpu + (1 - keep) * _mean_of_worst(waiting)
        self.psi_memory = keep * self.psi_memory + (1 - keep) * _mean_of_worst(stall)
        self.psi_io = keep * self.psi_io + (1 - keep) * float(disk_busy.mean())

    def _use_devices(
        self, vms: Sequence[SimVm], time_s: F64, step_s: float, wish: F64
    ) -> tuple[F64, F64]:
        """Memory, disk and uplink.

        Returns the share of its time each VM stalls, (step, VM), and the disk's utilisation.
        """
        spec = self.spec
        working_set = _columns([vm.working_set().at(time_s) for vm in vms], time_s)
        balloon = np.array([vm.balloon_mib * (1 - KERNEL_SHARE) for vm in vms])
        memory = share_memory(working_set, balloon, wish, spec.memory_mib)

        requests = _columns([vm.spec.iops.at(time_s) for vm in vms], time_s)
        all_faults = memory.faults + memory.host_faults
        calm_s = share_disk(requests, spec.iops).response_s
        slowed = 1 - stall_share(all_faults, calm_s)
        faults, host_faults = memory.faults * slowed, memory.host_faults * slowed
        own = requests + REQUESTS_PER_FAULT * faults
        of_host = REQUESTS_PER_FAULT * host_faults.sum(axis=1, keepdims=True)
        asked = np.hstack([own, of_host])
        disk = share_disk(asked, spec.iops)
        served = disk.served[:, : len(vms)]
        of_requests = requests * (served / np.maximum(own, TINY))

        mbit = _columns([vm.spec.net_mbit_s.at(time_s) for vm in vms], time_s)
        sent = share_link(mbit, spec.net_mbit_s)

        amounts = np.array(
            [faults, served, served * disk.response_s[:, None], requests, of_requests, mbit, sent]
        )
        for vm, sums in zip(vms, (amounts.sum(axis=1) * step_s).T.tolist(), strict=True):
            vm.count_devices(*sums)
        for i, vm in enumerate(vms):
            vm.working_set_mib = float(working_set[-1, i])
            vm.resident_mib = float(memory.resident_mib[-1, i])
        return (
            stall_share(all_faults, disk.response_s),
            np.minimum(1.0, asked.sum(axis=1) / spec.iops),
        )

    def _use_cores(
        self,
        vms: Sequence[SimVm],
        time_s: F64,
        step_s: float,
        wish: F64,
        stall: F64,
        first_step: int,
    ) -> F64:
        """Share the cores; returns the cores each vCPU waited for, (step, vCPU).

        The host's own work is one more thread per core, of normal weight, behind all vCPUs.
        """
        cpus = self.spec.cpus
        n_cores = len(cpus)
        n_vcpus_of = np.array([vm.spec.n_vcpus for vm in vms], dtype=np.int64)
        vm_of = np.repeat(np.arange(len(vms)), n_vcpus_of)
        mine = slice(0, len(vm_of))
        of_host = np.minimum(1.0, self.spec.background.at(time_s) / n_cores)
        share = np.hstack(
            [(wish / n_vcpus_of)[:, vm_of], np.repeat(of_host[:, None], n_cores, axis=1)]
        )
        wanted = self._in_spells(vms, share, time_s)
        wanted_s = wanted.sum(axis=0)[mine] * step_s
        quota = np.array([vm.tuning.quota_cores for vm in vms]) / n_vcpus_of
        quota = np.append(quota[vm_of], np.full(n_cores, np.inf))
        wanted[:, mine] *= (1 - stall)[:, vm_of]
        shares = np.array([vm.tuning.shares or DEFAULT_SHARES for vm in vms])
        weight = np.full_like(wanted, DEFAULT_SHARES)
        # A VM's weight is shared by those of its vCPUs that are on.
        of_vm = (vm_of[:, None] == np.arange(len(vms))).astype(np.float64)
        on = (wanted[:, mine] > 0).astype(np.float64) @ of_vm
        weight[:, mine] = (shares / np.maximum(on, 1))[:, vm_of]
        allowed = np.vstack([_allowed(cpus, vm.tuning.vcpu_pins) for vm in vms] + [np.eye(n_cores)])

        can_run, step = allowed > 0, first_step + np.arange(len(wanted))
        got = share_cores(wanted, weight, can_run, step)
        delayed, throttled = wanted - got, np.zeros_like(got)
        if (got > quota).any():
            free, period = got, max(1, round(QUOTA_PERIOD_S / step_s))
            got, limit = share_within_quota(wanted, weight, can_run, step, quota, period)
            delayed, throttled = split_delay(wanted, got, free, limit)

        self.busy_s += float(got.sum()) * step_s
        sums = np.array(
            [wanted_s, *(np.array([got, delayed, throttled]).sum(axis=1)[:, mine] * step_s)]
        )
        for i, vm in enumerate(vms):
            vm.count_cores(*sums[:, vm_of == i].sum(axis=1).tolist())
        return delayed[:, mine] + throttled[:, mine]

    def _in_spells(self, vms: Sequence[SimVm], share: F64, time_s: F64) -> F64:
        """Cores wanted by each vCPU, then by the host on each core, given their mean shares."""
        wanted, first = share.copy(), 0
        for vm in vms:
            columns = slice(first, first := first + vm.spec.n_vcpus)
            if vm.spec.in_spells:
                wanted[:, columns] = in_spells(share[:, columns], time_s, UUID(vm.id).int)
        if share[:, first:].any():
            wanted[:, first:] = in_spells(share[:, first:], time_s, self._seed)
        return wanted


def _columns(columns: Sequence[F64], time_s: F64) -> F64:
    return np.stack(columns, axis=1) if columns else np.zeros((len(time_s), 0))


@lru_cache(maxsize=4096)
def _allowed(cpus: tuple[int, ...], vcpu_pins: tuple[tuple[int, ...], ...]) -> F64:
    """1 where a vCPU may run on a CPU, (vcpu, cpu)."""
    return np.array([[float(cpu in pins) for cpu in cpus] for pins in vcpu_pins])


def _mean_of_worst(share: F64) -> float:
    """Mean over steps of the worst VM's share: a fair stand-in for "somebody waits"."""
    return float(share.max(axis=1).mean()) if share.size else 0.0
