"""The independent checker: each thing that can be wrong with a plan has a name."""

from dataclasses import replace

import numpy as np
import pytest
from plans_made import a_plan, a_problem, with_hosts, with_vms

from evenkeel.placement.check import check
from evenkeel.placement.company import Company
from evenkeel.placement.problem import Limits, over_slots


def codes(problem, moves, wave=None):
    return [str(refusal.code) for refusal in check(problem, a_plan(problem, moves, wave))]


@pytest.fixture
def two():
    """Two hosts of 4, a VM of 2 on the first and one of 3 on the second; a third host is empty."""
    return a_problem([0, 1], [[2.0], [3.0]], [[4.0], [4.0], [4.0]])


def test_what_fits_passes(two):
    assert codes(two, [(0, 2)]) == []
    assert codes(two, []) == []


def test_the_target_holds_both_while_it_moves(two):
    assert codes(two, [(0, 1)]) == ["capacity"]
    # A swap of the two: in no order, unless somebody waits elsewhere.
    assert codes(two, [(0, 1), (1, 0)], wave=[0, 0]) == ["capacity", "capacity"]
    assert codes(two, [(0, 2), (1, 0), (0, 1)]) == []
    # In the same wave the room is not there yet.
    assert "capacity" in codes(two, [(0, 2), (1, 0)], wave=[0, 0])


def test_odds_count_and_not_only_means():
    problem = a_problem([0, 1], [[2.0], [2.0]], [[4.4], [4.4]], deviation=[[0.5], [0.5]])
    assert codes(problem, [(0, 1)]) == ["capacity"]
    assert codes(with_hosts(problem, capacity=np.full((2, 1), 7.0)), [(0, 1)]) == []


def test_who_and_where(two):
    assert codes(two, [(7, 2)]) == ["unknown"]
    assert codes(two, [(0, 9)]) == ["unknown"]
    assert codes(two, [(0, 0)]) == ["unknown"]
    assert codes(two, [(0, 2)], wave=[-1]) == ["unknown"]
    assert codes(with_vms(two, exempt=np.array([True, False])), [(0, 2)]) == ["exempt"]
    assert codes(with_hosts(two, is_open=np.array([True, True, False])), [(0, 2)]) == ["closed"]


def test_a_vm_is_where_it_is_and_the_plan_ends_where_it_says(two):
    plan = a_plan(two, [(0, 2)])
    lied = replace(plan, moves=(replace(plan.moves[0], source=1),))
    assert [r.code for r in check(two, lied)] == ["unknown"]
    assert [r.code for r in check(two, replace(plan, host=np.array([0, 1])))] == ["unknown"]


def test_limits(two):
    assert codes(replace(two, limits=Limits(moves=0)), [(0, 2)]) == ["budget"]
    assert codes(replace(two, limits=Limits(inflow=0)), [(0, 2)]) == ["inflow"]
    rested = replace(two, limits=Limits(cooldown_s=60), since_moved_s=np.array([59.0, 61.0]))
    assert codes(rested, [(0, 2)]) == ["cooldown"]
    assert codes(rested, [(1, 2)]) == []
    crowd = a_problem([0, 0, 1], [[1.0]] * 3, [[4.0]] * 3, limits=Limits(at_once=1))
    assert codes(crowd, [(0, 2), (1, 1)], wave=[0, 0]) == ["at_once"]
    assert codes(crowd, [(0, 2), (1, 1)], wave=[0, 1]) == []


def test_who_keeps_apart():
    problem = a_problem([0, 1, 2], [[1.0]] * 3, [[4.0]] * 4, domain=[0, 0, 1, 1])
    hosts = replace(
        problem, company=Company.apart_by(np.array([0, 1]), np.zeros(2, int), np.array([False]))
    )
    assert codes(hosts, [(0, 1)]) == ["apart"]
    assert codes(hosts, [(0, 2)]) == []
    # While it moves away it is still there.
    assert codes(hosts, [(1, 3), (0, 1)], wave=[0, 0]) == ["apart"]
    domains = replace(
        problem, company=Company.apart_by(np.array([0, 2]), np.zeros(2, int), np.array([True]))
    )
    assert codes(domains, [(0, 3)]) == ["apart"]
    assert codes(domains, [(0, 1)]) == []


def test_a_move_today_must_not_break_a_reservation_tomorrow(two):
    wants = np.stack([two.fleet.vms.mean] * 2)
    reserved = np.zeros((2, 3, 1))
    reserved[1, 2] = 3.0
    ahead = over_slots(two.fleet, wants, np.zeros_like(wants), reserved)
    plan = a_plan(ahead, [(0, 2)])
    (refusal,) = check(ahead, plan)
    assert refusal.code == "reservation"
    assert "h2 would run short of resource 0 in slot 1" in refusal.why
    assert check(replace(ahead, reserved=None), plan) == ()
