"""Small things done to arrays, against NumPy's own and slower ones."""

from __future__ import annotations

import warnings

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from evenkeel.domain.arrays import median_known


@given(
    arrays(
        np.float64,
        st.tuples(st.integers(1, 9), st.integers(0, 4)),
        elements=st.one_of(st.just(np.nan), st.floats(-1e6, 1e6)),
    )
)
def test_the_median_of_what_is_known_is_numpys(values):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of columns in which nothing is known
        expected = np.nanmedian(values, axis=0)
    np.testing.assert_array_equal(median_known(values), expected)
