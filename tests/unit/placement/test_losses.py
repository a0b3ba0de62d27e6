"""Work lost to contention: one formula for plans and for placement, and a slope that follows it."""

from dataclasses import replace

import numpy as np
import pytest
from plans_made import a_problem

from evenkeel.placement import kernels
from evenkeel.placement.consolidate import consolidate
from evenkeel.placement.explain_plan import explain
from evenkeel.placement.fleet import Chance
from evenkeel.placement.losses import Losses
from evenkeel.placement.packing import Packing
from evenkeel.placement.shortfall import Totals, expected_lost


@pytest.mark.parametrize(("mean", "variance", "room"), [(3, 1, 4), (5, 2, 4), (1, 0, 4), (5, 0, 4)])
def test_plans_and_placement_expect_the_same(mean, variance, room):
    totals = Totals(*(np.array([float(x)]) for x in (mean, variance, 0.0)))
    ours = expected_lost(totals, np.array([float(room)]), 0.0)[0]
    assert ours == pytest.approx(kernels.expected_lost(float(mean), float(variance), float(room)))


def test_nobody_knows_what_is_lost_of_what_nobody_knows():
    problem = a_problem([0, 0], [[1.0, 9.0], [3.0, 9.0]], [[3.0, np.inf], [3.0, 0.0]])
    packing = Packing(problem)
    assert packing.lost().tolist() == pytest.approx([1.0 / 3.0, 0.0])


def test_the_slope_tells_which_host_would_lose_more_and_about_how_much():
    rng = np.random.default_rng(1)
    n_vms = 300
    mean = rng.gamma(2.0, 0.2, (n_vms, 2))
    problem = a_problem(
        rng.integers(0, 10, n_vms), mean, np.full((10, 2), 16.0), deviation=0.6 * mean
    )
    packing, losses = Packing(problem), Losses(problem)
    vms, hosts = np.arange(20), np.arange(10)
    there = packing.totals[hosts]
    exact = losses.of(there[None] + packing.each[vms][:, None], hosts) - losses.of(there, hosts)
    about = losses.more(packing.each[vms], there, hosts)
    assert (about.argmin(axis=1) == exact.argmin(axis=1)).mean() > 0.9
    assert np.corrcoef(about.ravel(), exact.ravel())[0, 1] > 0.95


def test_a_plan_tells_contention_before_and_after():
    problem = a_problem([0, 1], [[1.0], [1.0]], [[3.2], [3.2]], deviation=[[0.5], [0.5]])
    problem = replace(problem, chance=Chance(0.1, np.zeros(1)))
    told = explain(problem, consolidate(problem))
    assert "hosts in use 2 -> 1" in told
    assert "0.00 % of a host's work is expected to be lost to contention before, and" in told
    assert "after: more" in told
