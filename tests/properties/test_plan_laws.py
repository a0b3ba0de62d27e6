"""Laws of plans, on random fleets: the checker passes them all, and no plan beats the floor."""

from dataclasses import replace
from itertools import product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from plans_made import at_random

from evenkeel.placement.best import propose
from evenkeel.placement.bound import bound
from evenkeel.placement.check import check
from evenkeel.placement.consolidate import consolidate, rebalance, replan
from evenkeel.placement.exact import best_packing
from evenkeel.placement.packing import Packing
from evenkeel.placement.plan import outlook
from evenkeel.placement.planned import planned
from evenkeel.placement.towards import move_towards

seeds = st.integers(0, 2**32 - 1)


@settings(deadline=None, max_examples=60)
@given(seeds, st.integers(1, 8), st.integers(0, 30))
def test_every_plan_passes_the_check(seed, n_hosts, n_vms):
    problem = at_random(np.random.default_rng(seed), n_hosts, n_vms)
    for planner in (rebalance, consolidate, replan):
        plan = planner(problem)
        assert check(problem, plan) == ()
        # Nobody is put at risk who was not before.
        assert plan.after.n_at_risk <= plan.before.n_at_risk
        if planner is consolidate:
            assert not plan.moves or plan.saved(problem.limits.payback_h) > -1e-9
        again = planner(problem)
        assert again.moves == plan.moves


@settings(deadline=None, max_examples=40)
@given(seeds, st.integers(1, 3), st.integers(1, 6))
def test_no_packing_is_below_the_floor(seed, n_hosts, n_vms):
    """All packings of a small fleet are tried."""
    problem = at_random(np.random.default_rng(seed), n_hosts, n_vms, rules=False)
    floor = bound(problem)
    cheapest, fewest = np.inf, np.inf
    for at in product(range(n_hosts), repeat=n_vms):
        host = np.array(at)
        seen = outlook(problem, host)
        if seen.n_at_risk == 0:
            cheapest, fewest = min(cheapest, seen.cost_per_h), min(fewest, seen.n_in_use)
    assert floor.cost_per_h <= cheapest * (1 + 1e-9)
    assert floor.n_hosts <= fewest
    plan = consolidate(replace(problem, limits=replace(problem.limits, payback_h=1e6)))
    assert floor.cost_per_h <= plan.after.cost_per_h * (1 + 1e-9)


@settings(deadline=None, max_examples=25)
@given(seeds, st.integers(1, 3), st.integers(1, 5))
def test_the_exact_one_is_the_best_of_all(seed, n_hosts, n_vms):
    """All packings of a small fleet are tried; whoever stays on a host at risk may."""
    problem = at_random(np.random.default_rng(seed), n_hosts, n_vms, rules=False)
    packing, hours = Packing(problem), problem.limits.payback_h
    was = problem.fleet.vms.host

    def price(host):
        return outlook(problem, host).cost_per_h * hours + problem.costs.move[host != was].sum()

    def may_be(host):
        return all(
            packing.fits_together(np.flatnonzero(host == h), h)
            for h in np.unique(host).tolist()
            if ((host == h) & (was != h)).any()
        )

    every = (np.array(at) for at in product(range(n_hosts), repeat=n_vms))
    best = min(price(host) for host in every if may_be(host))
    found = best_packing(problem)
    assert found is not None
    assert may_be(found)
    assert price(found) <= best * (1 + 1e-6)


@settings(deadline=None, max_examples=60)
@given(seeds, st.integers(1, 6), st.integers(0, 20))
def test_moves_towards_a_goal_can_be_done_and_get_there_where_there_is_room(seed, n_hosts, n_vms):
    rng = np.random.default_rng(seed)
    problem = at_random(rng, n_hosts, n_vms)
    problem = replace(problem, limits=replace(problem.limits, moves=1000, inflow=1000))
    packing = Packing(problem)
    goal = rng.integers(0, n_hosts, n_vms)
    stays = move_towards(packing, goal)
    assert check(problem, planned(packing, {})) == ()
    went = np.setdiff1d(np.flatnonzero(packing.movable), stays)
    assert (packing.host[went] == goal[went]).all()


def test_local_search_comes_near_the_best():
    """Nine VMs on four hosts: what a plan costs over its payback time, against the optimum."""
    above, proven = [], 0
    for seed in range(20):
        problem = at_random(np.random.default_rng(seed), 4, 9, rules=False)
        best = best_packing(problem)
        if best is None:
            continue
        hours, was = problem.limits.payback_h, problem.fleet.vms.host
        least = outlook(problem, best).cost_per_h * hours + problem.costs.move[best != was].sum()
        plan = consolidate(problem)
        above.append((plan.after.cost_per_h * hours + plan.move_cost) / least - 1.0)
        from_best = propose(problem).from_best
        assert from_best is not None
        assert from_best <= above[-1] + 1e-9
        proven += from_best < 1e-3
    assert len(above) >= 15
    assert min(above) > -1e-3
    assert np.mean(above) < 0.04
    assert proven >= 0.9 * len(above)
