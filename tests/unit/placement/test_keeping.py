"""Advice that does not flap: when a plan stands, and when another one takes its place."""

from dataclasses import replace

import numpy as np
import pytest
from plans_made import a_problem, with_hosts, with_vms

from evenkeel.domain.ids import HostId, VmId
from evenkeel.placement.consolidate import consolidate
from evenkeel.placement.fleet import Move
from evenkeel.placement.keeping import (
    NamedMove,
    Patience,
    Turn,
    amended,
    helps_as_much,
    named,
    rest_of,
    still,
)
from evenkeel.placement.keeping import turn as turn_of
from evenkeel.placement.problem import Limits

LONG, SHORT = 1e6, 60.0
PATIENCE = Patience(cooldown_s=1800.0, more=0.25, least=1.0)


@pytest.fixture
def problem():
    """Three hosts of which one would do."""
    return a_problem([0, 0, 1, 2], [[1.0]] * 4, [[6.0]] * 3, limits=Limits(payback_h=24.0))


def turn(problem, rest, fresh, age_s, patience):
    former = fresh if rest is None else still(problem, rest, 0.025)
    return turn_of(problem, rest, former, fresh, 0.025, age_s, patience)


def one_move(problem, vm, target):
    source = problem.fleet.hosts.ids[int(problem.fleet.vms.host[vm])]
    return (NamedMove(VmId(f"vm{vm}"), source, HostId(f"h{target}")),)


def test_what_is_left_of_a_plan_is_what_was_not_done(problem):
    plan = consolidate(problem)
    assert rest_of(problem, named(problem, plan)).moves == plan.moves
    first = plan.moves[0]
    host = problem.fleet.vms.host.copy()
    host[first.vm] = first.target
    later = with_vms(problem, host=host)
    rest = rest_of(later, named(problem, plan))
    assert rest.moves == plan.moves[1:]
    assert rest.saved(24.0) < plan.saved(24.0)
    gone = (NamedMove(VmId("gone"), HostId("h0"), HostId("h1")),)
    assert rest_of(problem, gone).moves == ()


def test_positions_may_change_between_looks(problem):
    moves = named(problem, consolidate(problem))
    ids = problem.fleet.vms.ids
    turned = with_vms(problem, ids=ids[::-1], host=problem.fleet.vms.host[::-1].copy())
    assert {(m.vm, m.target) for m in rest_of(turned, moves).moves} == {
        (len(ids) - 1 - m.vm, m.target) for m in consolidate(problem).moves
    }


def test_the_first_plan_is_news_and_nothing_is_not(problem):
    plan, none = consolidate(problem), rest_of(problem, ())
    assert turn(problem, None, plan, LONG, PATIENCE) is Turn.FIRST
    assert turn(problem, None, none, LONG, PATIENCE) is Turn.NOTHING


def test_a_plan_stands_until_it_is_done(problem):
    plan = consolidate(problem)
    assert turn(problem, plan, plan, LONG, PATIENCE) is Turn.KEPT
    assert turn(problem, rest_of(problem, ()), plan, SHORT, PATIENCE) is Turn.DONE


def test_a_plan_that_saves_more_waits_and_one_that_saves_hardly_more_does_not_come(problem):
    small, plan = rest_of(problem, one_move(problem, 3, 1)), consolidate(problem)
    assert plan.saved(24.0) > 1.9 * small.saved(24.0)
    assert turn(problem, small, plan, SHORT, PATIENCE) is Turn.KEPT
    assert turn(problem, small, plan, LONG, PATIENCE) is Turn.MORE
    assert turn(problem, small, plan, LONG, replace(PATIENCE, more=1.5)) is Turn.KEPT
    assert turn(problem, small, plan, LONG, replace(PATIENCE, least=30.0)) is Turn.KEPT


def test_what_cannot_be_done_any_more_goes_at_once(problem):
    small = rest_of(problem, one_move(problem, 3, 1))
    closed = with_hosts(problem, is_open=np.array([True, False, True]))
    assert turn(closed, small, rest_of(closed, ()), SHORT, PATIENCE) is Turn.IMPOSSIBLE


def test_hosts_that_come_to_be_at_risk_do_not_wait(problem):
    small = one_move(problem, 3, 1)
    mean = problem.fleet.vms.mean.copy()
    mean[:2] = 4.0
    risky = with_vms(problem, mean=mean)
    relief = rest_of(risky, one_move(problem, 0, 2))
    assert relief.moves == (Move(0, 0, 2),)
    assert turn(risky, rest_of(risky, small), relief, SHORT, PATIENCE) is Turn.RELIEF
    drained = replace(problem, drain=np.array([False, False, True]))
    away = rest_of(drained, one_move(problem, 3, 0))
    other = rest_of(drained, one_move(problem, 2, 0))
    assert turn(drained, other, away, SHORT, PATIENCE) is Turn.RELIEF


def test_what_no_longer_pays_is_withdrawn_but_not_in_haste(problem):
    back = rest_of(problem, one_move(problem, 1, 1))
    assert back.saved(24.0) < 0
    none = rest_of(problem, ())
    assert turn(problem, back, none, SHORT, PATIENCE) is Turn.KEPT
    assert turn(problem, back, none, LONG, PATIENCE) is Turn.WORTHLESS


def test_hosts_that_are_a_little_fuller_than_is_accepted_do_not_end_a_plan():
    """Plans fill hosts to the accepted risk; the next look finds a little more or less."""
    problem = a_problem([0, 1, 2], [[1.0]] * 3, [[9.0]] * 3, deviation=[[0.5]] * 3)
    problem = replace(problem, limits=Limits(payback_h=24.0))
    moves = named(problem, consolidate(problem))
    assert len(moves) == 2
    for more, expected in ((1.0, 2), (2.25, 2), (2.5, 1), (4.6, 0)):
        fuller = with_vms(problem, mean=np.full((3, 1), more))
        rest = rest_of(fuller, moves)
        assert len(rest.moves) == 2
        assert len(still(fuller, rest, 0.025).moves) == expected, more


def test_a_plan_of_which_little_can_be_done_goes(problem):
    plan = consolidate(problem)
    little = rest_of(problem, one_move(problem, 3, 1))
    assert turn_of(problem, plan, little, plan, 0.025, SHORT, PATIENCE) is Turn.IMPOSSIBLE
    assert (
        turn_of(problem, plan, little, plan, 0.025, SHORT, replace(PATIENCE, more=0.9)) is Turn.KEPT
    )


def test_one_host_more_at_risk_adds_to_a_plan_and_does_not_turn_it_over(problem):
    mean = problem.fleet.vms.mean.copy()
    mean[:2] = 3.5
    risky = with_vms(problem, mean=mean)
    former = rest_of(risky, one_move(problem, 3, 1))
    plan = amended(risky, former, 0.025)
    assert plan.moves[0] == former.moves[0]
    assert len(plan.moves) == 2
    assert plan.after.n_at_risk == 0
    assert helps_as_much(risky, plan, consolidate(risky), 0.025)
    assert not helps_as_much(risky, former, plan, 0.025)
    assert amended(problem, former, 0.025) is None, "nothing is at risk"
