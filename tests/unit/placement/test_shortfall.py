"""Shortfall odds against simulated totals, and the sums they are made from."""

import numpy as np
import pytest
from scipy.special import gammaincinv, ndtr

from evenkeel.placement.shortfall import Totals, needed, shortfall_odds


@pytest.mark.parametrize("correlation", [0.0, 0.3])
def test_quantiles_of_correlated_skewed_demand_hold(correlation):
    """Thirty VMs whose demand is gamma, moved together by a common cause."""
    rng = np.random.default_rng(1)
    n, shape = 30, 1.5
    common, own = rng.standard_normal((60_000, 1)), rng.standard_normal((60_000, n))
    normal = np.sqrt(correlation) * common + np.sqrt(1 - correlation) * own
    each = gammaincinv(shape, ndtr(normal))
    total = each.sum(axis=1)
    correlation = (total.var() - each.var(axis=0).sum()) / (n * (n - 1) * shape)
    vms = Totals.of(np.full(n, shape), np.full(n, shape**0.5))
    totals = Totals(vms.mean.sum(), vms.variance.sum(), vms.deviation.sum())
    for level in (0.9, 0.99):
        said = needed(totals, correlation, 1 - level)
        assert (total > said).mean() == pytest.approx(1 - level, rel=0.25)
        assert shortfall_odds(totals, said, correlation) == pytest.approx(1 - level)


def test_correlation_of_one_is_the_sum_of_peaks():
    vm = Totals.of(np.array([2.0]), np.array([0.5]))
    assert needed(vm + vm, 1.0, 0.05) == pytest.approx(2 * needed(vm, 1.0, 0.05))
    assert (needed(vm + vm, 0.0, 0.05) < 2 * needed(vm, 0.0, 0.05)).all()


def test_who_comes_and_goes_leaves_nothing_behind():
    host = Totals.of(np.array([2.0, 0.0]), np.array([0.5, 0.0]))
    vm = Totals.of(np.array([1.0, 0.5]), np.array([0.3, 0.1]))
    left = host + vm - vm
    np.testing.assert_allclose(needed(left, 0.2, 0.01), needed(host, 0.2, 0.01))
    assert needed(left, 0.2, 0.01)[1] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("epsilon", [0.3, 0.05, 0.001])
def test_a_larger_spread_never_needs_less(epsilon):
    """Also where a deviation is many times the mean, and the formula by itself turns down."""
    need = needed(Totals.of(np.ones(60), np.geomspace(0.01, 100, 60)), 0.2, epsilon)
    assert (np.diff(need) >= 0).all()
    assert (need >= 1).all()


def test_nothing_wanted_is_never_short_and_the_certain_is_short_when_it_is_too_much():
    none = Totals.of(np.zeros(1), np.zeros(1))
    sure = Totals.of(np.full(2, 3.0), np.zeros(2))
    assert shortfall_odds(none, 0.0, 0.2) == 0.0
    assert shortfall_odds(sure, np.array([2.9, 3.1]), 0.2).tolist() == [1.0, 0.0]
