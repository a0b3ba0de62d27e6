"""Rules while VMs move: what planners are forbidden, and what the checker refuses on its own."""

from dataclasses import replace

import numpy as np
import pytest
from plans_made import a_plan, a_problem, with_hosts, with_vms

from evenkeel.placement.check import check
from evenkeel.placement.company import Company
from evenkeel.placement.consolidate import consolidate
from evenkeel.placement.fleet import Move
from evenkeel.placement.packing import Packing
from evenkeel.placement.plan import Why


def company(members=(), rules=(), **other):
    """`members` of (VM, group), `rules` of (VM, group, apart, by domain)."""
    member, group = np.array(members, dtype=np.intp).reshape(-1, 2).T
    vm, of, apart, by_domain = np.array(rules, dtype=np.intp).reshape(-1, 4).T
    return Company(member, group, vm, of, apart.astype(bool), by_domain.astype(bool), **other)


def fleet(host, rules, n_hosts=4, **other):
    problem = a_problem(host, [[1.0]] * len(host), [[9.0]] * n_hosts, **other)
    return replace(problem, company=rules)


def both_say(problem, vm, target):
    """Whether the move is refused for a rule; planner and checker say the same."""
    codes = {str(refusal.code) for refusal in check(problem, a_plan(problem, [(vm, target)]))}
    forbidden = Packing(problem).forbidden(vm)
    refused = bool(codes & {"apart", "rule"})
    assert refused == (forbidden is not None and bool(forbidden[target]))
    return refused


def test_a_rule_to_stand_apart_binds_both_sides():
    problem = fleet([0, 1, 2], company([(1, 0)], [(0, 0, True, False)]))
    assert both_say(problem, 0, 1)
    assert both_say(problem, 1, 0), "the one that is named has no rule of its own"
    assert not both_say(problem, 2, 0)
    assert not both_say(problem, 0, 3)


def test_fault_domains():
    rules = company([(1, 0)], [(0, 0, True, True)])
    problem = with_hosts(fleet([0, 2, 3], rules), fault_domain=np.array([0, 0, 1, 1]))
    assert both_say(problem, 0, 3)
    assert not both_say(problem, 0, 1)
    assert both_say(problem, 1, 1)


def test_who_needs_company_is_not_left_alone():
    rules = company([(1, 0), (2, 0)], [(0, 0, False, False)])
    problem = fleet([0, 0, 1], rules)
    assert both_say(problem, 0, 2), "away from all"
    assert not both_say(problem, 0, 1), "to another of the group"
    assert both_say(problem, 1, 1), "the only one that it has"
    assert not both_say(with_vms(problem, host=np.array([0, 0, 0])), 1, 1)
    near = replace(problem, company=company([(1, 0)], [(0, 0, False, True)]))
    near = with_hosts(near, fault_domain=np.array([0, 1, 1, 0]))
    assert not both_say(near, 1, 3), "within the fault domain"
    assert both_say(near, 1, 1)


def test_a_broken_rule_may_be_mended_and_binds_nobody():
    rules = company([(1, 0)], [(0, 0, False, False)])
    problem = fleet([0, 1, 2], rules)
    assert not both_say(problem, 0, 1)
    assert not both_say(problem, 0, 3)
    assert not both_say(problem, 1, 3)
    apart = fleet([0, 0], company([(1, 0)], [(0, 0, True, False)]))
    assert not both_say(apart, 0, 1)


def test_who_is_to_be_alone():
    problem = fleet([0, 1, 2], company(alone=np.array([True, False, False])))
    problem = with_vms(problem, tenant=np.array([0, 1, 0]))
    assert both_say(problem, 0, 1)
    assert both_say(problem, 1, 0)
    assert not both_say(problem, 2, 0), "its own tenant's"
    assert not both_say(problem, 1, 2)


def test_hosts_that_are_closed_to_a_vm():
    barred = {0: np.array([True, True, False, False])}
    problem = fleet([0, 1], company(barred=barred))
    assert both_say(problem, 0, 1)
    assert not both_say(problem, 0, 2)
    assert not both_say(problem, 1, 0)


def test_two_that_need_each_other_do_not_part_for_a_wave():
    """Both may be on their way at once, and nobody knows who arrives first."""
    rules = company([(0, 0), (1, 0)], [(0, 0, False, False), (1, 0, False, False)])
    problem = fleet([0, 0], rules)
    together = a_plan(problem, [(0, 1), (1, 1)], wave=[0, 0])
    assert {str(refusal.code) for refusal in check(problem, together)} == {"rule"}


def test_a_host_that_is_to_be_emptied_is_though_it_does_not_pay():
    problem = fleet([0, 1], None, n_hosts=2, move=50.0)
    assert consolidate(problem).moves == ()
    drained = replace(problem, drain=np.array([True, False]))
    plan = consolidate(drained)
    assert plan.moves == (Move(0, 0, 1),)
    assert check(drained, plan) == ()
    assert {str(r.code) for r in check(drained, a_plan(drained, [(1, 0)]))} == {"closed"}
    stays = with_vms(drained, exempt=np.array([True, False]))
    assert consolidate(stays).left[0] is Why.BOUND


@pytest.mark.parametrize("n_moves", [0, 1])
def test_a_budget_holds_for_hosts_that_are_to_be_emptied_too(n_moves):
    problem = fleet([0, 0, 1], None, n_hosts=2)
    limits = replace(problem.limits, moves=n_moves)
    plan = consolidate(replace(problem, drain=np.array([True, False]), limits=limits))
    assert len(plan.moves) == n_moves
    assert plan.left[0] is Why.BUDGET
