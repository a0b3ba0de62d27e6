"""Profiles on series built with a known class, at the edges of history, and in local time."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pytest

from evenkeel.domain.arrays import F64
from evenkeel.domain.panel import Calendar, Panel
from evenkeel.domain.profile import BEHAVIOURS, UNKNOWN, Behaviour, Profile
from evenkeel.domain.resources import Resource
from evenkeel.forecast.profile_statistics import summarise
from evenkeel.forecast.profiles import classify, profile
from evenkeel.sim.demand import (
    MONDAY_S,
    Bursts,
    DailySpike,
    DemandSpec,
    Wander,
    labelled_panel,
    panel_of,
)

DAY = 288
STEADY = DemandSpec(level=0.3, noise=0.05)
BACKUP = DemandSpec(level=0.05, spikes=(DailySpike(hour=2.0, hours=1.5, height=0.5),))
OFFICE = DemandSpec(
    level=0.05,
    spikes=(DailySpike(9, 8, 0.4, wobble=0.1, weekdays=frozenset(range(5))),),
)
BURSTY = DemandSpec(level=0.05, bursts=Bursts(a_day=3.0, height=0.6, shortest_h=0.5))
WILD = DemandSpec(level=0.25, noise=0.2, wander=Wander(sigma=0.8, memory_h=3.0))


def a_panel(
    *specs: DemandSpec, days: float = 7, seed: int = 1, calendar: Calendar | None = None
) -> Panel:
    return panel_of(specs, round(days * DAY), np.random.default_rng(seed), calendar)


def one(spec: DemandSpec, days: float = 7, calendar: Calendar | None = None) -> Profile:
    return profile(a_panel(spec, days=days, calendar=calendar))[0]


def of_values(values: F64, capacity: float = 1.0) -> Panel:
    return Panel(
        ids=tuple(f"vm{i}" for i in range(len(values))),
        values=values.astype(np.float32),
        start_s=MONDAY_S,
        resource=Resource.CPU,
        capacity=np.full(len(values), capacity),
    )


def test_each_class_is_recognised() -> None:
    made = labelled_panel(50, 7 * DAY, np.random.default_rng(123))
    result = profile(made.panel)
    for code in range(4):
        assert np.mean(result.labels[made.labels == code] == code) >= 0.92, BEHAVIOURS[code]
    confidence = result.probability.max(axis=1)
    assert confidence[result.labels == made.labels].mean() > 0.85
    assert sum(result.shares().values()) == pytest.approx(1.0)


def test_a_nightly_backup_says_when_and_how_long() -> None:
    found = one(BACKUP)
    assert found.label is Behaviour.DIURNAL
    assert found.confidence > 0.9
    assert set(found.peak_hours) <= {2, 3}
    assert 2 in found.peak_hours
    assert found.weekdays == tuple(range(7))
    assert 80 <= found.burst_minutes <= 100
    assert 0.9 <= found.bursts_a_day <= 1.1
    assert "02-0" in str(found)


def test_office_hours_are_of_working_days() -> None:
    found = one(OFFICE, days=14)
    assert found.label is Behaviour.DIURNAL
    assert found.weekdays == (0, 1, 2, 3, 4)
    assert set(found.peak_hours) == set(range(9, 17))
    assert "Mon" in str(found)


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kolkata", "UTC"])
def test_hours_are_local(zone: str) -> None:
    found = one(BACKUP, calendar=Calendar(zone))
    assert found.label is Behaviour.DIURNAL
    assert 2 in found.peak_hours
    assert set(found.peak_hours) <= {2, 3}


def test_the_end_of_summer_time_does_not_hide_a_daily_spike() -> None:
    start_s = datetime(2025, 10, 21, 22, tzinfo=UTC).timestamp()  # clocks go back on the 26th
    calendar = Calendar("Europe/Berlin")
    panel = panel_of((BACKUP,), 9 * DAY, np.random.default_rng(1), calendar, start_s)
    found = profile(panel)[0]
    assert found.label is Behaviour.DIURNAL
    assert 2 in found.peak_hours


def test_a_holiday_counts_as_a_day_off() -> None:
    """Two weeks of office work with a free Wednesday: the pattern is as strong as without it."""
    panel = a_panel(OFFICE, days=14)
    holiday = date(2013, 8, 7)
    values = panel.values.copy()
    values[:, 2 * DAY : 3 * DAY] = values[:, 5 * DAY : 6 * DAY]
    free = replace(panel, values=values)
    told = replace(free, calendar=Calendar(holidays=frozenset({holiday})))
    assert summarise(told).daily[0] > summarise(free).daily[0] + 0.02


def test_bursts_have_a_length_and_a_rate() -> None:
    found = one(BURSTY)
    assert found.label is Behaviour.BURST
    assert found.peak_hours == ()
    assert 25 <= found.burst_minutes <= 120
    assert 1.5 <= found.bursts_a_day <= 4.5


def test_idling_between_one_and_two_percent_is_steady() -> None:
    jitter = np.random.default_rng(0).integers(1, 3, (1, 7 * DAY)) / 100
    assert profile(of_values(jitter))[0].label is Behaviour.STEADY


def test_a_spike_every_two_hours_is_not_daily() -> None:
    values = np.full((1, 7 * DAY), 0.05)
    for start in range(7 * DAY):
        if start % 24 < 6:
            values[0, start] = 0.5
    assert profile(of_values(values))[0].label is not Behaviour.DIURNAL


@pytest.mark.parametrize("value", [0.0, 0.4, 1.0])
def test_constants_are_steady(value: float) -> None:
    found = one(replace(STEADY, level=value, noise=0.0))
    assert found.label is Behaviour.STEADY
    assert found.bursts_a_day == 0


def test_too_little_history_is_unknown_and_one_day_is_never_diurnal() -> None:
    assert one(BACKUP, days=1.9 / 24).label is Behaviour.UNKNOWN
    assert one(BACKUP, days=1.9 / 24).confidence == 0
    assert one(STEADY, days=2 / 24).label is Behaviour.STEADY
    assert one(BACKUP, days=1.5).label is not Behaviour.DIURNAL
    assert one(BACKUP, days=2).label is Behaviour.DIURNAL


def test_confidence_grows_with_history() -> None:
    told = [one(STEADY, days=d).confidence for d in (0.1, 0.5, 1, 7)]
    assert told == sorted(told)
    assert told[0] < 0.5 < 0.9 < told[-1]


def test_what_cannot_be_a_demand_counts_as_unknown() -> None:
    panel = a_panel(STEADY, BACKUP, BURSTY, WILD)
    dirty = panel.values.copy()
    dirty[:, 100:112] = np.array([-1.0, np.inf, -np.inf, np.nan] * 3)
    clean = panel.values.copy()
    clean[:, 100:112] = np.nan
    left = summarise(replace(panel, values=dirty))
    right = summarise(replace(panel, values=clean))
    for name in ("swing", "rest_swing", "daily", "burst_share", "history_days"):
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name))


def test_a_hole_of_a_day_and_a_half_leaves_the_labels() -> None:
    panel = a_panel(STEADY, BACKUP, BURSTY, WILD)
    values = panel.values.copy()
    values[:, 500 : 500 + 31 * 12] = np.nan
    assert list(profile(replace(panel, values=values)).labels) == [0, 1, 2, 3]


def test_no_series_and_no_slots() -> None:
    assert len(profile(of_values(np.empty((0, DAY))))) == 0
    assert list(profile(of_values(np.empty((2, 0)))).labels) == [UNKNOWN, UNKNOWN]
    assert list(profile(of_values(np.full((1, 1), 0.5))).labels) == [UNKNOWN]


def test_a_former_class_is_kept_until_the_case_is_clear() -> None:
    """Of a window that lies between two classes, whichever was there first stays."""
    made = labelled_panel(60, 3 * DAY, np.random.default_rng(8))
    statistics = summarise(made.panel)
    fresh = classify(statistics)
    ordered = np.sort(fresh.probability, axis=1)
    close = np.flatnonzero(ordered[:, -1] - ordered[:, -2] < 0.3)
    assert len(close) >= 3
    second = np.argsort(fresh.probability, axis=1)[:, -2]
    kept = classify(statistics, second)
    assert (kept.labels[close] == second[close]).all()
    clear = np.flatnonzero(ordered[:, -1] - ordered[:, -2] > 0.5)
    assert (kept.labels[clear] == fresh.labels[clear]).all()
    never = classify(statistics, np.full(len(fresh), UNKNOWN))
    np.testing.assert_array_equal(never.labels, fresh.labels)


def test_sliding_by_the_hour_does_not_flap() -> None:
    made = labelled_panel(25, 6 * DAY, np.random.default_rng(31))
    previous, changes, free, last = None, 0, 0, None
    for start in range(0, 2 * DAY, 12):
        statistics = summarise(made.panel.between(start, start + 4 * DAY))
        held, plain = classify(statistics, previous).labels, classify(statistics).labels
        if previous is not None and last is not None:
            changes += int((held != previous).sum())
            free += int((plain != last).sum())
        previous, last = held, plain
    assert changes <= 10
    assert changes <= 0.5 * free
