"""Laws of short forecasts: sound, blind to the future, the same for whatever order of VMs."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tests.short_data import random_weights

from evenkeel.forecast.short import (
    BUILT_IN,
    HORIZONS,
    N_TICKS,
    ShortWindow,
    Weights,
    forecast_ticks,
)

demand = st.floats(0, 1e5, width=32) | st.just(float("nan")) | st.just(2.0)
series = arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 80)), elements=demand)
ticks = arrays(np.float64, st.tuples(st.integers(1, 70), st.just(3), st.just(2)), elements=demand)


some_weights = st.just(BUILT_IN) | st.integers(0, 99).map(random_weights)


@given(series, some_weights)
def test_they_are_sound(values, weights):
    told = forecast_ticks(values, (weights,))
    assert told.shape == (len(values), len(HORIZONS), 9)
    known = ~np.isnan(values).all(axis=1)
    assert np.isnan(told[~known]).all()
    assert np.isfinite(told[known]).all()
    assert (told[known] >= 0).all()
    assert (np.diff(told[known], axis=-1) >= 0).all()


@given(series, some_weights, st.randoms(use_true_random=False))
def test_vms_that_change_places_take_their_forecasts_along(values, weights, random):
    order = list(range(len(values)))
    random.shuffle(order)
    told = forecast_ticks(values, (weights,))
    np.testing.assert_array_equal(forecast_ticks(values[order], (weights,)), told[order])


@given(series, st.integers(0, 99))
def test_loaded_weights_forecast_the_same_bytes(values, seed):
    weights = random_weights(seed)
    told = forecast_ticks(values, (Weights.load(weights.save()),))
    np.testing.assert_array_equal(told, forecast_ticks(values, (weights,)))


@settings(max_examples=30)
@given(ticks, st.data())
def test_a_window_forecasts_from_what_it_has_seen_and_no_more(seen, data):
    """After any tick it says what the latest `N_TICKS` alone say, whatever comes later."""
    at = data.draw(st.integers(1, len(seen)))
    ids = ("a", "b", "c")
    window = ShortWindow(2)
    for tick in seen[:at]:
        window.observe(ids, tick)
    then = window.forecast()
    padded = np.full((3, 2, N_TICKS), np.nan, np.float32)
    latest = seen[max(0, at - N_TICKS) : at]
    padded[:, :, N_TICKS - len(latest) :] = latest.transpose(1, 2, 0)
    alone = forecast_ticks(padded.reshape(6, N_TICKS)).reshape(then.shape)
    np.testing.assert_array_equal(then, alone)
    for tick in seen[at:]:
        window.observe(ids, tick)
    np.testing.assert_array_equal(then, alone)
