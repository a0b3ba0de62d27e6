"""Every forecaster of the catalogue keeps the contract of `forecast/base.py`."""

from __future__ import annotations

import pickle
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from evenkeel.domain.panel import Panel
from evenkeel.forecast.auto import AutoForecaster, Learner
from evenkeel.forecast.base import (
    N_QUANTILES,
    FittedForecaster,
    Forecast,
    Forecaster,
    Targets,
)
from evenkeel.forecast.boosted import BoostedForecaster
from evenkeel.forecast.calibration import Calibration
from evenkeel.forecast.catalogue import CATALOGUE, forecaster
from evenkeel.forecast.fleet import forecast_fleet, slices
from evenkeel.forecast.kin import kin_of
from evenkeel.forecast.network.forecaster import NetworkForecaster
from evenkeel.forecast.network.settings import Training
from evenkeel.forecast.workers import Threads
from panels import fleet, panel

TARGETS = Targets(horizons=(1, 6, 12, 288), windows=(6, 12, 288))
SEED = 7
BRIEF = Training(epochs=1, rows_per_epoch=400, hidden=32)


def brief(_: object = None) -> tuple[Learner, ...]:
    """The learnt models, trained for seconds only: the contract asks for no skill."""
    return (
        NetworkForecaster(training=BRIEF),
        BoostedForecaster(rows=400, rounds=5),
        NetworkForecaster(recurrent=True, training=BRIEF),
    )


def brief_forecaster(name: str) -> Forecaster:
    if name == "auto":
        return AutoForecaster(brief, judged_rows=200)
    return next((model for model in brief() if model.name == name), None) or forecaster(name)


@pytest.fixture(scope="module", params=list(CATALOGUE))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model(name: str) -> Forecaster:
    return brief_forecaster(name)


@pytest.fixture(scope="module")
def train() -> list[Panel]:
    return [fleet(16, 4 * 288, seed=1, kinds=("web", "batch") * 8), fleet(8, 2 * 288, seed=2)]


@pytest.fixture(scope="module")
def fitted(model: Forecaster, train: list[Panel]) -> FittedForecaster:
    return model.fit(train, TARGETS, SEED)


def breaches(said: Forecast, asked: Panel, targets: Targets = TARGETS) -> list[str]:
    """In words, of what every forecast promises; none in one that keeps the contract."""
    n = asked.n_series
    kept = {
        "ids are those asked for": said.ids == asked.ids,
        "targets are those asked for": said.targets == targets,
        "the origin is the end of the history": said.origin_s == asked.end_s,
        "values: shape": said.values.shape == (n, len(targets.horizons), N_QUANTILES),
        "peaks: shape": said.peaks.shape == (n, len(targets.windows), N_QUANTILES),
    }
    for name, quantiles in (("values", said.values), ("peaks", said.peaks)):
        kept |= {
            f"{name}: float32": quantiles.dtype == np.float32,
            f"{name}: finite": bool(np.isfinite(quantiles).all()),
            f"{name}: not below 0": bool((quantiles >= 0).all()),
            f"{name}: in order": bool((np.diff(quantiles, axis=-1) >= 0).all()),
        }
    return [law for law, is_kept in kept.items() if not is_kept]


def test_every_breach_is_told():
    asked = fleet(2, 20, seed=1)
    flat = [np.ones((2, n, N_QUANTILES), np.float32) for n in (4, 3)]
    kept = Forecast(asked.ids, asked.end_s, asked.step_s, TARGETS, *flat)
    assert breaches(kept, asked) == []
    assert breaches(replace(kept, ids=("a", "b")), asked) == ["ids are those asked for"]
    assert "values: shape" in breaches(kept, asked, Targets((1,), TARGETS.windows))
    assert "peaks: shape" in breaches(kept, asked, Targets(TARGETS.horizons, (6,)))
    assert "targets are those asked for" in breaches(kept, asked, Targets((1, 2, 3, 4)))
    assert breaches(replace(kept, origin_s=0.0), asked) == ["the origin is the end of the history"]
    for name, said in zip(("values", "peaks"), flat, strict=True):
        wrong = {
            "float32": said.astype(np.float64),
            "finite": np.where(np.arange(N_QUANTILES) < 8, said, np.float32(np.inf)),
            "not below 0": -said,
            "in order": said * np.arange(N_QUANTILES, 0, -1, dtype=np.float32),
        }
        for law, what in wrong.items():
            assert breaches(replace(kept, **{name: what}), asked) == [f"{name}: {law}"]


def same(a: Forecast, b: Forecast) -> bool:
    return a.values.tobytes() == b.values.tobytes() and a.peaks.tobytes() == b.peaks.tobytes()


def test_it_has_the_name_it_is_found_by(name, model, fitted):
    assert model.name == fitted.name == name


def test_shapes_and_order(fitted):
    asked = fleet(5, 2 * 288, seed=3)
    assert breaches(fitted.predict(asked, TARGETS), asked) == []


def test_the_future_does_not_move_the_forecast(fitted):
    """The array goes on behind the panel; what lies there must not matter."""
    whole = fleet(5, 3 * 288, seed=4)
    before = fitted.predict(whole.until(400), TARGETS)
    whole.values[:, 400:] = 1e6 * np.random.default_rng(0).random(whole.values[:, 400:].shape)
    assert same(before, fitted.predict(whole.until(400), TARGETS))


def test_the_same_question_has_the_same_answer(fitted):
    asked = fleet(5, 2 * 288, seed=5)
    assert same(fitted.predict(asked, TARGETS), fitted.predict(asked, TARGETS))


def test_the_question_is_not_written_on(fitted):
    asked = fleet(4, 300, seed=5)
    before = asked.values.copy()
    fitted.predict(asked, TARGETS)
    np.testing.assert_array_equal(asked.values, before)


def test_the_same_seed_learns_the_same(model, train, fitted):
    asked = fleet(5, 2 * 288, seed=6)
    again = model.fit(train, TARGETS, SEED)
    assert same(fitted.predict(asked, TARGETS), again.predict(asked, TARGETS))


def test_saved_and_loaded_it_forecasts_the_same_bytes(model, fitted):
    asked = fleet(5, 2 * 288, seed=8)
    loaded = model.load(fitted.save())
    assert loaded.name == fitted.name
    assert same(fitted.predict(asked, TARGETS), loaded.predict(asked, TARGETS))


def test_sent_elsewhere_it_forecasts_the_same_bytes(fitted):
    asked = fleet(5, 2 * 288, seed=8)
    sent = pickle.loads(pickle.dumps(fitted))
    assert same(fitted.predict(asked, TARGETS), sent.predict(asked, TARGETS))
    assert sent.save() == fitted.save()


@pytest.mark.parametrize("n_slots", [1, 2, 5, 11, 12, 13, 100, 288, 300, 577])
def test_any_length_of_history(fitted, n_slots):
    asked = fleet(4, n_slots, seed=9)
    assert breaches(fitted.predict(asked, TARGETS), asked) == []


def odd_series() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    t = 400
    usual = rng.gamma(2, 0.1, t)
    holes = usual.copy()
    holes[rng.random(t) < 0.3] = np.nan
    hole_now = usual.copy()
    hole_now[-200:] = np.nan
    one = np.full(t, np.nan)
    one[-1] = 0.4
    one_long_ago = np.full(t, np.nan)
    one_long_ago[3] = 0.4
    return {
        "all unknown": np.full(t, np.nan),
        "one sample": one,
        "one sample long ago": one_long_ago,
        "zero": np.zeros(t),
        "constant": np.full(t, 0.37),
        "holes": holes,
        "a hole now": hole_now,
        "a step": np.where(np.arange(t) < 200, 0.1, 0.9),
        "above the capacity": usual + 3.0,
        "huge": usual * 1e9,
        "tiny": usual * 1e-9,
    }


@pytest.mark.parametrize("what", list(odd_series()))
def test_odd_series(fitted, what):
    asked = panel(odd_series()[what])
    assert breaches(fitted.predict(asked, TARGETS), asked) == []


def test_odd_series_beside_usual_ones(fitted):
    asked = panel(np.stack(list(odd_series().values())))
    assert breaches(fitted.predict(asked, TARGETS), asked) == []


def test_a_vm_that_is_always_zero_is_not_expected_to_want_much(fitted):
    said = fitted.predict(panel(np.zeros((3, 400))), TARGETS)
    assert (said.values[:, :3, 3] <= 0.05).all(), "the median of the next hour"


def test_unknown_kinds_and_capacity(fitted):
    asked = replace(
        fleet(4, 300, seed=10),
        kinds=("never seen", "", "web", "another"),
        capacity=np.full(4, np.nan),
    )
    assert breaches(fitted.predict(asked, TARGETS), asked) == []


def test_censored_samples(fitted):
    asked = fleet(4, 300, seed=11)
    asked = replace(asked, censored=np.random.default_rng(0).random((4, 300)) < 0.1)
    assert breaches(fitted.predict(asked, TARGETS), asked) == []


def test_no_windows(fitted):
    targets = Targets(horizons=(1, 6, 12, 288))
    asked = fleet(4, 300, seed=12)
    assert breaches(fitted.predict(asked, targets), asked, targets) == []


def test_nobody_to_forecast(fitted):
    asked = fleet(4, 300, seed=13).only(np.array([], dtype=np.intp))
    assert breaches(fitted.predict(asked, TARGETS), asked) == []


def test_no_history_at_all(fitted):
    asked = panel(np.empty((3, 0)))
    assert breaches(fitted.predict(asked, TARGETS), asked) == []


def test_a_fleet_in_pieces_is_told_the_same(fitted, monkeypatch):
    kinds = ("web", "batch", "") * 4
    whole = fleet(12, 2 * 288, seed=12, kinds=kinds, capacity=np.linspace(1, 8, 12))
    whole.values[10:, :-2] = np.nan  # these are new
    kin = kin_of(whole.only(rows) for rows in (np.arange(7), np.arange(7, 12)))
    monkeypatch.setattr("evenkeel.forecast.fleet.PIECE", 5)
    raw, calibrated = forecast_fleet(
        fitted,
        (partial(replace, whole.only(np.arange(12)[some]), kin=kin) for some in slices(12)),
        TARGETS,
        Threads(2),
        Calibration.none(TARGETS),
    )
    said = fitted.predict(whole, TARGETS)
    assert breaches(raw, whole) == []
    for ours in (raw, calibrated):
        np.testing.assert_allclose(ours.values, said.values, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(ours.peaks, said.peaks, rtol=1e-5, atol=1e-5)
