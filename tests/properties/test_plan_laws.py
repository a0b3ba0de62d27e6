"""Laws of plans, on random fleets: the checker passes them all, and no plan beats the floor."""

from dataclasses import replace
from itertools import product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from plans_made import at_random

from evenkeel.placement.bound import bound
from evenkeel.placement.check import check
from evenkeel.placement.consolidate import consolidate, rebalance, replan
from evenkeel.placement.plan import outlook

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
