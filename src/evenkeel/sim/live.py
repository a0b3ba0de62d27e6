"""A simulated fleet that keeps up with a real clock, for `make run` where no lab can run.

Every call to one of its hypervisors first lets the fleet catch up, so nothing has to drive it;
several agents, in threads of their own, may share it.
"""

from __future__ import annotations

import threading

from evenkeel.domain.ids import HostId, VmId
from evenkeel.domain.plan import Instruction
from evenkeel.domain.sample import HostCounters
from evenkeel.domain.vm import CpuTuning
from evenkeel.ports import Clock
from evenkeel.sim.faults import Faults
from evenkeel.sim.fleet import SimFleet
from evenkeel.sim.hypervisor import SimHypervisor


class LiveFleet:
    """`fleet` must have been built on `SimClock(clock.wall_s(), clock.monotonic_s())`."""

    def __init__(self, fleet: SimFleet, clock: Clock) -> None:
        self.fleet = fleet
        self.lock = threading.RLock()
        """Hold it while touching `fleet` beside the agents."""
        self._clock = clock

    def catch_up(self) -> None:
        with self.lock:
            behind_s = self._clock.monotonic_s() - self.fleet.clock.monotonic_s()
            self.fleet.advance(max(0.0, behind_s))
            self.fleet.clock.jump_wall(self._clock.wall_s() - self.fleet.clock.wall_s())

    def hypervisor(self, host_id: HostId, faults: Faults | None = None) -> LiveHypervisor:
        return LiveHypervisor(self, SimHypervisor(self.fleet, host_id, faults))


class LiveHypervisor:
    """Implements `ports.Hypervisor` for one host of a LiveFleet."""

    def __init__(self, live: LiveFleet, hypervisor: SimHypervisor) -> None:
        self._live = live
        self._hypervisor = hypervisor

    def observe(self) -> HostCounters:
        with self._live.lock:
            self._live.catch_up()
            return self._hypervisor.observe()

    def tuning(self, vm_id: VmId) -> CpuTuning:
        with self._live.lock:
            return self._hypervisor.tuning(vm_id)

    def apply(self, instruction: Instruction) -> None:
        with self._live.lock:
            self._live.catch_up()
            self._hypervisor.apply(instruction)

    def close(self) -> None:
        self._hypervisor.close()
