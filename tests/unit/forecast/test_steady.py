"""A VM's level and spread for hours ahead."""

from __future__ import annotations

import numpy as np
import pytest

from evenkeel.forecast.steady import Memory, steady

SIZE = np.array([2000.0, 1000.0])


def test_constant_demand_stays_and_hardly_spreads() -> None:
    recent = np.tile([[600.0], [100.0]], (1, 200))
    mean, deviation = steady(recent, SIZE)
    assert mean == pytest.approx([600, 100])
    assert (deviation < 0.05 * SIZE).all()


def test_spread_is_what_was_seen() -> None:
    rng = np.random.default_rng(1)
    recent = rng.normal([[600.0], [200.0]], [[100.0], [20.0]], (2, 500))
    mean, deviation = steady(recent, SIZE, Memory(level_slots=100, spread_slots=100))
    assert mean == pytest.approx([600, 200], rel=0.05)
    assert deviation == pytest.approx([100, 20], rel=0.2)


def test_level_follows_a_step_and_forgets() -> None:
    recent = np.concatenate([np.full((1, 100), 100.0), np.full((1, 16), 500.0)], axis=1)
    mean, _ = steady(recent, np.array([1000.0]), Memory(level_slots=16))
    assert mean[0] == pytest.approx(300, rel=0.01)


def test_seen_once_varies_as_the_fleet_does() -> None:
    rng = np.random.default_rng(2)
    known = np.clip(rng.normal(0.3, 0.1, (40, 100)), 0, 1)
    new = np.full((1, 100), np.nan)
    new[0, -1] = 0.3
    _, deviation = steady(np.concatenate([known, new]), np.ones(41))
    assert 0.1 < deviation[-1] < 0.3
    assert deviation[-1] > np.median(deviation[:-1])


def test_never_seen_is_taken_as_the_fleets_average() -> None:
    mean, deviation = steady(np.array([[np.nan, np.nan], [0.2, 0.2]]), np.ones(2))
    assert mean.tolist() == [0.2, 0.2]
    assert np.isfinite(deviation).all()
    assert deviation[0] > 0


def test_nothing_seen_of_anybody() -> None:
    mean, deviation = steady(np.full((2, 0), np.nan), SIZE)
    assert mean == pytest.approx(0.5 * SIZE)
    assert (deviation > 0).all()


def test_idle_fleet_wants_nothing() -> None:
    mean, deviation = steady(np.zeros((3, 10)), np.ones(3))
    assert mean.tolist() == [0, 0, 0]
    assert np.isfinite(deviation).all()
