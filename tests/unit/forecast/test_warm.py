"""The warm history gives back what it was given."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from evenkeel.forecast.warm import WarmHistory


@given(
    st.lists(
        st.lists(st.one_of(st.just(float("nan")), st.floats(0, 1e6)), min_size=3, max_size=3),
        min_size=1,
        max_size=25,
    )
)
def test_the_newest_slots_come_back_in_order(slots):
    warm = WarmHistory(3, n_slots=10)
    for slot in slots:
        warm.append(np.array(slot))
    wanted = np.full((10, 3), np.nan)
    wanted[-len(slots[-10:]) :] = slots[-10:]
    got = warm.values(slice(0, 3)).T
    top = np.nanmax(np.array([*slots, [0.0] * 3]), axis=0)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(wanted))
    # each time a series outgrows its scale its past is rounded once more
    assert (np.abs(np.nan_to_num(got - wanted)) <= top * 1e-3 + 1e-9).all()


def test_filling_and_appending_agree():
    values = np.random.default_rng(0).gamma(2, 3, (5, 12)).astype(np.float32)
    filled, appended = WarmHistory(5, 12), WarmHistory(5, 12)
    filled.fill(slice(0, 5), values)
    for slot in values.T:
        appended.append(slot)
    np.testing.assert_allclose(filled.values(slice(0, 5)), values, atol=values.max() * 2e-5)
    np.testing.assert_allclose(appended.values(slice(0, 5)), values, atol=values.max() * 2e-4)


def test_negative_demand_is_not_known():
    warm = WarmHistory(1, 2)
    warm.append(np.array([-1.0]))
    assert np.isnan(warm.values(slice(0, 1))).all()
