"""What the baselines say, on series small enough to see it."""

from __future__ import annotations

import numpy as np
import pytest

from evenkeel.domain.errors import ConfigInvalid
from evenkeel.forecast.base import LEVELS, QUANTILES, Targets
from evenkeel.forecast.catalogue import CATALOGUE, forecaster
from evenkeel.forecast.statistical.baseline import Baseline
from panels import panel

MEDIAN = QUANTILES.index(0.5)
NEXT = Targets(horizons=(1, 12), windows=(3,))


def said(name, values, targets=NEXT, **more):
    asked = panel(values, **more)
    return forecaster(name).fit([], targets, 0).predict(asked, targets)


def test_last_value_is_the_last_that_is_known():
    found = said("last-value", [[0.1, 0.7, np.nan]])
    assert (found.values == np.float32(0.7)).all()
    assert (found.peaks == np.float32(0.7)).all()


def test_trailing_window_forgets():
    values = np.concatenate([np.full(100, 0.9), np.linspace(0.1, 0.2, 12)])
    found = said("trailing-1h", values)
    np.testing.assert_allclose(found.values[0, 0], np.quantile(values[-12:], LEVELS), rtol=1e-5)
    np.testing.assert_array_equal(found.values[0, 0], found.values[0, 1])


def test_trailing_peaks_are_higher_than_slots():
    values = np.tile([0.1, 0.1, 0.5, 0.1], 72)
    found = said("trailing-12h", values)
    assert found.values[0, 0, MEDIAN] == pytest.approx(0.1)
    assert found.peaks[0, 0, MEDIAN] == pytest.approx(0.5)


def test_a_window_without_a_sample_takes_all_history():
    values = np.concatenate([np.full(50, 0.4), np.full(30, np.nan)])
    np.testing.assert_allclose(said("trailing-1h", values).values, 0.4, rtol=1e-6)


def test_differences_follow_a_ramp():
    values = 0.01 * np.arange(200)
    found = said("last-diff", values, targets=Targets((1, 12), (3,)))
    np.testing.assert_allclose(found.values[0, 0], 2.0, atol=1e-4)
    np.testing.assert_allclose(found.values[0, 1], 2.11, atol=1e-4)
    np.testing.assert_allclose(found.peaks[0, 0], 2.02, atol=1e-4)


def test_seasonal_naive_remembers_yesterday():
    day = np.zeros(288)
    day[5] = 0.8
    values = np.concatenate([day, day, day[:3]])
    found = said("seasonal-naive", values, targets=Targets((1, 3, 288), (2, 3)))
    assert found.values[0, :, MEDIAN].tolist() == pytest.approx([0.0, 0.8, 0.0])
    assert found.peaks[0, :, MEDIAN].tolist() == pytest.approx([0.0, 0.8])


def test_seasonal_naive_without_a_day_is_the_trailing_day():
    values = np.random.default_rng(0).random((3, 200))
    np.testing.assert_array_equal(
        said("seasonal-naive", values).values, said("trailing-1d", values).values
    )


@pytest.mark.parametrize("name", list(CATALOGUE))
def test_of_nothing_known_anything_up_to_the_capacity(name):
    if not CATALOGUE[name].is_baseline:
        pytest.skip("a model of ours may know better")
    values = np.full((2, 300), np.nan)
    found = said(name, values, capacity=np.array([4.0, np.nan]))
    np.testing.assert_allclose(found.values[0, 0], 4 * LEVELS, rtol=1e-6)
    assert (found.values[1] == 0).all()


def test_a_blob_of_another_model_is_refused():
    one, other = forecaster("last-value"), forecaster("last-diff")
    assert isinstance(one, Baseline)
    with pytest.raises(ValueError, match="cannot load"):
        one.load(other.fit([], NEXT, 0).save())


def test_an_unknown_name_tells_the_known_ones():
    with pytest.raises(ConfigInvalid) as refused:
        forecaster("crystal-ball")
    assert "trailing-12h" in refused.value.hint
