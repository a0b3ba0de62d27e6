"""Predicted against measured loss, from simulated guests to what the controller answers.

Kills, duplicates and late batches leave every count as it was; a pair whose physics is wrong on
purpose is told of, and a quiet fleet hears of nothing.
"""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from agent_world import an_agent
from tests.batches import ManualClock

from evenkeel.adapters.store.store import SqlStore
from evenkeel.agent.contending import Contending
from evenkeel.api.fleet import StoreReader
from evenkeel.api.reader import Principal, Role
from evenkeel.controller.ingest import Ingest
from evenkeel.domain.host import Mode
from evenkeel.domain.ids import NOBODY, HostId, VmId
from evenkeel.domain.policy import Policy
from evenkeel.domain.reliability import BinSums, sums_of
from evenkeel.domain.resources import Resource
from evenkeel.domain.sample import HostCounters
from evenkeel.interference.contention import ContentionMap
from evenkeel.sim.faults import FaultKind, Faults
from evenkeel.sim.fleet import SimFleet
from evenkeel.sim.host import HostSpec
from evenkeel.sim.hypervisor import SimHypervisor
from evenkeel.sim.memory import (
    MemoryPolicy,
    MemorySpool,
    MemoryTraits,
)
from evenkeel.sim.scenarios import noisy_neighbour, quiet
from evenkeel.sim.vm import VmSpec
from evenkeel.sim.workload import Steady
from evenkeel.wire import Batch, decode_batch

TICK_S = 5.0
OPERATOR = Principal(Role.ADMIN, "ann", "t1")


class HiddenContention(SimHypervisor):
    """While `on`, the victim waits `share` of the time that the aggressor runs, wherever it runs.

    Nothing that the agent can see explains it: as with caches and memory bandwidth.
    """

    def __init__(self, fleet: SimFleet, host: HostId, victim: VmId, aggressor: VmId) -> None:
        super().__init__(fleet, host)
        self.pair = victim, aggressor
        self.on = False
        self.share = 1.0
        self._extra_ns, self._ran_ns = 0, 0

    def observe(self) -> HostCounters:
        seen = super().observe()
        ran_ns = next(vm.vcpu_time_ns for vm in seen.vms if vm.vm.id == self.pair[1])
        if self.on:
            self._extra_ns += int(self.share * (ran_ns - self._ran_ns))
        self._ran_ns = ran_ns
        return replace(
            seen,
            vms=tuple(
                replace(vm, vcpu_delay_ns=(vm.vcpu_delay_ns or 0) + self._extra_ns)
                if vm.vm.id == self.pair[0]
                else vm
                for vm in seen.vms
            ),
        )


class WrongPhysics(Contending):
    """Says `factor` of what it should: no trait that is learnt can make up for it."""

    factor = 1.0

    def observe(self, *told: Any) -> tuple[ContentionMap, ContentionMap]:
        now, soon = (
            replace(one, score=one.score * self.factor, predicted=one.predicted * self.factor)
            for one in super().observe(*told)
        )
        return now, soon


class World:
    """One host, an agent that only observes, and every batch that it ever sent."""

    def __init__(self, fleet: SimFleet, host: HostId, hypervisor: SimHypervisor) -> None:
        self.fleet, self.host, self.hypervisor = fleet, host, hypervisor
        self.spool, self.starts = MemorySpool(), 0
        self.batches: list[Batch] = []
        self.start()

    def start(self) -> None:
        """Also after a kill: what was in memory is gone, the spool is not."""
        self.starts += 1
        self.contending = WrongPhysics(MemoryTraits(), 7.5)
        self.agent = an_agent(
            self.fleet,
            self.host,
            self.spool,
            f"{self.starts:04}",
            hypervisor=self.hypervisor,
            policies=MemoryPolicy(Policy(mode=Mode.OBSERVE)),
            contending=self.contending,
        )

    def run(self, minutes: float) -> list[Batch]:
        new = []
        for _ in range(int(minutes * 60 / TICK_S)):
            self.fleet.advance(TICK_S)
            self.agent.tick()
            while (oldest := self.spool.oldest()) is not None:
                self.spool.drop(oldest[0])
                new.append(decode_batch(oldest[1]))
        self.batches += new
        return new


def told(batches: list[Batch]) -> list[str]:
    return [e.kind for b in batches for e in b.events if e.kind.startswith("pair")]


def colliding(pins: tuple[int, int]) -> tuple[World, HiddenContention]:
    """Two half-busy VMs, each on its core."""
    fleet = SimFleet(seed=5)
    host = fleet.add_host(HostSpec("h1", cpus=(0, 1)))
    victim, aggressor = (
        fleet.add_vm(host, VmSpec(name, cpu=Steady(0.3), vcpu_pins=((core,),)))
        for name, core in zip(("victim", "aggressor"), pins, strict=True)
    )
    hypervisor = HiddenContention(fleet, host, victim, aggressor)
    return World(fleet, host, hypervisor), hypervisor


@pytest.mark.parametrize("seed", range(2))
def test_a_quiet_fleet_hears_of_nothing_and_counts_all_the_same(seed: int) -> None:
    scenario = quiet(seed)
    host = next(iter(scenario.fleet.hosts))
    batches = World(scenario.fleet, host, SimHypervisor(scenario.fleet, host)).run(30)
    assert told(batches) == []
    n = sum(sum(t.n) for b in batches for t in b.reliability if t.resource is Resource.CPU)
    assert n > 5 * 30 * 11


def test_a_pair_whose_physics_is_wrong_is_told_and_told_off_again() -> None:
    world, hidden = colliding((0, 0))
    hidden.on = True
    assert "pair_deviates" not in told(world.run(30)[120:])  # it is learnt, ten minutes suffice
    world.contending.factor = 0.3
    wrong = world.run(15)
    (event,) = (e for b in wrong for e in b.events if e.kind.startswith("pair"))
    assert event.kind == "pair_deviates"
    assert (event.detail["victim"], event.detail["aggressor"]) == hidden.pair
    assert "aggressor costs victim more CPU than predicted" in event.message
    (standing,) = wrong[-1].pair_deviations
    assert standing.measured_loss - standing.predicted_loss > 0.2
    world.contending.factor = 1.0
    right = world.run(12)
    assert told(right) == ["pair_deviates_no_more"]
    assert right[-1].pair_deviations == ()


def test_loss_without_any_culprit_is_nobodys() -> None:
    world, hidden = colliding((0, 1))
    world.run(10)
    hidden.on = True
    (standing,) = world.run(15)[-1].pair_deviations
    assert (standing.victim, standing.aggressor) == (hidden.pair[0], NOBODY)
    assert standing.predicted_loss < 0.05


def test_counters_that_lie_accuse_nobody() -> None:
    scenario = quiet(3)
    fleet, host = scenario.fleet, next(iter(scenario.fleet.hosts))
    rates = {FaultKind.COUNTER_NEGATIVE: 0.05, FaultKind.COUNTER_NAN: 0.1}
    faults = Faults(lambda: fleet.now_s, seed=3, rates=rates)
    world = World(fleet, host, SimHypervisor(fleet, host, faults))
    batches = world.run(25)
    assert any(flaws for b in batches if b.tick for flaws in b.tick.flaws), "nothing was faulty"
    assert told(batches) == []


def test_kills_duplicates_and_late_batches_leave_the_counts_right(tmp_path: Path) -> None:
    scenario = noisy_neighbour(2)
    assert scenario.host is not None
    world = World(scenario.fleet, scenario.host, SimHypervisor(scenario.fleet, scenario.host))
    for _ in range(6):
        world.run(3.4)
        world.start()  # killed in the middle of a minute
    delivered = world.batches + random.Random(7).sample(world.batches, 100)
    random.Random(8).shuffle(delivered)

    store = SqlStore(f"sqlite:///{tmp_path}/c.db")
    clock = ManualClock(scenario.fleet.clock.wall_s())
    ingest = Ingest(store, clock)
    for batch in delivered:
        ingest.accept(batch)
    expected: dict[int, BinSums] = {}
    for batch in world.batches:
        for tally in batch.reliability:
            if (tally.resource, tally.horizon_s) == (Resource.CPU, 5.0):
                for k, sums in sums_of(tally).items():
                    expected[k] = expected.get(k, BinSums()) + sums
    assert max(expected) >= 3, "no collision was predicted"
    with store.read() as session:
        for host in (scenario.host, None):
            assert session.reliability.sums(0.0, host)[5.0, Resource.CPU] == expected

    reader = StoreReader(store, clock, b"k", host_silent_s=20.0, alarm_score=20.0)
    curve, ahead = reader.reliability(OPERATOR, scenario.host, Resource.CPU).curves
    assert (curve.horizon_s, ahead.horizon_s) == (5.0, 60.0)
    assert ahead.n > 0
    assert curve.n == sum(sums.n for sums in expected.values())
    assert len([each for each in curve.bins if each.populated]) >= 2
    store.close()


def test_the_same_seed_counts_the_same() -> None:
    def counted() -> list[object]:
        scenario = noisy_neighbour(4)
        assert scenario.host is not None
        world = World(scenario.fleet, scenario.host, SimHypervisor(scenario.fleet, scenario.host))
        return [(b.reliability, b.pair_deviations, b.events) for b in world.run(8)]

    assert counted() == counted()
