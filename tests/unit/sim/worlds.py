"""Small fleets for the tests of the simulated world."""

from __future__ import annotations

from evenkeel.domain.ids import VmId
from evenkeel.domain.sample import HostCounters, VmCounters
from evenkeel.sim.fleet import SimFleet
from evenkeel.sim.host import HostSpec
from evenkeel.sim.hypervisor import SimHypervisor
from evenkeel.sim.vm import VmSpec


class World:
    """One host, its VMs by name, and what they did over the last `run`."""

    def __init__(self, *vms: VmSpec, host: HostSpec | None = None) -> None:
        self.fleet = SimFleet(seed=3)
        self.host_id = self.fleet.add_host(host or HostSpec("h1", cpus=(0, 1)))
        self.ids: dict[str, VmId] = {
            spec.name: self.fleet.add_vm(self.host_id, spec) for spec in vms
        }
        self.hypervisor = SimHypervisor(self.fleet, self.host_id)
        self.before = self.after = self.hypervisor.observe()

    def run(self, seconds: float) -> None:
        self.before = self.hypervisor.observe()
        self.fleet.advance(seconds)
        self.after = self.hypervisor.observe()

    def rate(self, name: str, counter: str) -> float:
        """Growth of a counter per second over the last run."""
        old, new = (getattr(counters(o, self.ids[name]), counter) for o in self.observations)
        return float((new - old) / (self.after.monotonic_s - self.before.monotonic_s))

    def cores(self, name: str) -> tuple[float, float, float]:
        """Cores that a VM ran, was delayed (its own quota included), and was throttled."""
        names = ("vcpu_time_ns", "vcpu_delay_ns", "throttled_ns")
        run, delay, throttled = (self.rate(name, counter) / 1e9 for counter in names)
        return run, delay, throttled

    @property
    def observations(self) -> tuple[HostCounters, HostCounters]:
        return self.before, self.after


def counters(observed: HostCounters, vm_id: VmId) -> VmCounters:
    return next(vm for vm in observed.vms if vm.vm.id == vm_id)
