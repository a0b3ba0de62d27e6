"""What every Hypervisor must do. Subclasses provide a `world`; the tests are the same."""

from __future__ import annotations

import math
from typing import Protocol

import pytest

from evenkeel.domain.errors import ActionRefused, ActionUnsupported, VmGone
from evenkeel.domain.host import Capability
from evenkeel.domain.ids import VmId
from evenkeel.domain.plan import Instruction, SetCpuQuota, SetCpuShares, SetVcpuPins
from evenkeel.domain.sample import HostCounters, VmCounters
from evenkeel.domain.vm import CpuTuning
from evenkeel.ports import Hypervisor

ABSENT = VmId("00000000-dead-4000-8000-000000000000")
GROWING = (
    "vcpu_time_ns",
    "vcpu_delay_ns",
    "cpu_time_ns",
    "throttled_ns",
    "disk_requests",
    "disk_bytes",
    "disk_time_ns",
    "net_bytes",
    "net_packets",
    "net_drops",
    "net_errors",
)


class HypervisorWorld(Protocol):
    """A host with at least one running, busy VM that nobody else tunes."""

    hypervisor: Hypervisor
    vm: VmId

    def pass_time(self, seconds: float) -> None:
        """Let the VMs run for so long."""

    def stop_vm(self) -> None:
        """End the VM as if its owner had pulled the plug."""


def restoring(vm: VmId, prior: CpuTuning) -> list[Instruction]:
    """The instructions that give a VM its prior tuning back."""
    steps: list[Instruction] = [SetVcpuPins(vm=vm, vcpu_pins=prior.vcpu_pins)]
    if prior.shares is not None:
        steps.append(SetCpuShares(vm=vm, shares=prior.shares))
    if prior.period_us is not None and prior.quota_us is not None:
        steps.append(SetCpuQuota(vm=vm, period_us=prior.period_us, quota_us=prior.quota_us))
    return steps


def counters_of(observed: HostCounters, vm: VmId) -> VmCounters:
    return next(one for one in observed.vms if one.vm.id == vm)


class HypervisorContract:
    @pytest.fixture
    def world(self) -> HypervisorWorld:
        raise NotImplementedError

    @pytest.fixture
    def prior(self, world: HypervisorWorld) -> CpuTuning:
        return world.hypervisor.tuning(world.vm)

    def needs(self, world: HypervisorWorld, capability: Capability) -> None:
        if capability not in world.hypervisor.observe().host.capabilities:
            pytest.skip(f"this world has no {capability}")

    def test_an_observation_describes_the_host_and_its_vm(self, world: HypervisorWorld) -> None:
        observed = world.hypervisor.observe()

        assert observed.host.cpus == tuple(sorted(set(observed.host.cpus)))
        assert observed.host.cpus
        assert observed.host.memory_mib > 0
        assert Capability.PIN in observed.host.capabilities
        seen = counters_of(observed, world.vm)
        assert seen.vm.name
        assert seen.vm.n_vcpus == len(seen.vm.tuning.vcpu_pins) >= 1
        assert seen.vm.memory_mib > 0
        assert seen.vm.tuning == world.hypervisor.tuning(world.vm)

    def test_a_vm_appears_once(self, world: HypervisorWorld) -> None:
        ids = [one.vm.id for one in world.hypervisor.observe().vms]

        assert len(ids) == len(set(ids))

    def test_counters_and_clocks_only_grow(self, world: HypervisorWorld) -> None:
        first = world.hypervisor.observe()
        world.pass_time(1.0)
        second = world.hypervisor.observe()

        assert second.monotonic_s > first.monotonic_s
        before, after = counters_of(first, world.vm), counters_of(second, world.vm)
        assert after.incarnation == before.incarnation
        assert after.vcpu_time_ns > before.vcpu_time_ns, "the VM is busy"
        for name in GROWING:
            was, now = getattr(before, name), getattr(after, name)
            assert (was is None) == (now is None), name
            assert was is None or now >= was, name

    def test_busy_time_fits_into_the_time_that_passed(self, world: HypervisorWorld) -> None:
        first = world.hypervisor.observe()
        world.pass_time(2.0)
        second = world.hypervisor.observe()

        elapsed_s = second.monotonic_s - first.monotonic_s
        before, after = counters_of(first, world.vm), counters_of(second, world.vm)
        cores = (after.vcpu_time_ns - before.vcpu_time_ns) / 1e9 / elapsed_s
        assert 0 < cores <= after.vm.n_vcpus * 1.1
        assert not math.isnan(cores)

    def test_pins_are_set_and_restored_exactly(
        self, world: HypervisorWorld, prior: CpuTuning
    ) -> None:
        one = prior.vcpu_pins[0][:1]
        wanted = tuple(one for _ in prior.vcpu_pins)

        world.hypervisor.apply(SetVcpuPins(vm=world.vm, vcpu_pins=wanted))
        assert world.hypervisor.tuning(world.vm).vcpu_pins == wanted
        assert counters_of(world.hypervisor.observe(), world.vm).vm.tuning.vcpu_pins == wanted

        self.restore(world, prior)

    def test_shares_are_set_and_restored_exactly(
        self, world: HypervisorWorld, prior: CpuTuning
    ) -> None:
        self.needs(world, Capability.SHARES)
        assert prior.shares is not None

        world.hypervisor.apply(SetCpuShares(vm=world.vm, shares=prior.shares * 4))
        assert world.hypervisor.tuning(world.vm).shares == prior.shares * 4
        seen = counters_of(world.hypervisor.observe(), world.vm).vm.tuning
        assert seen.shares == prior.shares * 4

        self.restore(world, prior)

    def test_a_quota_is_set_holds_the_vm_back_and_is_restored_exactly(
        self, world: HypervisorWorld, prior: CpuTuning
    ) -> None:
        self.needs(world, Capability.QUOTA)
        assert prior.quota_us is not None
        assert prior.quota_us < 0

        world.hypervisor.apply(SetCpuQuota(vm=world.vm, period_us=100_000, quota_us=20_000))
        tuned = world.hypervisor.tuning(world.vm)
        assert (tuned.period_us, tuned.quota_us) == (100_000, 20_000)
        assert tuned.quota_cores == pytest.approx(0.2 * len(tuned.vcpu_pins))
        world.pass_time(1.0)
        first = world.hypervisor.observe()
        world.pass_time(3.0)
        second = world.hypervisor.observe()

        elapsed_s = second.monotonic_s - first.monotonic_s
        before, after = counters_of(first, world.vm), counters_of(second, world.vm)
        cores = (after.vcpu_time_ns - before.vcpu_time_ns) / 1e9 / elapsed_s
        assert cores <= tuned.quota_cores * 1.25
        if Capability.THROTTLE_STATS in second.host.capabilities:
            assert before.throttled_ns is not None
            assert after.throttled_ns is not None
            assert (after.throttled_ns - before.throttled_ns) / 1e9 / elapsed_s > 0.1

        self.restore(world, prior)
        assert world.hypervisor.tuning(world.vm).quota_us < 0  # type: ignore[operator]

    def test_throttled_time_does_not_fall_when_the_quota_goes(
        self, world: HypervisorWorld, prior: CpuTuning
    ) -> None:
        self.needs(world, Capability.QUOTA)
        self.needs(world, Capability.THROTTLE_STATS)
        world.hypervisor.apply(SetCpuQuota(vm=world.vm, period_us=100_000, quota_us=20_000))
        world.pass_time(1.0)
        held_back = counters_of(world.hypervisor.observe(), world.vm).throttled_ns
        self.restore(world, prior)

        freed = counters_of(world.hypervisor.observe(), world.vm).throttled_ns

        assert held_back is not None
        assert freed is not None
        assert freed >= held_back > 0

    def test_applying_twice_is_applying_once(
        self, world: HypervisorWorld, prior: CpuTuning
    ) -> None:
        pins = SetVcpuPins(vm=world.vm, vcpu_pins=tuple(pins[-1:] for pins in prior.vcpu_pins))
        world.hypervisor.apply(pins)
        once = world.hypervisor.tuning(world.vm)
        world.hypervisor.apply(pins)

        assert world.hypervisor.tuning(world.vm) == once
        self.restore(world, prior)
        self.restore(world, prior)

    def test_pins_to_no_cpu_or_a_missing_one_are_refused_and_change_nothing(
        self, world: HypervisorWorld, prior: CpuTuning
    ) -> None:
        for nonsense in ((), (100_000,)):
            pins = tuple(nonsense for _ in prior.vcpu_pins)
            with pytest.raises(ActionRefused):
                world.hypervisor.apply(SetVcpuPins(vm=world.vm, vcpu_pins=pins))
        too_many = (*prior.vcpu_pins, prior.vcpu_pins[0])
        with pytest.raises(ActionRefused):
            world.hypervisor.apply(SetVcpuPins(vm=world.vm, vcpu_pins=too_many))

        assert world.hypervisor.tuning(world.vm) == prior

    def test_what_the_host_cannot_do_is_unsupported(
        self, world: HypervisorWorld, prior: CpuTuning
    ) -> None:
        has = world.hypervisor.observe().host.capabilities
        if Capability.SHARES not in has:
            assert prior.shares is None
            with pytest.raises(ActionUnsupported):
                world.hypervisor.apply(SetCpuShares(vm=world.vm, shares=2048))
        if Capability.QUOTA not in has:
            assert prior.quota_us is None
            with pytest.raises(ActionUnsupported):
                world.hypervisor.apply(SetCpuQuota(vm=world.vm, period_us=100_000, quota_us=20_000))

    @pytest.mark.parametrize("vm", [ABSENT, VmId("no-uuid-at-all"), VmId("")])
    def test_an_absent_vm_is_gone(self, world: HypervisorWorld, vm: VmId) -> None:
        with pytest.raises(VmGone):
            world.hypervisor.tuning(vm)
        for instruction in (
            SetVcpuPins(vm=vm, vcpu_pins=((0,),)),
            SetCpuShares(vm=vm, shares=2048),
            SetCpuQuota(vm=vm, period_us=100_000, quota_us=50_000),
        ):
            with pytest.raises(VmGone):
                world.hypervisor.apply(instruction)

    def test_a_stopped_vm_is_gone(self, world: HypervisorWorld, prior: CpuTuning) -> None:
        world.hypervisor.observe()
        world.stop_vm()

        assert world.vm not in [one.vm.id for one in world.hypervisor.observe().vms]
        with pytest.raises(VmGone):
            world.hypervisor.tuning(world.vm)
        for instruction in restoring(world.vm, prior):
            with pytest.raises(VmGone):
                world.hypervisor.apply(instruction)

    def restore(self, world: HypervisorWorld, prior: CpuTuning) -> None:
        for step in restoring(world.vm, prior):
            world.hypervisor.apply(step)
        assert world.hypervisor.tuning(world.vm) == prior
        assert counters_of(world.hypervisor.observe(), world.vm).vm.tuning == prior
