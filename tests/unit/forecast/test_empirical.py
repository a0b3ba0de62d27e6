"""The built-in forecaster, and the contest for the championship."""

from __future__ import annotations

import numpy as np
import pytest

from evenkeel.domain.panel import Panel
from evenkeel.domain.resources import Resource
from evenkeel.forecast.base import Targets
from evenkeel.forecast.contest import score, split, stretches
from evenkeel.forecast.empirical import Empirical, FittedEmpirical
from evenkeel.forecast.windows import window_max

TARGETS = Targets((1, 3, 12, 72), (12, 72))


def a_panel(values: object, **fields: object) -> Panel:
    array = np.asarray(values, np.float32)
    ids = tuple(f"vm{k}" for k in range(len(array)))
    return Panel(ids, array, 0.0, Resource.CPU, **fields)  # type: ignore[arg-type]


def noise(n: int = 6, width: int = 288, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).gamma(2.0, 1.0, (n, width)).astype(np.float32)


def test_quantiles_are_sound_whatever_is_in_the_panel() -> None:
    values = noise(8)
    values[0] = np.nan
    values[1] = 0.0
    values[2, :-1] = np.nan
    values[3, 100:] = np.nan
    values[4] = -1.0
    for panel in (a_panel(values), a_panel(values[:, :1]), a_panel(values[:, :5])):
        forecast = FittedEmpirical().predict(panel, TARGETS)
        assert forecast.origin_s == panel.end_s
        for quantiles in (forecast.values, forecast.peaks):
            assert np.isfinite(quantiles).all()
            assert (quantiles >= 0).all()
            assert (np.diff(quantiles, axis=-1) >= 0).all()
    assert (FittedEmpirical().predict(a_panel(values), TARGETS).values[1] == 0).all()


def test_the_future_is_not_there_and_the_past_decides_alone() -> None:
    values = noise()
    before = FittedEmpirical().predict(a_panel(values).until(200), TARGETS)
    values[:, 200:] = 1e6
    after = FittedEmpirical().predict(a_panel(values).until(200), TARGETS)
    assert before.values.tobytes() == after.values.tobytes()
    assert before.peaks.tobytes() == after.peaks.tobytes()


def test_near_ones_start_from_the_last_value_and_far_ones_from_the_window() -> None:
    values = noise(1, 144)
    values[0, -1] = 20.0
    forecast = FittedEmpirical().predict(a_panel(values), TARGETS)
    assert forecast.values[0, 0, 3] > 15
    assert forecast.values[0, 3, 3] == pytest.approx(np.median(values), rel=1e-5)


def test_coverage_of_noise_is_near_what_it_says() -> None:
    values = noise(400, 288)
    forecast = FittedEmpirical().predict(a_panel(values[:, :216]), Targets((72,), (12, 72)))
    truth = values[:, 216:]
    covered = (truth[:, -1:] <= forecast.values[:, 0]).mean(axis=0)
    np.testing.assert_allclose(covered[[3, 6, 7]], [0.5, 0.9, 0.95], atol=0.06)
    for w, column in ((12, 0), (72, 1)):
        peak = truth[:, :w].max(axis=1)[:, None]
        covered = (peak <= forecast.peaks[:, column]).mean(axis=0)
        np.testing.assert_allclose(covered[[3, 6]], [0.5, 0.9], atol=0.12)


def test_a_new_vm_leans_on_its_kind() -> None:
    known = np.concatenate([noise(5) * 10, noise(5)])
    kinds = ("big",) * 5 + ("small",) * 5
    fitted = Empirical().fit([a_panel(known, kinds=kinds)], TARGETS, 1)
    new = np.full((3, 2), np.nan, np.float32)
    new[2, 1] = 0.0
    forecast = fitted.predict(a_panel(new, kinds=("big", "small", "small")), TARGETS)
    big, small, young = forecast.values[:, 0, 3]
    assert big > 5 * small > 0
    assert 0 < young < small
    assert (forecast.peaks[:, 1, 3] > forecast.values[:, 1, 3]).all()
    again = Empirical().load(fitted.save())
    panel = a_panel(new, kinds=("big", "", "other"))
    assert again.predict(panel, TARGETS).values.tobytes() == (
        fitted.predict(panel, TARGETS).values.tobytes()
    )


@pytest.mark.parametrize("width", [1, 2, 3, 7, 8, 20])
def test_rolling_max(width: int) -> None:
    values = noise(3, 20)
    expected = np.lib.stride_tricks.sliding_window_view(values, width, axis=1).max(axis=-1)
    np.testing.assert_array_equal(window_max(values, width), expected)


# --- contest ----------------------------------------------------------------------------------


class Knowing(FittedEmpirical):
    """Expects what it is told, whatever the panel says; remembers what it was shown."""

    def __init__(self, value: float) -> None:
        super().__init__()
        object.__setattr__(self, "value", value)
        object.__setattr__(self, "seen", [])

    def predict(self, panel, targets):
        self.seen.append(panel.n_slots)
        forecast = FittedEmpirical().predict(panel, targets)
        forecast.values[:] = self.value
        return forecast


def test_the_better_one_wins_and_nobody_sees_what_it_is_judged_by() -> None:
    panel, targets = a_panel(np.full((9, 100), 2.0)), Targets((1, 6))
    first, origins = split(panel, targets)
    assert first == 75
    assert min(origins) == 75
    assert max(origins) == 94
    right, wrong = Knowing(2.0), Knowing(3.0)
    good, bad = (score(each, panel, targets, origins) for each in (right, wrong))
    assert right.seen == origins
    assert good.wql == 0
    assert good.mae == 0
    assert bad.mae == 1
    assert bad.wql == pytest.approx(
        2 * np.mean([1 - q for q in (0.05, 0.1, 0.25, 0.5, 0.75, 0.8, 0.9, 0.95, 0.99)]) / 2
    )
    assert good.losses.sum() == 0 < bad.losses.sum()
    assert np.unique(bad.series).tolist() == list(range(9))
    assert bad.coverage == {0.9: 1.0, 0.95: 1.0, 0.99: 1.0}


def test_censored_and_unknown_slots_are_not_judged() -> None:
    values = np.full((2, 40), 2.0, np.float32)
    values[0, 30:] = np.nan
    censored = np.zeros(values.shape, bool)
    censored[1, 35:] = True
    panel = a_panel(values, censored=censored)
    told = score(Knowing(2.0), panel, Targets((1,)), list(range(30, 40)))
    assert len(told.losses) == 5
    with pytest.raises(ValueError, match="nothing"):
        score(Knowing(2.0), panel, Targets((1,)), [38])
    with pytest.raises(ValueError, match="too few"):
        split(panel, Targets((21,)))


def test_a_panel_is_cut_at_holes_of_everything() -> None:
    values = np.full((2, 60), 1.0, np.float32)
    values[:, 10:25] = np.nan
    values[:, 40:45] = np.nan
    values[0, 50:] = np.nan
    values[:, 58:] = np.nan
    parts = stretches(a_panel(values))
    assert [(p.start_s, p.n_slots) for p in parts] == [(0.0, 10), (25 * 300.0, 33)]
    assert stretches(a_panel(np.full((1, 5), np.nan))) == []
