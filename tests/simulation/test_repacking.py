"""The fleet's planner on a simulated day: it sees the past alone, and is better than staying."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from cloudsim_made import made_percent

from evenkeel.domain.arrays import Ints
from evenkeel.sim.cloudsim import mmt
from evenkeel.sim.cloudsim.day import Day, simulate
from evenkeel.sim.cloudsim.policies import Mmt, Policy, Seen
from evenkeel.sim.cloudsim.world import World, make_world
from evenkeel.wiring.cloudsim import Evenkeel

HOSTS = 50
FUTURE = 120
"""Samples from here on are perturbed."""


@dataclass
class Noted:
    """A policy, and what it decided at each tick."""

    policy: Policy
    moves: list[Any] = field(default_factory=list)

    def place(self, world: World) -> Ints:
        return self.policy.place(world)

    def decide(self, seen: Seen) -> tuple[Ints, Ints]:
        vms, hosts = self.policy.decide(seen)
        self.moves.append((vms.tolist(), hosts.tolist()))
        return vms, hosts


def run(honour_ram: bool = False, policy: Policy | None = None, n_ticks: int | None = None) -> Day:
    world = make_world(made_percent(), HOSTS, honour_ram)
    return simulate(world, policy or Evenkeel(), n_ticks=n_ticks)


def test_another_future_changes_no_decision_before_it() -> None:
    percent = made_percent()
    decided = []
    for future in (percent[:, FUTURE:], 100.0 - percent[:, FUTURE:]):
        whole = np.concatenate([percent[:, :FUTURE], future], axis=1)
        noted = Noted(Evenkeel())
        simulate(make_world(whole, HOSTS), noted, n_ticks=FUTURE + 40)
        decided.append(noted.moves)
    # At tick k (from 0) the newest sample is k + 1; the world itself looks an instant further.
    assert decided[0][: FUTURE - 2] == decided[1][: FUTURE - 2]
    assert any(vms for vms, _ in decided[0][: FUTURE - 2])
    assert decided[0] != decided[1], "the perturbation was to matter"


def test_against_the_best_opponent_and_again_the_same() -> None:
    ours, lr = run(), run(policy=Mmt(mmt.LR))
    assert ours.energy_kwh < lr.energy_kwh
    assert ours.migrations < lr.migrations / 5
    assert ours.pdm_pct < lr.pdm_pct / 3
    assert run(n_ticks=60).by_tick == ours.by_tick[:60]


def test_memory_is_honoured() -> None:
    """The world stops a policy that overfills a host; here it takes more hosts than without."""
    held, free = run(honour_ram=True, n_ticks=100), run(n_ticks=100)
    assert held.by_tick[-1].hosts_on > free.by_tick[-1].hosts_on
    assert held.migrations > 0


def test_decides_from_older_readings_too() -> None:
    day = run(policy=Evenkeel(lag=3), n_ticks=100)
    assert not sum(tick.moves for tick in day.by_tick[:3])
    assert 0 < day.migrations < 200


def test_a_fleet_that_is_gone_is_left_alone() -> None:
    percent = np.full((4, 288), 10.0)
    percent[:, 50:] = 0.0
    day = simulate(make_world(percent, 8), Evenkeel(), n_ticks=60)
    assert day.vms_ended == 4
    assert day.by_tick[-1].hosts_on == 0
