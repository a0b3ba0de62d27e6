"""Mean and deviation of what quantiles state."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evenkeel.domain.quantiles import QUANTILES, exceedance, moments
from evenkeel.placement.shortfall import Totals, needed

KINDS = {
    "normal": lambda rng, n: np.maximum(rng.normal(4.0, 1.0, n), 0.0),
    "gamma": lambda rng, n: rng.gamma(4.0, 0.5, n),
    "long tail": lambda rng, n: rng.lognormal(0.0, 1.0, n),
    "mostly nothing": lambda rng, n: rng.gamma(0.5, 2.0, n),
}


@pytest.mark.parametrize("kind", KINDS)
def test_moments_are_those_of_the_distribution(kind):
    demand = KINDS[kind](np.random.default_rng(1), 400_000)
    mean, deviation = moments(np.quantile(demand, QUANTILES))
    assert mean == pytest.approx(demand.mean(), rel=0.06)
    assert deviation == pytest.approx(demand.std(), rel=0.06)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_vms", [1, 4, 16])
def test_hosts_that_hold_what_is_needed_run_short_about_as_often_as_is_accepted(kind, n_vms):
    rng = np.random.default_rng(2)
    mean, deviation = moments(np.quantile(KINDS[kind](rng, 200_000), QUANTILES))
    total = Totals(*(np.array([n_vms * x]) for x in (mean, deviation**2, deviation)))
    room = needed(total, np.zeros(1), 0.01)[0]
    short = (KINDS[kind](rng, (100_000, n_vms)).sum(axis=1) > room).mean()
    assert 0.002 < short < 0.018


def test_what_has_no_spread_has_none_and_what_is_not_known_stays_so():
    assert moments(np.full(9, 2.0)) == (2.0, 0.0)
    assert np.isnan(moments(np.full(9, np.nan))).all()


@settings(max_examples=60)
@given(st.lists(st.floats(0, 50, width=32), min_size=9, max_size=9), st.floats(0.5, 100))
def test_no_more_than_may_be_counts(values, most):
    quantiles = np.sort(np.array(values, dtype=np.float32))
    mean, deviation = moments(quantiles, most)
    free_mean, free_deviation = moments(quantiles)
    assert 0 <= mean <= min(most, free_mean) * (1 + 1e-6) + 1e-9
    assert deviation <= min(most, free_deviation) * (1 + 1e-6) + 1e-5


def test_the_tail_is_the_one_that_odds_are_told_by():
    """E[X] is the integral of P(X > x), to what straight lines differ from the cubic."""
    quantiles = np.quantile(np.random.default_rng(3).gamma(4.0, 0.5, 100_000), QUANTILES)
    x = np.linspace(0, 60, 60_001)
    odds = exceedance(np.broadcast_to(quantiles.astype(np.float32), (len(x), 9)), x)
    assert moments(quantiles)[0] == pytest.approx(np.trapezoid(odds, x), rel=0.03)
