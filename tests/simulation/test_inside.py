"""A whole agent with VMs that have profilers, honest ones and others, in a seeded world."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from agent_world import an_agent

from evenkeel.domain.ids import VmId
from evenkeel.domain.resources import CPU_AXIS
from evenkeel.domain.sample import Flaw, HostTick
from evenkeel.ports import GuestProfiles
from evenkeel.sim.faults import FaultKind, Faults, FaultWindow
from evenkeel.sim.fleet import SimFleet
from evenkeel.sim.host import HostSpec
from evenkeel.sim.memory import (
    MemorySpool,
)
from evenkeel.sim.profiles import SimGuestProfiles
from evenkeel.sim.vm import VmSpec
from evenkeel.sim.workload import Onset, Steady
from evenkeel.wire import body_to_tick, decode_batch

TICK_S = 5.0
ONSET_S = 100.0


class World:
    """One core: `told` and `liar` have profilers, `noisy` is quiet until ONSET_S."""

    def __init__(self, has_profiles: bool = True) -> None:
        self.fleet = SimFleet(seed=3)
        host = self.fleet.add_host(HostSpec("h1", cpus=(0,)))
        self.told = self.fleet.add_vm(host, VmSpec("told", cpu=Steady(0.6), has_profiler=True))
        self.liar = self.fleet.add_vm(host, VmSpec("liar", cpu=Steady(0.1), has_profiler=True))
        self.noisy = self.fleet.add_vm(
            host, VmSpec("noisy", cpu=Onset(Steady(0.02), Steady(0.9), ONSET_S))
        )
        self.faults = Faults(lambda: self.fleet.now_s)
        profiles: GuestProfiles | None = None
        if has_profiles:
            profiles = SimGuestProfiles(self.fleet, host, self.faults)
        self.spool = MemorySpool()
        self.agent = an_agent(self.fleet, host, self.spool, "1", profiles=profiles)

    def run(self, until_s: float) -> list[HostTick]:
        ticks = []
        while self.fleet.now_s < until_s:
            self.fleet.advance(TICK_S)
            self.agent.tick()
            if self.agent.snapshot.tick is not None:
                ticks.append(self.agent.snapshot.tick)
        return ticks


def inside(tick: HostTick, vm: VmId) -> float:
    row = tick.index_of(vm)
    assert row is not None
    assert tick.inside_loss is not None
    return float(tick.inside_loss[row])


def test_the_loss_from_inside_is_the_work_that_was_not_done() -> None:
    world = World()
    quiet = world.run(ONSET_S)
    vm = world.fleet.hosts[next(iter(world.fleet.hosts))].vms[world.told]
    before = replace(vm.work)
    hurt = world.run(ONSET_S + 60.0)
    done = (vm.work - before).cpu_share

    assert max(inside(tick, world.told) for tick in quiet[-5:]) < 0.02
    said = np.mean([inside(tick, world.told) for tick in hurt[2:]])
    assert 0.1 < 1 - done < 0.6
    assert said == pytest.approx(1 - done, abs=0.05)


def test_the_controller_is_told_and_vms_without_a_profiler_are_not_known() -> None:
    world = World()
    world.run(ONSET_S + 20.0)
    batches = []
    while (found := world.spool.oldest()) is not None:
        batches.append(decode_batch(found[1]))
        world.spool.drop(found[0])
    bodies = [b for b in batches if b.tick is not None and b.tick.inside_loss is not None]
    last = body_to_tick(bodies[-1].host, bodies[-1].tick)

    assert inside(last, world.told) > 0.1
    assert np.isnan(inside(last, world.noisy))


@pytest.mark.parametrize("kind", [FaultKind.PROFILER_NONSENSE, FaultKind.PROFILER_FLOOD])
def test_a_profiler_that_misbehaves_is_marked_and_changes_nothing_else(kind: FaultKind) -> None:
    calm, bad = World(), World()
    bad.faults.add(FaultWindow(kind, 50.0, 120.0, bad.liar))
    ticks = list(zip(calm.run(160.0), bad.run(160.0), strict=True))

    flagged = [b for _, b in ticks if b.flaws[b.index_of(bad.liar)]]
    flaw = Flaw.PROFILER_FLOOD if kind is FaultKind.PROFILER_FLOOD else Flaw.PROFILER_NONSENSE
    assert flagged
    assert all(flaw in b.flaws[b.index_of(bad.liar)] for b in flagged[1:-2])
    for a, b in ticks:
        np.testing.assert_array_equal(a.demand, b.demand)
        np.testing.assert_array_equal(a.loss, b.loss)
        assert inside(a, calm.told) == pytest.approx(inside(b, bad.told), nan_ok=True)
        assert not b.flaws[b.index_of(bad.told)] or a.flaws == b.flaws
    assert not ticks[-1][1].flaws[ticks[-1][1].index_of(bad.liar)], "heard again"


def test_without_profilers_all_else_is_as_with_them() -> None:
    for a, b in zip(World().run(140.0), World(has_profiles=False).run(140.0), strict=True):
        assert b.inside_loss is None
        np.testing.assert_array_equal(a.demand, b.demand)
        np.testing.assert_array_equal(a.loss[:, CPU_AXIS], b.loss[:, CPU_AXIS])
