"""Simulated disk, uplink and memory: who gets what, and what it costs the others."""

from __future__ import annotations

import pytest
from tests.unit.sim.worlds import World, counters

from evenkeel.sim.host import HostSpec
from evenkeel.sim.vm import VmSpec
from evenkeel.sim.workload import Onset, Steady

HOST = HostSpec("h1", cpus=(0, 1), memory_mib=4096, net_mbit_s=100, iops=1000)


def service_ms(world: World, name: str) -> float:
    """Milliseconds per disk request over the last run."""
    return world.rate(name, "disk_time_ns") / world.rate(name, "disk_requests") / 1e6


def test_a_calm_disk_serves_all_and_queues_little() -> None:
    world = World(VmSpec("a", iops=Steady(100), request_kib=8), host=HOST)
    world.run(10)
    assert world.rate("a", "disk_requests") == pytest.approx(100)
    assert world.rate("a", "disk_bytes") == pytest.approx(100 * 8192)
    assert service_ms(world, "a") == pytest.approx(1 / 0.9, rel=1e-3)


def test_a_neighbour_that_floods_the_disk_slows_every_request() -> None:
    world = World(
        VmSpec("a", iops=Steady(100)),
        VmSpec("b", iops=Onset(Steady(0), Steady(800), at_s=10)),
        host=HOST,
    )
    world.run(10)
    calm_ms = service_ms(world, "a")
    world.run(10)
    assert service_ms(world, "a") == pytest.approx(10.0, rel=1e-3)
    assert service_ms(world, "a") > 8 * calm_ms
    assert world.after.psi_io_some > world.before.psi_io_some


def test_a_saturated_disk_serves_in_proportion() -> None:
    world = World(VmSpec("a", iops=Steady(500)), VmSpec("b", iops=Steady(1500)), host=HOST)
    world.run(10)
    assert world.rate("a", "disk_requests") == pytest.approx(250)
    assert world.rate("b", "disk_requests") == pytest.approx(750)
    work = world.fleet.work(world.ids["a"])
    assert work.got_requests / work.wanted_requests == pytest.approx(0.5)


def test_an_uplink_is_shared_evenly_and_drops_the_rest() -> None:
    world = World(
        VmSpec("a", net_mbit_s=Steady(20)), VmSpec("b", net_mbit_s=Steady(120)), host=HOST
    )
    world.run(10)
    assert world.rate("a", "net_bytes") == pytest.approx(20e6 / 8)
    assert world.rate("a", "net_drops") == 0
    assert world.rate("b", "net_bytes") == pytest.approx(80e6 / 8)
    lost = world.rate("b", "net_drops")
    assert lost / (lost + world.rate("b", "net_packets")) == pytest.approx(1 / 3, rel=1e-3)


def test_enough_memory_means_no_faults() -> None:
    vm = VmSpec("a", cpu=Steady(1), memory_mib=1024, working_set_mib=Steady(800))
    world = World(vm, host=HOST)
    world.run(5)
    seen = counters(world.after, world.ids["a"])
    assert world.rate("a", "major_faults") == 0
    assert seen.rss_kib == 800 * 1024
    assert seen.balloon_kib == 1024 * 1024
    assert seen.available_kib == pytest.approx(1024 * 1024 * 0.97, abs=1)
    assert seen.unused_kib == pytest.approx((1024 * 0.97 - 800) * 1024, abs=1)
    assert seen.balloon_updated_at_s == int(world.after.wall_s)


def test_a_balloon_below_the_working_set_faults_stalls_and_loads_the_disk() -> None:
    world = World(
        VmSpec("a", cpu=Steady(1), memory_mib=1024, working_set_mib=Steady(800)), host=HOST
    )
    world.fleet.set_balloon(world.ids["a"], 512)
    world.run(10)
    faults = world.rate("a", "major_faults")
    assert 50 < faults < 1000
    assert world.rate("a", "swap_in_kib") == pytest.approx(4 * faults)
    assert world.rate("a", "disk_requests") == pytest.approx(2 * faults, rel=0.01)
    assert world.cores("a")[0] < 0.7, "it waits for pages instead of running"
    assert world.cores("a")[1] == 0, "which is no run-queue delay"
    assert world.fleet.work(world.ids["a"]).cpu_share < 0.7
    assert world.after.psi_memory_some > 0.1


def test_a_host_out_of_memory_stalls_everybody() -> None:
    world = World(
        VmSpec("a", cpu=Steady(0.5), memory_mib=2048, working_set_mib=Steady(1500)),
        VmSpec(
            "b",
            cpu=Steady(0.5),
            memory_mib=8192,
            working_set_mib=Onset(Steady(1000), Steady(6500), at_s=10),
        ),
        host=HOST,
    )
    world.run(10)
    assert world.after.psi_memory_some == 0
    world.run(10)
    seen = counters(world.after, world.ids["a"])
    assert world.cores("a")[0] < 0.45
    assert world.rate("a", "major_faults") == 0, "the guest does not see the host swap"
    assert seen.rss_kib is not None
    assert seen.rss_kib < 800 * 1024
    assert world.after.memory_used_mib == pytest.approx(4096)


def test_a_vm_without_a_balloon_offers_no_memory_statistics() -> None:
    world = World(VmSpec("a", has_balloon=False, has_delay=False), host=HOST)
    seen = counters(world.after, world.ids["a"])
    assert (seen.unused_kib, seen.major_faults, seen.balloon_updated_at_s) == (None, None, None)
    assert seen.vcpu_delay_ns is None
