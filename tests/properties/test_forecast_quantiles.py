"""Laws of tidy quantiles, of odds read from them, and of the quantiles of series with holes."""

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from evenkeel.domain.quantiles import row_quantiles
from evenkeel.forecast.base import N_QUANTILES, QUANTILES, exceedance, tidy
from evenkeel.forecast.statistical.empirical import window_peaks
from evenkeel.forecast.windows import last_known

any_floats = st.floats(-1e6, 1e6, width=32) | st.just(float("nan"))
raw = arrays(np.float32, st.tuples(st.integers(0, 4), st.just(N_QUANTILES)), elements=any_floats)
demand = st.floats(0, 1e4, width=32)
rows = arrays(np.float32, st.tuples(st.integers(1, 5), st.just(N_QUANTILES)), elements=demand)
histories = arrays(
    np.float32,
    array_shapes(min_dims=2, max_dims=2, max_side=12),
    elements=demand | st.just(float("nan")),
)


@given(raw)
def test_tidy_keeps_the_contract_and_leaves_tidy_ones_alone(quantities):
    clean = tidy(quantities)
    assert np.isfinite(clean).all()
    assert (clean >= 0).all()
    assert (np.diff(clean, axis=-1) >= 0).all()
    np.testing.assert_array_equal(tidy(clean), clean)


@given(rows, st.lists(st.floats(-10, 1e5), min_size=2, max_size=2))
def test_odds_are_odds_and_fall_with_the_threshold(quantities, thresholds):
    q = tidy(quantities)
    low, high = sorted(thresholds)
    at_low, at_high = exceedance(q, np.float64(low)), exceedance(q, np.float64(high))
    assert ((at_low >= 0) & (at_low <= 1)).all()
    assert (at_high <= at_low + 1e-9).all()
    assert (exceedance(q, np.float64(-1)) == 1).all()


@given(rows)
def test_odds_at_a_quantile_are_its_level(quantities):
    """Exactly, where the quantile is not repeated; at most, where it is."""
    q = np.cumsum(tidy(quantities) + np.float32(1), axis=-1)
    for j, level in enumerate(QUANTILES):
        np.testing.assert_allclose(exceedance(q, q[:, j].astype(float)), 1 - level, atol=1e-6)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 1.5])
def test_odds_of_skewed_demand_are_right_between_its_quantiles(sigma):
    known = NormalDist()
    q = np.exp(sigma * np.array([[known.inv_cdf(level) for level in QUANTILES]])).astype(np.float32)
    for odds in np.linspace(0.02, 0.95, 60):
        x = np.exp(sigma * known.inv_cdf(1 - odds))
        assert abs(exceedance(q, np.float64(x))[0] - odds) < 0.011


@given(histories)
def test_quantiles_are_those_of_the_known_values(x):
    found = row_quantiles(x)
    for row, said in zip(x, found, strict=True):
        known = row[np.isfinite(row)]
        if len(known):
            wanted = np.quantile(known.astype(np.float64), QUANTILES)
            np.testing.assert_allclose(said, wanted, rtol=1e-4, atol=1e-4)
        else:
            assert np.isnan(said).all()


@given(histories, st.integers(1, 14))
def test_window_peaks_are_the_highest_known_values(x, width):
    found = window_peaks(x, width)
    assert found.shape == (len(x), max(0, x.shape[1] - width + 1))
    for i, t in np.ndindex(found.shape):
        window = x[i, t : t + width]
        known = window[np.isfinite(window)]
        if len(known) >= max(1, width / 2):
            assert found[i, t] == known.max()
        else:
            assert np.isnan(found[i, t])


@given(histories)
def test_last_known(x):
    for row, last in zip(x, last_known(x), strict=True):
        known = row[np.isfinite(row)]
        assert last == known[-1] if len(known) else np.isnan(last)
