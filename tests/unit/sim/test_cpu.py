"""The simulated scheduler: shares, weights, quotas, and who is to blame for a delay."""

from __future__ import annotations

import pytest
from tests.unit.sim.worlds import World

from evenkeel.domain.plan import SetCpuQuota, SetCpuShares, SetVcpuPins
from evenkeel.sim.host import HostSpec
from evenkeel.sim.vm import VmSpec
from evenkeel.sim.workload import SquareWave, Steady

HOG = Steady(1.0)
CORE_0 = ((0,),)


def test_alone_a_vm_gets_what_it_wants() -> None:
    world = World(VmSpec("a", n_vcpus=2, cpu=Steady(1.5)))
    world.run(5)
    assert world.cores("a") == pytest.approx((1.5, 0, 0))
    assert world.fleet.work(world.ids["a"]).cpu_share == pytest.approx(1.0)


def test_two_hogs_on_a_core_get_half_each_and_wait_the_other_half() -> None:
    world = World(VmSpec("a", cpu=HOG, vcpu_pins=CORE_0), VmSpec("b", cpu=HOG, vcpu_pins=CORE_0))
    world.run(5)
    for name in "ab":
        assert world.cores(name) == pytest.approx((0.5, 0.5, 0))
    assert world.after.psi_cpu_some == pytest.approx(0.5 * (1 - 2.718281828**-0.5))


def test_pinning_apart_ends_it() -> None:
    world = World(VmSpec("a", cpu=HOG, vcpu_pins=CORE_0), VmSpec("b", cpu=HOG, vcpu_pins=CORE_0))
    world.hypervisor.apply(SetVcpuPins(world.ids["b"], ((1,),)))
    world.run(5)
    for name in "ab":
        assert world.cores(name) == pytest.approx((1, 0, 0))


def test_shares_weigh_and_a_small_wish_at_every_moment_is_served_first() -> None:
    world = World(
        VmSpec("a", cpu=HOG, vcpu_pins=CORE_0),
        VmSpec("b", cpu=HOG, vcpu_pins=CORE_0),
        VmSpec("c", cpu=Steady(0.1), vcpu_pins=CORE_0, in_spells=False),
    )
    world.hypervisor.apply(SetCpuShares(world.ids["a"], 2048))
    world.run(5)
    assert world.cores("a") == pytest.approx((0.6, 0.4, 0))
    assert world.cores("b") == pytest.approx((0.3, 0.7, 0))
    assert world.cores("c") == pytest.approx((0.1, 0, 0))


def test_the_weight_is_the_vms_and_not_each_vcpus() -> None:
    world = World(
        VmSpec("one", cpu=HOG, vcpu_pins=CORE_0),
        VmSpec("four", n_vcpus=4, cpu=Steady(4.0), vcpu_pins=CORE_0 * 4),
    )
    world.run(5)
    assert world.cores("one")[0] == pytest.approx(0.5)
    assert world.cores("four")[0] == pytest.approx(0.5)


def test_three_hogs_roam_two_cores_and_come_out_even() -> None:
    world = World(*(VmSpec(name, cpu=HOG) for name in "abc"))
    world.run(6)
    for name in "abc":
        assert world.cores(name)[0] == pytest.approx(2 / 3, abs=0.01)


def test_three_hogs_under_a_quota_come_out_even_too() -> None:
    world = World(*(VmSpec(name, cpu=HOG, quota_us=90_000) for name in "abc"))
    world.run(6)
    for name in "abc":
        assert world.cores(name)[0] == pytest.approx(2 / 3, abs=0.01)


def test_no_core_idles_while_somebody_waits_for_it() -> None:
    world = World(*(VmSpec(name, cpu=Steady(0.6), in_spells=False) for name in "abc"))
    world.run(6)
    for name in "abc":
        assert world.cores(name) == pytest.approx((0.6, 0, 0))


def test_a_pinned_vm_drives_the_roaming_one_to_the_free_core() -> None:
    world = World(VmSpec("roams", cpu=HOG), VmSpec("pinned", cpu=HOG, vcpu_pins=CORE_0))
    world.run(5)
    assert world.cores("roams") == pytest.approx((1, 0, 0))
    assert world.cores("pinned") == pytest.approx((1, 0, 0))


def test_own_quota_alone_is_all_throttling() -> None:
    world = World(VmSpec("a", cpu=HOG))
    world.hypervisor.apply(SetCpuQuota(world.ids["a"], 100_000, 20_000))
    world.run(5)
    assert world.cores("a") == pytest.approx((0.2, 0.8, 0.8)), "delay contains it, as in Linux"


def test_quota_on_a_shared_core_splits_the_blame() -> None:
    """20 ms of quota take 40 ms beside an equal hog: 20 ms of waiting, then 60 ms throttled."""
    world = World(
        VmSpec("a", cpu=HOG, vcpu_pins=CORE_0, quota_us=20_000),
        VmSpec("b", cpu=HOG, vcpu_pins=CORE_0),
    )
    world.run(5)
    assert world.cores("a") == pytest.approx((0.2, 0.8, 0.6))
    assert world.cores("b") == pytest.approx((0.8, 0.2, 0))


def test_a_quota_that_neighbours_keep_out_of_reach_throttles_nothing() -> None:
    world = World(
        VmSpec("a", cpu=HOG, vcpu_pins=CORE_0, quota_us=60_000),
        VmSpec("b", cpu=HOG, vcpu_pins=CORE_0),
    )
    world.run(5)
    assert world.cores("a") == pytest.approx((0.5, 0.5, 0))


def test_quota_is_per_vcpu() -> None:
    world = World(VmSpec("a", n_vcpus=2, cpu=Steady(2.0), quota_us=50_000))
    world.run(5)
    assert world.cores("a") == pytest.approx((1.0, 1.0, 1.0))


def test_bursts_collide_only_when_they_meet() -> None:
    """Steps are finer than a tick: two half-time hogs in opposite phase never wait."""

    def burst(phase_s: float) -> SquareWave:
        return SquareWave(0.0, 1.0, period_s=2.0, phase_s=phase_s)

    for phase_s, delay in ((1.0, 0.0), (0.0, 0.25)):
        world = World(
            VmSpec("a", cpu=burst(0.0), vcpu_pins=CORE_0),
            VmSpec("b", cpu=burst(phase_s), vcpu_pins=CORE_0),
        )
        world.run(10)
        assert world.cores("a")[1] == pytest.approx(delay)


def test_the_hosts_own_work_delays_too_and_counts_as_busy() -> None:
    host = HostSpec("h1", cpus=(4, 7), background=Steady(2.0))
    world = World(VmSpec("a", cpu=HOG), host=host)
    world.run(5)
    run, delay, _ = world.cores("a")
    assert (run, delay) == pytest.approx((0.5, 0.5), abs=0.01)
    busy = world.after.cpu_busy_ns - world.before.cpu_busy_ns  # type: ignore[operator]
    assert busy / 5e9 == pytest.approx(2.0)


def test_a_paused_vm_wants_nothing() -> None:
    world = World(VmSpec("a", cpu=HOG, vcpu_pins=CORE_0), VmSpec("b", cpu=HOG, vcpu_pins=CORE_0))
    world.fleet.pause_vm(world.ids["b"])
    world.run(5)
    assert world.cores("a") == pytest.approx((1, 0, 0))
    assert world.cores("b") == (0, 0, 0)
    assert world.after.vms[1].vm.state == "paused"
