"""VMs come, go, reboot, pause and move; time passes; the same seed gives the same bytes."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from tests.unit.sim.worlds import World, counters

from evenkeel.domain.errors import VmGone
from evenkeel.domain.plan import SetVcpuPins
from evenkeel.domain.resources import SPECS, Resource
from evenkeel.sim.churn import ChurnKind, ChurnRates, plan_churn
from evenkeel.sim.fleet import SimFleet
from evenkeel.sim.host import HostSpec
from evenkeel.sim.hypervisor import SimHypervisor
from evenkeel.sim.scenarios import mixed, noisy_neighbour, quiet
from evenkeel.sim.vm import VmSpec
from evenkeel.sim.workload import Steady
from level import level

SHARD = SPECS[Resource.CPU].shard


def test_a_reboot_restarts_counters_under_a_new_incarnation_with_default_knobs() -> None:
    world = World(VmSpec("a", cpu=Steady(1.0)))
    world.hypervisor.apply(SetVcpuPins(world.ids["a"], ((1,),)))
    world.run(5)
    world.fleet.reboot_vm(world.ids["a"])
    old = counters(world.after, world.ids["a"])
    new = counters(world.hypervisor.observe(), world.ids["a"])
    assert new.incarnation != old.incarnation
    assert (new.vcpu_time_ns, new.disk_requests) == (0, 0)
    assert new.vm.id == old.vm.id
    assert new.vm.tuning.vcpu_pins == ((0, 1),)
    assert world.fleet.work(world.ids["a"]).got_core_s == pytest.approx(5.0), "work stays counted"


def test_a_migration_takes_pins_along_as_far_as_the_target_has_them() -> None:
    fleet = SimFleet()
    here = fleet.add_host(HostSpec("h1", cpus=(0, 1, 2)))
    there = fleet.add_host(HostSpec("h2", cpus=(2, 3)))
    vm = fleet.add_vm(
        here, VmSpec("a", n_vcpus=2, cpu=Steady(1), vcpu_pins=((0, 2), (0, 1)), shares=77)
    )
    fleet.advance(5)
    fleet.migrate_vm(vm, there)
    assert SimHypervisor(fleet, here).observe().vms == ()
    with pytest.raises(VmGone):
        SimHypervisor(fleet, here).tuning(vm)
    seen = counters(SimHypervisor(fleet, there).observe(), vm)
    assert seen.vcpu_time_ns == 0
    assert seen.vm.tuning.vcpu_pins == ((2,), (2, 3))
    assert seen.vm.tuning.shares == 77


def test_a_removed_vm_is_gone_everywhere_but_in_the_books() -> None:
    world = World(VmSpec("a", cpu=Steady(1.0)))
    world.run(5)
    world.fleet.remove_vm(world.ids["a"])
    with pytest.raises(VmGone):
        world.fleet.reboot_vm(world.ids["a"])
    assert world.fleet.work(world.ids["a"]).got_core_s == pytest.approx(5.0)


def test_a_paused_vm_keeps_its_counters_and_stops_its_statistics() -> None:
    world = World(VmSpec("a", cpu=Steady(1.0)))
    world.run(5)
    world.fleet.pause_vm(world.ids["a"])
    paused_at_s = int(world.after.wall_s)
    world.run(20)
    assert world.cores("a") == (0, 0, 0)
    seen = counters(world.after, world.ids["a"])
    assert seen.balloon_updated_at_s == paused_at_s
    world.fleet.resume_vm(world.ids["a"])
    world.run(5)
    assert world.cores("a")[0] == pytest.approx(1.0)


def test_the_agenda_happens_on_time_and_in_order() -> None:
    fleet = SimFleet()
    seen: list[tuple[str, float]] = []
    fleet.at(7.5, lambda: seen.append(("late", fleet.now_s)))
    fleet.at(2.5, lambda: seen.append(("early", fleet.now_s)))
    fleet.at(2.5, lambda: seen.append(("early too", fleet.now_s)))
    fleet.advance(5.0)
    fleet.advance(5.0)
    assert seen == [("early", 2.5), ("early too", 2.5), ("late", 7.5)]
    assert fleet.now_s == 10.0


def test_the_wall_clock_may_jump_while_monotonic_time_goes_on() -> None:
    fleet = SimFleet()
    wall_s, monotonic_s = fleet.clock.wall_s(), fleet.clock.monotonic_s()
    fleet.advance(5)
    fleet.clock.jump_wall(-3600)
    assert fleet.clock.wall_s() == pytest.approx(wall_s - 3595)
    assert fleet.clock.monotonic_s() == pytest.approx(monotonic_s + 5)
    with pytest.raises(ValueError, match="cannot advance"):
        fleet.clock.advance(-1)


def history(seed: int) -> bytes:
    """Ten minutes of an unruly fleet, as bytes."""
    fleet = mixed(seed, n_hosts=2, n_vms=6).fleet
    rates = ChurnRates(reboot=30, pause=30, migrate=30, vanish=12, clock_jump=12)
    churn = plan_churn(fleet, rates, seed=seed, until_s=600)
    hypervisors = [SimHypervisor(fleet, host) for host in fleet.hosts]
    encode = msgspec.json.Encoder(order="deterministic").encode
    lines = []
    for _ in range(120):
        fleet.advance(5.0)
        lines += [encode(each.observe()) for each in hypervisors]
    return b"\n".join([*lines, encode(churn)])


def test_the_same_seed_gives_the_same_bytes() -> None:
    assert history(11) == history(11)
    assert history(11) != history(12)


def test_another_process_gives_the_same_bytes() -> None:
    here = hashlib.sha256(history(11)).hexdigest()
    script = "import hashlib; from tests.unit.sim.test_fleet import history\n"
    script += "print(hashlib.sha256(history(11)).hexdigest())"
    there = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONHASHSEED": "12345", "PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout.strip() == here


def test_churn_happens_and_never_breaks_the_fleet() -> None:
    fleet = mixed(5, n_hosts=2, n_vms=6).fleet
    rates = ChurnRates(reboot=120, pause=120, migrate=120, vanish=60, clock_jump=60)
    happened = plan_churn(fleet, rates, seed=5, until_s=600)
    hypervisors = [SimHypervisor(fleet, host) for host in fleet.hosts]
    for _ in range(120):
        fleet.advance(5.0)
        placed = [vm.vm.id for each in hypervisors for vm in each.observe().vms]
        assert len(placed) == len(set(placed))
    assert {event.kind for event in happened} == set(ChurnKind)


@pytest.mark.parametrize("seed", range(6))
def test_the_noisy_neighbour_hurts_one_vm_from_its_onset_on(seed: int) -> None:
    scenario = noisy_neighbour(seed, earliest_s=20)
    fleet = level(scenario.fleet)
    assert scenario.aggressor is not None
    assert scenario.victim is not None
    fleet.advance(scenario.onset_s)
    assert fleet.work(scenario.victim).cpu_share > 0.99
    before = {vm: fleet.work(vm) for vm in fleet.host_of(scenario.victim).vms}
    fleet.advance(30)
    hurt = {vm for vm, work in before.items() if (fleet.work(vm) - work).cpu_share < 0.9}
    assert hurt == {scenario.victim, scenario.aggressor}
    tuning = fleet.vm(scenario.aggressor).tuning
    fleet.set_tuning(scenario.aggressor, replace(tuning, vcpu_pins=((2, 3),)))
    cured = fleet.work(scenario.victim)
    fleet.advance(30)
    assert (fleet.work(scenario.victim) - cured).cpu_share > 0.99, "there is a free core to go to"


@pytest.mark.parametrize("seed", range(6))
def test_beside_vcpus_that_are_on_or_off_it_stands_out_as_well(seed: int) -> None:
    scenario = noisy_neighbour(seed, earliest_s=20)
    fleet = scenario.fleet
    assert scenario.victim is not None
    fleet.advance(scenario.onset_s)
    assert fleet.work(scenario.victim).lost_core_s < SHARD * scenario.onset_s
    before = {vm: fleet.work(vm) for vm in fleet.host_of(scenario.victim).vms}
    fleet.advance(30)
    lost = {vm: (fleet.work(vm) - work).lost_core_s / 30 for vm, work in before.items()}
    hurt = {vm for vm, cores in lost.items() if cores > 2 * SHARD}
    assert hurt == {scenario.victim, scenario.aggressor}


def test_noisy_neighbours_differ_by_seed() -> None:
    chosen = {(s.host, s.fleet.vm(s.victim).spec.name) for s in map(noisy_neighbour, range(20))}
    assert len(chosen) > 6


def test_a_quiet_fleet_loses_nothing_to_speak_of() -> None:
    fleet = level(quiet(4).fleet)
    fleet.advance(600)
    for host in fleet.hosts.values():
        for vm in host.vms.values():
            assert vm.work.cpu_share > 0.995


def test_a_quiet_fleet_of_vcpus_that_are_on_or_off_loses_less_than_a_shard_a_vm() -> None:
    fleet = quiet(4).fleet
    fleet.advance(600)
    for host in fleet.hosts.values():
        for vm in host.vms.values():
            assert vm.work.lost_core_s < SHARD * 600


def test_long_steps_come_to_the_same_where_demand_stands_still() -> None:
    def served(*strides: tuple[float, float | None]) -> list[float]:
        fleet = SimFleet(seed=1)
        host = fleet.add_host(HostSpec("h", cpus=(0, 1, 2)))
        wants = (0.9, 0.8, 0.7, 0.6, 0.5)
        vms = [fleet.add_vm(host, VmSpec(f"v{w}", cpu=Steady(w), in_spells=False)) for w in wants]
        for seconds, step_s in strides:
            fleet.advance(seconds, step_s)
        return [fleet.work(vm).got_core_s for vm in vms]

    fine = served((100.0, None), (5.0, None))
    assert served((100.0, 0.5), (5.0, None)) == pytest.approx(fine, rel=0.02)


def test_after_long_steps_everybodys_turn_is_whose_it_would_be() -> None:
    def last_tick(step_s: float | None) -> list[float]:
        fleet = mixed(5, n_hosts=1, n_vms=9).fleet
        fleet.advance(40.0, step_s)
        before = {vm: fleet.work(vm) for vm in fleet.hosts[next(iter(fleet.hosts))].vms}
        fleet.advance(5.0)
        return [(fleet.work(vm) - work).got_core_s for vm, work in before.items()]

    assert last_tick(0.4) == pytest.approx(last_tick(None), abs=1e-9)


def test_a_forgotten_vm_may_come_back_under_its_name() -> None:
    fleet = SimFleet()
    host = fleet.add_host(HostSpec("h"))
    spec = VmSpec("a", cpu=Steady(0.5))
    vm = fleet.add_vm(host, spec)
    fleet.advance(10.0)
    run = fleet.vm(vm).incarnation
    with pytest.raises(ValueError, match="there is or was"):
        fleet.add_vm(host, spec)
    fleet.forget_vm(vm)
    assert fleet.add_vm(host, spec) == vm
    assert fleet.vm(vm).incarnation != run
    assert fleet.work(vm).got_core_s == 0.0
