"""Plans of moves: what is relieved, what is emptied, and what is left alone, and why."""

from dataclasses import replace

import numpy as np
import pytest
from plans_made import a_problem, with_hosts, with_vms

from evenkeel.domain.errors import InvalidRequest
from evenkeel.placement.check import check
from evenkeel.placement.company import Company
from evenkeel.placement.consolidate import consolidate, rebalance, replan
from evenkeel.placement.fleet import Chance, Move
from evenkeel.placement.plan import Why
from evenkeel.placement.problem import Costs, Limits, over_slots


def good(problem, plan):
    assert check(problem, plan) == ()
    return plan


def test_the_emptiest_host_is_emptied():
    problem = a_problem([0, 0, 1, 2], [[1.0]] * 4, [[4.0]] * 3)
    plan = good(problem, consolidate(problem))
    assert (plan.before.n_in_use, plan.after.n_in_use) == (3, 1)
    assert {move.source for move in plan.moves} == {1, 2}
    assert plan.saved(24.0) == pytest.approx(2 * 24 - 0.02)


def test_nothing_worth_doing_is_an_answer():
    full = a_problem([0, 1], [[3.0], [3.0]], [[4.0], [4.0]])
    plan = good(full, consolidate(full))
    assert (plan.moves, plan.n_waves) == ((), 0)
    assert plan.left == {0: Why.NO_ROOM, 1: Why.NO_ROOM}
    dear = a_problem([0, 1], [[1.0], [1.0]], [[4.0], [4.0]], move=10.0)
    assert consolidate(replace(dear, limits=Limits(payback_h=20))).moves
    assert set(consolidate(replace(dear, limits=Limits(payback_h=5))).left.values()) == {
        Why.DOES_NOT_PAY
    }


def test_who_may_not_move_keeps_a_host_in_use():
    problem = a_problem([0, 1], [[1.0], [1.0]], [[4.0], [4.0]])
    pinned = with_vms(problem, exempt=np.array([True, False]))
    assert consolidate(pinned).moves == (Move(1, 1, 0),)
    hot = replace(problem, since_moved_s=np.array([9.0, 5.0]), limits=Limits(cooldown_s=7))
    assert consolidate(hot).moves == (Move(0, 0, 1),)
    kept = replace(problem, keep_on=np.array([True, True]))
    assert consolidate(kept).left == {0: Why.BOUND, 1: Why.BOUND}
    shut = with_hosts(problem, is_open=np.array([False, False]))
    assert consolidate(shut).moves == ()


def test_budget_and_inflow():
    problem = a_problem([0, 0, 0, 1, 1, 2, 2, 2, 2], [[1.0]] * 9, [[9.0]] * 3)
    some = consolidate(replace(problem, limits=Limits(moves=2)))
    assert (len(some.moves), some.after.n_in_use) == (2, 2)
    assert some.left[0] is Why.BUDGET
    assert consolidate(replace(problem, limits=Limits(moves=1))).moves == ()
    slow = consolidate(replace(problem, limits=Limits(inflow=2)))
    assert len(slow.moves) == 2


def test_the_dear_host_is_emptied_and_not_the_cheap():
    problem = a_problem([0, 1], [[1.0], [1.0]], [[4.0], [4.0]])
    dear = replace(problem, costs=Costs(np.array([100.0, 101.0]), np.zeros(2)))
    assert [move.source for move in consolidate(dear).moves] == [1]
    slope = np.array([[1.0], [9.0]])
    dear = replace(problem, costs=Costs(np.array([10.0, 10.0]), np.zeros(2), slope))
    assert [move.source for move in consolidate(dear).moves] == [1]


def test_somebody_makes_room():
    """A VM of 3 fits nowhere until one of 2 leaves for a gap of 2: two moves free a host."""
    problem = a_problem(
        [0, 0, 1, 2],
        [[3.0], [2.0], [5.0], [3.0]],
        [[7.0], [7.0], [6.0]],
        keep_on=np.array([True, True, False]),
    )
    plan = good(problem, consolidate(problem))
    assert plan.after.n_in_use == 2
    assert plan.moves == (Move(1, 0, 1), Move(3, 2, 0))
    assert plan.wave.tolist() == [0, 1]


def test_a_large_host_gives_way_to_a_small_one():
    problem = a_problem([0, 0], [[1.0], [1.0]], [[9.0], [3.0], [3.0]])
    costs = Costs(np.array([3.0, 2.0, 1.0]), np.full(2, 0.01))
    plan = good(problem, consolidate(replace(problem, costs=costs)))
    assert plan.host.tolist() == [2, 2]
    assert plan.left == {}
    level = replace(problem, costs=Costs(np.array([1.0, 1.0, 1.0]), np.full(2, 0.01)))
    assert consolidate(level).moves == ()


def test_contention_is_weighed_against_hosts():
    """Two that swing would meet on one host; the calm one may join either."""
    problem = a_problem([0, 1, 2], [[1.0]] * 3, [[3.6]] * 3, deviation=[[0.9], [0.9], [0.1]])
    problem = replace(problem, chance=Chance(0.2, np.zeros(1)))
    dear = replace(problem, costs=replace(problem.costs, lost=100.0))
    plan = good(dear, consolidate(dear))
    assert plan.after.n_in_use == 2
    assert plan.host[0] != plan.host[1]
    careless = consolidate(problem)
    assert careless.host[0] == careless.host[1]
    assert careless.after.lost > plan.after.lost


def test_a_host_at_risk_gives_one_away():
    problem = a_problem([0, 0, 0, 1], [[3.0], [1.5], [0.5], [1.0]], [[4.0], [4.0], [4.0]])
    plan = good(problem, rebalance(problem))
    assert plan.moves == (Move(1, 0, 1),)
    assert (plan.before.n_at_risk, plan.after.n_at_risk) == (1, 0)
    assert rebalance(replace(problem, limits=Limits(moves=0))).left == {0: Why.BUDGET}


def test_an_empty_host_is_opened_only_when_it_must_be():
    problem = a_problem([0, 0, 1], [[3.0], [2.0], [3.0]], [[4.0]] * 3)
    assert rebalance(problem).moves == (Move(1, 0, 2),)
    assert rebalance(with_hosts(problem, is_open=np.array([1, 1, 0], bool))).left == {
        0: Why.NO_ROOM
    }


def test_an_alarm_that_rings_later_than_targets_are_held_to():
    problem = a_problem(
        [0, 0, 1], [[2.0], [2.0], [0.1]], [[5.5], [9.0]], deviation=[[0.5], [0.5], [0.0]]
    )
    assert problem.fleet.fits(problem.chance).tolist() == [False, True]
    assert rebalance(problem, alarm=0.2).moves == ()
    assert len(rebalance(problem, alarm=0.01).moves) == 1


def test_relief_first_and_then_what_can_be_emptied():
    problem = a_problem([0, 0, 1, 2], [[3.0], [2.0], [1.0], [1.0]], [[4.0]] * 3)
    plan = good(problem, replan(problem))
    assert plan.after.n_at_risk == 0
    assert plan.after.n_in_use == 2


def test_tomorrow_counts():
    fleet = a_problem([0, 1], [[1.0], [1.0]], [[4.0], [4.0]]).fleet
    wants = np.array([[[1.0], [1.0]], [[3.0], [3.0]]])
    today = over_slots(fleet, wants[:1], 0 * wants[:1])
    assert len(consolidate(today).moves) == 1
    assert consolidate(over_slots(fleet, wants, 0 * wants)).moves == ()
    reserved = np.zeros((2, 2, 1))
    reserved[1, 0] = 3.0
    held = over_slots(fleet, wants[[0, 0]], 0 * wants, reserved)
    assert consolidate(held).moves == (Move(0, 0, 1),)


def test_groups_keep_apart():
    problem = a_problem([0, 1, 2], [[1.0]] * 3, [[4.0]] * 3)
    apart = Company.apart_by(np.array([0, 1]), np.zeros(2, int), np.array([False]))
    plan = good(problem, consolidate(replace(problem, company=apart)))
    assert plan.after.n_in_use == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"limits": Limits(at_once=0)},
        {"limits": Limits(moves=-1)},
        {"limits": Limits(payback_h=float("nan"))},
        {"reserved": np.zeros((1, 1))},
        {"reserved": np.full((2, 1), -1.0)},
        {"since_moved_s": np.array([np.nan, 1.0])},
        {"n_slots": 2},
    ],
)
def test_nonsense_is_refused(wrong):
    problem = a_problem([0, 1], [[1.0], [1.0]], [[4.0], [4.0]])
    for plan in (consolidate, rebalance):
        with pytest.raises(InvalidRequest):
            plan(replace(problem, **wrong))


def test_demand_that_is_not_a_number_is_refused():
    problem = a_problem([0], [[np.nan]], [[4.0]])
    with pytest.raises(InvalidRequest, match="NaN"):
        consolidate(problem)
    with pytest.raises(InvalidRequest, match="not in the fleet"):
        consolidate(a_problem([3], [[1.0]], [[4.0]]))


@pytest.mark.parametrize("most", [1, 2, 256])
def test_many_targets_are_looked_at_in_parts(most, monkeypatch):
    monkeypatch.setattr("evenkeel.placement.consolidate.MOST_TARGETS", most)
    problem = a_problem([*range(9), 8], [[1.0]] * 10, [[3.0]] * 9)
    plan = good(problem, consolidate(problem))
    assert plan.after.n_in_use == 4


def test_all_anew_is_the_answer_only_where_it_is_much_better():
    """Two hosts of 3, 2 and 3, 2 with room for 6, a third with 2: 3 + 3 and 2 + 2 + 2 fill two."""
    problem = a_problem([0, 0, 1, 1, 2], [[3.0], [2.0], [3.0], [2.0], [2.0]], [[6.0]] * 3 + [[3.0]])
    assert consolidate(problem, tries=99).moves == (), "host by host nothing can be emptied"
    plan = good(problem, consolidate(problem))
    assert plan.after.n_in_use == 2
    assert plan.moves[0] == Move(1, 0, 2), "a stopover: the two full hosts wait for each other"
    dear = consolidate(replace(problem, costs=Costs(np.ones(4), np.full(5, 3.0))))
    assert dear.moves == ()
    kept = replace(problem, keep_on=np.ones(4, dtype=bool))
    assert consolidate(kept).moves == ()
