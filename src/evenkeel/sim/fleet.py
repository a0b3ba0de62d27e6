"""The simulated fleet: hosts, VMs that come, move and go, and one clock for all.

fleet = SimFleet(seed=7)
host = fleet.add_host(HostSpec("h1", cpus=(0, 1)))
web = fleet.add_vm(host, VmSpec("web", cpu=Steady(0.8)))
fleet.advance(5.0)
fleet.hypervisor(host).observe()
"""

from __future__ import annotations

import heapq
import math
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from evenkeel.domain.errors import VmGone
from evenkeel.domain.ids import HostId, VmId
from evenkeel.domain.vm import CpuTuning, VmState
from evenkeel.sim.clock import SimClock
from evenkeel.sim.host import HostSpec, SimHost
from evenkeel.sim.vm import SimVm, VmSpec, Work

MAX_STEPS: Final = 200
"""Steps computed at once; more would only take memory."""


class SimFleet:
    """Owns the truth. Not thread-safe: see sim/live.py for use beside real time."""

    def __init__(
        self, seed: int = 0, *, clock: SimClock | None = None, step_s: float = 0.05
    ) -> None:
        self.seed = seed
        self.clock = clock or SimClock()
        self.now_s = 0.0
        self.hosts: dict[HostId, SimHost] = {}
        self._step_s = step_s
        self._n_steps = 0
        self._where: dict[VmId, SimHost] = {}
        self._vms: dict[VmId, SimVm] = {}
        self._agenda: list[tuple[float, int, Callable[[], object]]] = []
        self._n_planned = 0

    # --- the world's furniture ----------------------------------------------------------------

    def add_host(self, spec: HostSpec) -> HostId:
        host_id = HostId(spec.name)
        if host_id in self.hosts:
            raise ValueError(f"there is a host {host_id!r} already")
        self.hosts[host_id] = SimHost(spec)
        return host_id

    def add_vm(self, host_id: HostId, spec: VmSpec) -> VmId:
        """Start a VM. Its id follows from the seed and its name, which is unique in the fleet."""
        vm_id = VmId(str(uuid.uuid5(uuid.NAMESPACE_OID, f"evenkeel-sim/{self.seed}/{spec.name}")))
        if vm_id in self._vms:
            raise ValueError(f"there is or was a VM {spec.name!r} already")
        host = self.hosts[host_id]
        vm = SimVm(
            id=vm_id,
            spec=spec,
            incarnation=host.next_incarnation(),
            tuning=spec.tuning(host.spec.cpus),
            balloon_mib=spec.memory_mib,
            stats_wall_s=self.clock.wall_s(),
        )
        self._vms[vm_id] = vm
        self._put(vm, host)
        return vm_id

    def remove_vm(self, vm_id: VmId) -> None:
        """It is shut down and gone; its work so far stays readable."""
        vm, host = self.vm(vm_id), self.host_of(vm_id)
        vm.state = VmState.SHUTOFF
        del host.vms[vm_id], self._where[vm_id]

    def forget_vm(self, vm_id: VmId) -> None:
        """Remove it, work and all: a VM of its name may start again, as one that comes back."""
        self.remove_vm(vm_id)
        del self._vms[vm_id]

    def reboot_vm(self, vm_id: VmId) -> None:
        """A new run on the same host: counters from zero, knobs as its definition has them."""
        vm, host = self.vm(vm_id), self.host_of(vm_id)
        vm.boot(host.next_incarnation())
        vm.tuning = vm.spec.tuning(host.spec.cpus)
        vm.state = VmState.RUNNING

    def migrate_vm(self, vm_id: VmId, to: HostId) -> None:
        """Live migration: counters start again; knobs travel, less pins the target cannot keep."""
        vm, target = self.vm(vm_id), self.hosts[to]
        del self.host_of(vm_id).vms[vm_id]
        vm.boot(target.next_incarnation())
        pins = tuple(
            tuple(cpu for cpu in pinned if cpu in target.spec.cpus) or target.spec.cpus
            for pinned in vm.tuning.vcpu_pins
        )
        vm.tuning = replace(vm.tuning, vcpu_pins=pins)
        self._put(vm, target)

    def pause_vm(self, vm_id: VmId) -> None:
        self.vm(vm_id).state = VmState.PAUSED

    def resume_vm(self, vm_id: VmId) -> None:
        self.vm(vm_id).state = VmState.RUNNING

    def set_spec(self, vm_id: VmId, spec: VmSpec) -> None:
        """Change what a VM wants from now on (its size and name stay)."""
        vm = self.vm(vm_id)
        if (spec.name, spec.n_vcpus) != (vm.spec.name, vm.spec.n_vcpus):
            raise ValueError("a running VM keeps its name and its vCPUs")
        vm.spec = spec

    def set_balloon(self, vm_id: VmId, balloon_mib: float) -> None:
        self.vm(vm_id).balloon_mib = balloon_mib

    def set_tuning(self, vm_id: VmId, tuning: CpuTuning) -> None:
        """Turn knobs behind everybody's back, as an operator with virsh does."""
        self.vm(vm_id).tuning = tuning

    # --- looking ------------------------------------------------------------------------------

    def vm(self, vm_id: VmId) -> SimVm:
        """A VM that runs somewhere. Raises VmGone."""
        if vm_id not in self._where:
            raise VmGone(f"VM {vm_id} is nowhere in the simulated fleet")
        return self._vms[vm_id]

    def host_of(self, vm_id: VmId) -> SimHost:
        """Raises VmGone."""
        self.vm(vm_id)
        return self._where[vm_id]

    def work(self, vm_id: VmId) -> Work:
        """A copy of what the VM wanted and got so far, gone or not."""
        return replace(self._vms[vm_id].work)

    # --- time ---------------------------------------------------------------------------------

    def at(self, time_s: float, action: Callable[[], object]) -> None:
        """Have something happen when the fleet's time comes to `time_s` (at once if it has)."""
        self._n_planned += 1
        heapq.heappush(self._agenda, (time_s, self._n_planned, action))

    def advance(self, seconds: float, step_s: float | None = None) -> None:
        """Let time pass on every host, stopping for what is planned on the way.

        `step_s`: longer steps than usual, for a stretch in which nobody's demand changes.
        """
        step_s = step_s or self._step_s
        end_s = self.now_s + seconds
        while self._agenda and self._agenda[0][0] <= end_s:
            time_s, _, action = heapq.heappop(self._agenda)
            self._pass(max(0.0, time_s - self.now_s), step_s)
            action()
        self._pass(end_s - self.now_s, step_s)
        self.now_s = end_s

    def _pass(self, seconds: float, usual_s: float) -> None:
        n_left = math.ceil(seconds / usual_s - 1e-6)
        if n_left <= 0:
            return
        step_s = seconds / n_left
        until = self._n_steps + max(n_left, round(seconds / self._step_s))
        while n_left:
            n_steps = min(n_left, MAX_STEPS)
            for host in self.hosts.values():
                host.advance(self.now_s, n_steps, step_s, self._n_steps)
            n_left -= n_steps
            self._n_steps += n_steps
            self.now_s += n_steps * step_s
            self.clock.advance(n_steps * step_s)
        self._n_steps = until  # after long steps everybody's turn is whose it would be
        for vm_id in self._where:
            if self._vms[vm_id].state is VmState.RUNNING:
                self._vms[vm_id].stats_wall_s = self.clock.wall_s()

    def _put(self, vm: SimVm, host: SimHost) -> None:
        host.vms[vm.id] = vm
        self._where[vm.id] = host
