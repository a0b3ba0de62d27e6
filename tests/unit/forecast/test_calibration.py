"""Coverage that comes back, whatever the forecaster believes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from evenkeel.domain import bundle
from evenkeel.domain.errors import ModelCorrupt
from evenkeel.domain.panel import Panel
from evenkeel.domain.quantiles import MEDIAN
from evenkeel.domain.resources import Resource
from evenkeel.forecast.base import LEVELS, Forecast, Targets
from evenkeel.forecast.calibration import FIRST_UPPER, Calibration
from evenkeel.forecast.metrics import peak_reliability
from evenkeel.forecast.tracker import Tracker

N = 400
TARGETS = Targets(horizons=(1, 3), windows=(2,))


def panel_until(values: np.ndarray, slot: int) -> Panel:
    ids = tuple(str(i) for i in range(len(values)))
    return Panel(ids, values[:, :slot], 0.0, Resource.CPU)


def believed(known: Panel, spread: float) -> Forecast:
    """Normal around 100, whatever came."""
    quantiles = (100 + spread * norm.ppf(LEVELS)).astype(np.float32)
    return Forecast(
        known.ids,
        known.end_s,
        known.step_s,
        TARGETS,
        np.tile(quantiles, (known.n_series, 2, 1)),
        np.tile(quantiles, (known.n_series, 1, 1)),
    )


@pytest.mark.parametrize("spread", [4.0, 25.0])
def test_a_forecaster_that_is_too_sure_or_too_shy_is_put_right(spread):
    rng = np.random.default_rng(3)
    values = rng.normal(100, 10, (N, 200)).astype(np.float32)
    tracker = Tracker(TARGETS)
    late, raw_late = [], []
    for slot in range(10, 190):
        known = panel_until(values, slot)
        raw = believed(known, spread)
        said = tracker.follow(known, raw)
        if slot > 130:
            late.append((values[:, slot : slot + 1] <= said.values[:, 0]).mean(axis=0))
            raw_late.append((values[:, slot : slot + 1] <= raw.values[:, 0]).mean(axis=0))
    assert np.abs(np.mean(late, axis=0) - LEVELS).max() < 0.02
    assert np.abs(np.mean(raw_late, axis=0) - LEVELS).max() > 0.08


def test_what_is_below_a_shard_does_not_decide_for_what_is_above():
    ids = tuple(str(i) for i in range(N))
    size = np.where(np.arange(N) < N // 2, 0.01, 1.0)[:, None, None]  # the idle, the busy
    said = np.broadcast_to(size * (1 + norm.ppf(LEVELS) / 4), (N, 2, len(LEVELS)))
    raw = Forecast(ids, 0.0, 300.0, TARGETS, said.astype(np.float32), said[:, :1].astype("f4"))
    rng = np.random.default_rng(5)
    for shard, busy_stay in ((0.05, True), (0.0, False)):
        calibration = Calibration.none(TARGETS, shard)
        for _ in range(60):
            came = size[..., 0] * (1 + rng.normal(0, 0.25, (N, 3)))
            came[: N // 2] *= 3  # the idle want more than forecast
            calibration = calibration.update(raw, came.astype(np.float32))
        moved = calibration.apply(raw).values[-1, 0] - raw.values[-1, 0]
        assert (np.abs(moved).max() < 0.1) == busy_stay


@pytest.mark.parametrize("wrong", range(5))
def test_whoever_is_calmer_or_wilder_does_not_decide_for_others(wrong):
    """Five kinds of VMs, each less certain than the last; those of one want more than forecast."""
    relative = np.array([0.05, 0.2, 0.45, 0.8, 1.5])  # (q95 - q25) / ((q50 + q95) / 2)
    kind = np.arange(N) % len(relative)
    q25, q95 = norm.ppf([0.25, 0.95])
    spread = (relative / (q95 - q25 - relative * q95 / 2))[kind][:, None]
    said = np.maximum(1 + spread * norm.ppf(LEVELS), 0.0).astype(np.float32)[:, None]
    ids = tuple(str(i) for i in range(N))
    raw = Forecast(ids, 0.0, 300.0, TARGETS, np.repeat(said, 2, axis=1), said)
    rng = np.random.default_rng(6)
    calibration = Calibration.none(TARGETS)
    for _ in range(60):
        more = np.where(kind == wrong, 2.0, 0.0)[:, None]
        came = np.maximum(1 + spread * rng.normal(more, 1.0, (N, 3)), 0.0)
        calibration = calibration.update(raw, came.astype(np.float32))
    moved = (calibration.apply(raw).values[:, 0, 3] - raw.values[:, 0, 3]) / spread[:, 0]
    assert (moved[kind == wrong] > 0.3).all()
    assert np.abs(moved[kind != wrong]).max() < 0.15


def test_the_future_is_not_looked_at():
    rng = np.random.default_rng(4)
    values = rng.normal(100, 10, (N, 60)).astype(np.float32)
    changed = values.copy()
    changed[:, 40:] = 1e6
    answers = []
    for world in (values, changed):
        tracker = Tracker(TARGETS)
        for slot in range(10, 41):
            said = tracker.follow(panel_until(world, slot), believed(panel_until(world, slot), 4.0))
        answers.append(said.values.tobytes() + said.peaks.tobytes())
    assert answers[0] == answers[1]


def test_every_target_counts_once_and_when_it_is_over():
    values = np.full((N, 30), 200, dtype=np.float32)
    tracker = Tracker(TARGETS)
    first = panel_until(values, 10)
    tracker.follow(first, believed(first, 4.0))
    tracker.follow(first, believed(first, 4.0))
    assert not tracker.calibration.shift.any(), "nothing has come to be yet"
    second = panel_until(values, 11)
    tracker.follow(second, believed(second, 4.0))
    moved = tracker.calibration.shift.copy()
    assert moved[:, 0].any()
    assert not moved[:, 1:].any(), "the third slot and the peak are not over"
    tracker.follow(second, believed(second, 4.0))
    np.testing.assert_array_equal(tracker.calibration.shift[:, 0], moved[:, 0])


def test_series_that_left_and_came_do_not_mix():
    values = np.full((N, 30), 100, dtype=np.float32)
    values[0] = 900
    tracker = Tracker(TARGETS)
    first = panel_until(values, 10)
    tracker.follow(first, believed(first, 4.0))
    later = panel_until(values, 13).only(np.arange(N)[::-1][:-1])
    tracker.follow(later, believed(later, 4.0))
    assert (tracker.calibration.shift[..., FIRST_UPPER:] <= 0).all(), "the one above has left"


def test_all_levels_of_peaks_are_put_right():
    """Their odds are asked for at any threshold."""
    rng = np.random.default_rng(5)
    values = rng.normal(100, 10, (N, 260)).astype(np.float32)
    peaks = np.maximum(values[:, :-1], values[:, 1:])
    tracker = Tracker(TARGETS)
    late = []
    for slot in range(10, 250):
        known = panel_until(values, slot)
        said = tracker.follow(known, believed(known, 15.0))
        if slot > 190:
            late.append((peaks[:, slot : slot + 1] <= said.peaks[:, 0]).mean(axis=0))
    assert np.abs(np.mean(late, axis=0) - LEVELS).max() < 0.03


def demand_low_between_levels(rng: np.random.Generator) -> tuple[Forecast, np.ndarray]:
    """Quantiles that cover what comes (N, 3); between two of them it lies near the lower one."""
    size = rng.gamma(2.0, 2.0, (N, 1, 1))
    said = (size * np.exp(norm.ppf(LEVELS))).astype(np.float32)
    ids = tuple(str(i) for i in range(N))
    raw = Forecast(ids, 0.0, 300.0, TARGETS, np.repeat(said, 2, axis=1), said)
    odds = rng.random((N, 3))
    at = np.clip(np.searchsorted(LEVELS, odds) - 1, 0, len(LEVELS) - 2)
    share = np.clip((odds - LEVELS[at]) / (LEVELS[at + 1] - LEVELS[at]), 0.0, 1.0)
    low, high = (said[np.arange(N)[:, None], 0, i] for i in (at, at + 1))
    came = np.where(odds < LEVELS[0], low * odds / LEVELS[0], low + (high - low) * share**2)
    return raw, came.astype(np.float32)


@pytest.mark.parametrize(("shard", "errs"), [(1.0, False), (0.0, True)])
def test_the_odds_of_more_than_k_shards_are_put_right(shard: float, *, errs: bool):
    rng = np.random.default_rng(6)
    calibration = Calibration.none(TARGETS, shard)
    said, came = [], []
    for slot in range(200):
        raw, truth = demand_low_between_levels(rng)
        if slot > 120:
            said.append(calibration.apply(raw).peaks)
            came.append(truth[:, 2:])
        calibration = calibration.update(raw, truth)
    deciles = peak_reliability(np.concatenate(said), np.concatenate(came), 1.0, rng)[0]
    often = [decile for decile in deciles if decile.n > 2_500]
    assert len(often) >= 6
    worst = max(abs(decile.said - decile.came) for decile in often)
    assert worst > 0.025 if errs else worst < 0.015


def test_the_odds_of_one_window_are_put_right_without_those_of_another():
    targets = Targets((1, 3), (2, 6))
    quantiles = np.tile(2.0 + norm.ppf(LEVELS).astype(np.float32), (N, 2, 1))
    raw = Forecast(tuple(map(str, range(N))), 0.0, 300.0, targets, quantiles, quantiles)
    none = Calibration.none(targets, 1.0)
    second = np.repeat([[0.0], [1.0]], len(LEVELS), axis=1)
    said = replace(none, odds_shift=second).apply(raw)
    np.testing.assert_allclose(said.values, quantiles, atol=1e-5)
    np.testing.assert_allclose(said.peaks[:, 0], quantiles[:, 0], atol=1e-5)
    assert (said.peaks[:, 1, MEDIAN] > quantiles[:, 1, MEDIAN] + 0.3).all()


def test_what_was_recorded_in_steps_is_asked_about_between_them():
    """A peak of 2 shards in whole shards may have been 2.4: it does not speak against its odds."""
    rng = np.random.default_rng(7)
    quantiles = np.tile(2.0 + norm.ppf(LEVELS).astype(np.float32), (N, 1, 1))
    ids = tuple(str(i) for i in range(N))
    raw = Forecast(ids, 0.0, 300.0, TARGETS, np.repeat(quantiles, 2, axis=1), quantiles)
    shifts = []
    for step in (1.0, 0.0):
        calibration = Calibration.none(TARGETS, 1.0, step)
        for _ in range(100):
            came = np.rint(2.0 + rng.normal(size=(N, 3))).astype(np.float32)
            calibration = calibration.update(raw, came)
        shifts.append(abs(calibration.odds_shift[0, MEDIAN]))
    assert shifts[0] < 0.2 < 0.5 < shifts[1]


def test_a_fleet_that_is_empty_for_a_while_does_no_harm():
    values = np.full((N, 30), 200, dtype=np.float32)
    tracker = Tracker(TARGETS)
    for slot, rows in ((10, []), (11, range(N)), (12, []), (13, range(N))):
        known = panel_until(values, slot).only(np.array(rows, dtype=np.intp))
        assert tracker.follow(known, believed(known, 4.0)).ids == known.ids
    assert tracker.calibration.shift.any()


def test_a_large_fleet_is_learnt_from_by_a_part_of_it_now_and_then():
    values = np.full((N, 60), 200, dtype=np.float32)
    tracker = Tracker(TARGETS, spacing_s=3 * 300.0, max_series=40)
    for slot in range(10, 50):
        known = panel_until(values, slot)
        said = tracker.follow(known, believed(known, 4.0))
        assert said.values.shape == (N, 2, 9)
        assert sum(len(waiting.ids) for waiting, _ in tracker._waiting) < 200
    assert (said.values[:, 0, 4:] > believed(known, 4.0).values[:, 0, 4:]).all()


def test_a_forecast_without_spread_stays_as_it_is():
    known = panel_until(np.zeros((N, 20), dtype=np.float32), 20)
    sure, none = believed(known, 0.0), Calibration.none(TARGETS)
    shifted = replace(none, shift=none.shift + 1, odds_shift=none.odds_shift + 1).apply(sure)
    np.testing.assert_array_equal(shifted.values, sure.values)


def saved() -> bytes:
    rng = np.random.default_rng(8)
    values = rng.normal(100, 10, (N, 60)).astype(np.float32)
    tracker = Tracker(TARGETS)
    for slot in range(20, 60):
        tracker.follow(panel_until(values, slot), believed(panel_until(values, slot), 4.0))
    return tracker.save()


def test_saved_and_loaded_it_learns_the_same_from_what_comes_true():
    values = np.random.default_rng(9).normal(100, 10, (N, 80)).astype(np.float32)
    trackers = [Tracker(TARGETS), Tracker(TARGETS)]
    for tracker in trackers:
        tracker.load(saved(), 300.0)
    trackers[1].load(trackers[1].save(), 300.0)
    for tracker in trackers:
        assert len(tracker.vms) == N
        tracker.learn(panel_until(values, 70))
    first, second = (tracker.calibration.shift for tracker in trackers)
    np.testing.assert_array_equal(first, second)
    assert trackers[0].save() == trackers[1].save()


def test_of_other_targets_or_slots_it_starts_anew():
    for targets, step_s in ((Targets((1, 4), (2,)), 300.0), (TARGETS, 60.0), (Targets((1,)), 300)):
        tracker = Tracker(targets)
        tracker.load(saved(), step_s)
        assert not tracker.vms
        assert not tracker.calibration.shift.any()


def test_from_before_odds_were_learnt_it_starts_anew():
    parts = bundle.unpack(saved())
    del parts["odds_logits"]
    tracker = Tracker(TARGETS)
    tracker.load(bundle.pack(**parts), 300.0)
    assert not tracker.vms
    assert not tracker.calibration.shift.any()


def test_damage_is_told_and_changes_nothing():
    rng = np.random.default_rng(10)
    blob = saved()
    for _ in range(60):
        damaged = bytearray(blob)
        damaged[rng.integers(len(blob))] ^= 1 << int(rng.integers(8))
        tracker = Tracker(TARGETS)
        for damage in (bytes(damaged), blob[: rng.integers(len(blob))]):
            try:
                tracker.load(damage, 300.0)
            except ModelCorrupt:
                assert not tracker.vms
