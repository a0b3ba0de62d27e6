"""Short forecasts: the window, the weights as bytes, and what learning them is worth."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from tests.short_data import random_weights

from evenkeel.domain.errors import ModelCorrupt
from evenkeel.domain.panel import Panel
from evenkeel.forecast.base import Targets
from evenkeel.forecast.contest import score
from evenkeel.forecast.drift import decide_promotion
from evenkeel.forecast.short import (
    BUILT_IN,
    HORIZONS,
    N_KINDS,
    NEW,
    STILL,
    ShortWindow,
    Weights,
    describe,
    forecast_ticks,
)
from evenkeel.forecast.short_fit import TARGETS, FittedShort, ShortForecaster, built_in
from evenkeel.sim.ticks import TICK_S, tick_panel


def test_short_forecasts_are_sound_and_follow_the_last_tick() -> None:
    values = np.random.default_rng(1).gamma(2, 1, (5, 60)).astype(np.float32)
    values[0] = np.nan
    values[1, 1:] = np.nan
    values[2] = 3.0
    values[3, -1] = 50.0
    told = forecast_ticks(values)
    assert told.shape == (5, len(HORIZONS), 9)
    assert np.isnan(told[0]).all()
    assert (told[2] == 3.0).all()
    np.testing.assert_allclose(told[1], values[1, 0], rtol=1e-6)
    assert told[3, 0, 3] > 40 > told[3, -1, 3]
    assert (np.diff(told[1:], axis=-1) >= 0).all()
    assert (told[1:] >= 0).all()
    assert forecast_ticks(np.empty((0, 3), np.float32)).shape == (0, len(HORIZONS), 9)


def test_a_window_follows_vms_that_come_go_and_change_places() -> None:
    window = ShortWindow(2, n_ticks=4)
    window.observe(("a", "b"), np.array([[1.0, 10.0], [2.0, 20.0]]))
    window.observe(("c", "b"), np.array([[3.0, np.nan], [2.0, 20.0]]))
    told = window.forecast()
    assert told.shape == (2, 2, len(HORIZONS), 9)
    assert (told[1, 0] == 2.0).all()
    assert (told[1, 1] == 20.0).all()
    assert (told[0, 0] == 3.0).all()
    assert np.isnan(told[0, 1]).all()
    window.observe((), np.empty((0, 2)))
    assert window.forecast().shape[0] == 0


def test_the_short_forecaster_imports_numpy_alone() -> None:
    code = (
        "import sys, numpy; before = set(sys.modules); import evenkeel.forecast.short; "
        "new = {m.split('.')[0] for m in set(sys.modules) - before} - {'evenkeel', 'numpy'}; "
        "sys.exit(', '.join(new & {'scipy', 'numba', 'pyarrow', 'msgspec', 'zoneinfo'}) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})


# --- weights ----------------------------------------------------------------------------------


def test_weights_come_back_to_the_bit() -> None:
    weights = random_weights()
    again = Weights.load(weights.save())
    np.testing.assert_array_equal(again.mix, weights.mix)
    np.testing.assert_array_equal(again.widen, weights.widen)
    assert again.step_s == 5.0
    assert again.save() == weights.save()


def changed(**fields: object) -> bytes:
    return json.dumps(json.loads(BUILT_IN.save()) | fields).encode()


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff\x00",
        BUILT_IN.save()[:-9],
        changed(format=2),
        changed(horizons=[1, 2]),
        changed(parts=["last-value"]),
        changed(mix=[1.0]),
        changed(mix=[float("nan")] * BUILT_IN.mix.size),
        changed(mix=[1.0] * BUILT_IN.mix.size),
        changed(mix=["x"] * BUILT_IN.mix.size),
        changed(widen=None),
        changed(step_s=-1),
        changed(step_s="often"),
        b"[" * 5000,
    ],
)
def test_what_is_no_short_model_is_refused(blob: bytes) -> None:
    with pytest.raises(ModelCorrupt):
        Weights.load(blob)


def test_each_resource_has_weights_of_its_own() -> None:
    values = np.random.default_rng(2).gamma(2, 1, (6, 60)).astype(np.float32)
    one, other = random_weights(1), random_weights(2)
    mixed = forecast_ticks(values, (one, other))
    np.testing.assert_array_equal(mixed[::2], forecast_ticks(values, (one,))[::2])
    np.testing.assert_array_equal(mixed[1::2], forecast_ticks(values, (other,))[1::2])


def test_kinds_are_told_apart() -> None:
    rng = np.random.default_rng(3)
    values = np.empty((5, 60), np.float32)
    values[0] = 2.0
    values[1] = np.linspace(1, 60, 60)
    values[2] = rng.normal(10, 1, 60)
    values[3] = values[2]
    values[3, :50] = np.nan
    values[4] = 0.0
    kind = describe(values).kind
    assert (kind[[0, 4]] == STILL).all()
    assert (kind[1] == 0).all()
    assert (kind[2] >= 4).all()
    assert (kind[3] == NEW).all()
    assert kind.max() < N_KINDS


# --- learning ---------------------------------------------------------------------------------


def learnt(seed: int = 1, n_vms: int = 120) -> FittedShort:
    panel = tick_panel(n_vms, 400, np.random.default_rng(seed))
    return ShortForecaster().fit([panel.until(200), panel.between(200, 400)], TARGETS, seed)


def test_what_is_learnt_beats_the_built_in_rule_on_vms_never_seen() -> None:
    panel = tick_panel(90, 400, np.random.default_rng(99))
    origins = list(range(60, 380, 10))
    ours = score(learnt(), panel, TARGETS, origins)
    theirs = score(built_in(), panel, TARGETS, origins)
    assert ours.wql < 0.95 * theirs.wql
    rng = np.random.default_rng(0)
    assert decide_promotion(theirs.losses, ours.losses, ours.series, rng).promote
    for level, share in ours.coverage.items():
        assert abs(share - level) < 0.02


def test_the_same_seed_learns_the_same_bytes() -> None:
    first = learnt().save()
    assert learnt().save() == first
    assert len(first) < 20_000
    again = ShortForecaster().load(first)
    assert again.weights.step_s == TICK_S
    assert again.save() == first


def test_gaps_and_held_back_ticks_are_not_learnt_from() -> None:
    panel = tick_panel(30, 200, np.random.default_rng(5))
    values = panel.values.copy()
    values[:, ::7] = np.nan
    censored = np.zeros(values.shape, bool)
    censored[:, 100:150] = True
    values[:, 100:150] = 1e6
    poisoned = Panel(panel.ids, values, 0.0, panel.resource, TICK_S, censored=censored)
    fitted = ShortForecaster().fit([poisoned.until(150)], TARGETS, 1)
    told = fitted.predict(panel.until(90), TARGETS).values
    assert told.max() < 1e3
    assert np.isfinite(fitted.weights.mix).all()


def test_too_little_is_said() -> None:
    panel = tick_panel(3, 71, np.random.default_rng(5))
    with pytest.raises(ValueError, match="72 ticks"):
        ShortForecaster().fit([panel], TARGETS, 1)
    nothing = Panel(("a",), np.full((1, 90), np.nan, np.float32), 0.0, panel.resource, TICK_S)
    with pytest.raises(ValueError, match="nothing"):
        ShortForecaster().fit([nothing], TARGETS, 1)


def test_other_horizons_and_windows_are_refused() -> None:
    panel = tick_panel(2, 80, np.random.default_rng(5))
    for targets in (Targets((4,)), Targets((1,), (12,))):
        with pytest.raises(ValueError, match="knows slots"):
            built_in().predict(panel, targets)
    some = built_in().predict(panel, Targets((2, 12))).values
    every = built_in().predict(panel, TARGETS).values
    np.testing.assert_array_equal(some, every[:, [1, 4]])
