"""The warm history gives back what it was given."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenkeel.forecast.warm import LARGEST, UNIT, WarmHistory

N, WIDTH = 3, 10
N_CODES = 2**16
ALL = np.arange(N)


@given(
    st.integers(0, 10**9),
    st.lists(
        st.tuples(
            st.integers(1, WIDTH),
            st.lists(st.floats(0, 1e7, width=32), min_size=N * WIDTH, max_size=N * WIDTH),
        ),
        min_size=1,
        max_size=8,
    ),
)
def test_the_newest_slots_come_back_in_order(first, pieces):
    warm = WarmHistory(WIDTH)
    warm.reserve(N)
    wanted = np.full((N, WIDTH), np.nan, np.float32)
    held = np.zeros(wanted.shape, bool)
    for width, numbers in pieces:
        values = np.array(numbers, np.float32).reshape(N, WIDTH)[:, :width]
        values[values == 7] = np.nan
        marks = values % 2 >= 1
        warm.write(ALL, first, values, marks)
        wanted = np.concatenate([wanted, values], axis=1)[:, -WIDTH:]
        held = np.concatenate([held, marks], axis=1)[:, -WIDTH:]
        first += width
    got, marked = warm.read(ALL, first - WIDTH, WIDTH)
    np.testing.assert_allclose(got, wanted, rtol=2**-11, atol=1e-5)
    np.testing.assert_array_equal(marked, held)


def test_a_slot_that_is_cleared_is_not_known_and_others_stay():
    warm = WarmHistory(4)
    warm.reserve(2)
    warm.write(np.array([1, 0]), 5, np.arange(8, dtype=np.float32).reshape(2, 4))
    warm.clear(7, 2)
    got, _ = warm.read(np.array([0, 1]), 5, 4)
    np.testing.assert_array_equal(got, [[4, 5, np.nan, np.nan], [0, 1, np.nan, np.nan]])
    warm.reserve(5)
    got, _ = warm.read(np.array([0, 4]), 5, 2)
    np.testing.assert_array_equal(got, [[4, 5], [np.nan, np.nan]])


def test_odd_values():
    warm = WarmHistory(6)
    warm.reserve(1)
    warm.write(np.array([0]), 0, np.array([[-1, -0.0, np.inf, 1e9, 2048, 1 / 3]], np.float32))
    got, held = warm.read(np.array([0]), 0, 6)
    np.testing.assert_allclose(got[0], [np.nan, 0, LARGEST, LARGEST, 2048, 1 / 3], rtol=2**-11)
    assert not np.signbit(got[0, 1])
    assert not held.any()


def test_no_more_slots_than_there_are():
    with pytest.raises(ValueError, match="5 slots in a history of 4"):
        WarmHistory(4).clear(0, 5)


@pytest.mark.parametrize("first", [0, 1, 40_000, N_CODES - 1])
def test_every_code_is_read_as_the_half_it_is(first):
    history = WarmHistory(N_CODES)
    history.reserve(1)
    history._codes[0] = np.arange(N_CODES, dtype=np.uint16)
    halves = (np.arange(N_CODES, dtype=np.uint16) & 0x7FFF).view(np.float16)
    expected = np.where(np.isfinite(halves), halves, np.nan).astype(np.float32) * UNIT

    values, censored = history.read(np.array([0]), first, N_CODES)
    np.testing.assert_array_equal(values[0], np.roll(expected, -first))
    np.testing.assert_array_equal(censored[0], np.roll(np.arange(N_CODES) >= 0x8000, -first))
