"""When the fleet's planner moves VMs, and when it lets them be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from evenkeel.controller.repacking import Past, Repacking, demand_ahead, problem_of, repack
from evenkeel.domain.ids import HostId, VmId
from evenkeel.placement.check import check
from evenkeel.placement.fleet import Hosts, Vms
from evenkeel.placement.plan import MovePlan
from evenkeel.placement.shortfall import shortfall_odds

CORES = 10.0
SLOTS = 60


def planned(
    per_host: list[int], level: float, noise: float, slot: int, how: Repacking
) -> tuple[MovePlan, float]:
    """Hosts of 10 cores, each with so many VMs alike of one core; the plan, the worst odds."""
    rng = np.random.default_rng(5)
    n = sum(per_host)
    past = Past(
        demand=np.clip(rng.normal(level, noise, (n, SLOTS)), 0, 1),
        size=np.ones(n),
        memory=np.full(n, 1024.0),
        firm=np.zeros((n, 0)),
    )
    n_hosts = len(per_host)
    hosts = Hosts(
        tuple(HostId(f"h{host}") for host in range(n_hosts)),
        np.full((n_hosts, 1), CORES),
        np.ones(n_hosts, dtype=np.bool_),
        np.zeros(n_hosts, dtype=np.intp),
    )
    unknown = np.zeros((n, 1))
    vms = Vms(
        tuple(VmId(f"vm{vm}") for vm in range(n)),
        np.repeat(np.arange(n_hosts), per_host),
        unknown,
        unknown,
        np.zeros(n, dtype=np.intp),
        np.zeros(n, dtype=np.bool_),
    )
    problem = problem_of(hosts, vms, past, np.full(n_hosts, 90.0), np.full(n_hosts, 4.0), how)
    odds = shortfall_odds(problem.fleet.totals(), CORES, how.correlation).max()
    plan = repack(problem, slot, how)
    assert not check(problem, plan)
    return plan, float(odds)


HOW = Repacking(epsilon=0.001, alarm=0.02, drain_slots=6)


def test_a_host_at_risk_is_relieved_at_any_slot() -> None:
    plan, odds = planned([24, 4], 0.4, 0.1, slot=1, how=HOW)
    assert odds > HOW.alarm
    assert plan.moves
    assert {move.source for move in plan.moves} == {0}


def test_between_the_two_odds_nobody_moves() -> None:
    plan, odds = planned([21, 21], 0.4, 0.1, slot=1, how=HOW)
    assert HOW.epsilon < odds < HOW.alarm
    assert not plan.moves


def test_hosts_are_emptied_at_their_slots_alone_and_where_it_pays() -> None:
    for slot, how, is_emptied in (
        (6, HOW, True),
        (5, HOW, False),
        (6, replace(HOW, move_wh=100.0), False),
        (6, replace(HOW, move_wh=100.0, payback_h=24.0), True),
    ):
        plan, _ = planned([6, 3, 5], 0.4, 0.1, slot, how)
        assert (len(set(plan.host.tolist())) == 1) is is_emptied, (slot, how)
        assert bool(plan.moves) is is_emptied


def test_other_resources_are_held_in_full() -> None:
    past = Past(np.full((2, 9), 0.5), np.ones(2), np.ones(2), np.array([[7.0], [9.0]]))
    mean, deviation = demand_ahead(past, HOW.memory)
    assert mean.shape == deviation.shape == (2, 2)
    assert mean[:, 1].tolist() == [7, 9]
    assert deviation[:, 1].tolist() == [0, 0]
