"""Windowed statistics of many series at once, against the slow and plain way."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from evenkeel.forecast.windows import lagged, mean_known, rolling_max, std_known

VALUES = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(1, 30)),
    elements=st.one_of(st.just(np.float32(np.nan)), st.floats(0, 1000, width=32)),
)


@given(VALUES, st.integers(1, 12))
def test_rolling_max_is_the_largest_of_the_last_slots(values, width):
    found = rolling_max(values, width)
    for t in range(values.shape[1]):
        if t < width - 1:
            assert np.isnan(found[:, t]).all()
            continue
        window = values[:, t - width + 1 : t + 1]
        for row, got in zip(window, found[:, t], strict=True):
            known = row[~np.isnan(row)]
            assert got == known.max() if len(known) else np.isnan(got)


@given(VALUES)
def test_moments_leave_out_what_is_not_known(values):
    for row, mean, std in zip(values, mean_known(values), std_known(values), strict=True):
        known = row[~np.isnan(row)].astype(np.float64)
        if len(known):
            assert mean == pytest.approx(known.mean(), rel=1e-4, abs=1e-3)
            assert std == pytest.approx(known.std(), rel=1e-2, abs=0.05)
        else:
            assert np.isnan(mean)
            assert np.isnan(std)


def test_lags_before_the_beginning_are_not_known():
    values = np.array([[1, 2, 3]], dtype=np.float32)
    assert lagged(values, np.array([1, 3])).tolist() == [[3, 1]]
    assert np.isnan(lagged(values, np.array([4]))).all()
    assert lagged(np.empty((2, 0), dtype=np.float32), np.array([1])).shape == (2, 1)
