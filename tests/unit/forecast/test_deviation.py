"""Deviations: raised within slots of a change, quiet otherwise, sane through gaps and clocks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evenkeel.domain.arrays import F32, F64
from evenkeel.forecast.base import LEVELS
from evenkeel.forecast.deviation import (
    BELIEFS,
    STATED,
    DeviationPolicy,
    Deviations,
    DeviationState,
    Kind,
    observe,
)

NOISE = 0.1
Z = np.array([NormalDist().inv_cdf(float(q)) for q in LEVELS])
GRAIN = 0.001


def exactly(n: int, level: float = 1.0) -> F32:
    """Quantiles of demand with Gaussian noise about `level`."""
    return np.tile((level * (1 + NOISE * Z)).astype(np.float32), (n, 1))


def calm(rng: np.random.Generator, n: int) -> F64:
    return np.maximum(1 + NOISE * rng.standard_normal(n), 0.0)


def feed(
    state: DeviationState, slots: Iterable[F64], quantiles: F32, start: int = 0
) -> tuple[DeviationState, list[Deviations]]:
    seen = []
    for t, x in enumerate(slots, start):
        state, out = observe(state, x, quantiles, 300.0 * t, GRAIN)
        seen.append(out)
    return state, seen


def warmed(n: int, slots: int = 288, seed: int = 0) -> DeviationState:
    rng = np.random.default_rng(seed)
    return feed(DeviationState.fresh(n), (calm(rng, n) for _ in range(slots)), exactly(n))[0]


def test_no_gambler_wins_while_the_forecast_holds() -> None:
    """Each belief is a distribution over the bins, so its stake is worth 1 in the mean."""
    np.testing.assert_allclose(STATED.sum(), 1.0)
    np.testing.assert_allclose(BELIEFS.sum(axis=1), 1.0, atol=1e-9)
    np.testing.assert_allclose((STATED * (BELIEFS / STATED)).sum(axis=1), 1.0, atol=1e-9)


def test_false_alarms_of_an_exact_forecast_keep_the_stated_rate() -> None:
    n, days, policy = 500, 4, DeviationPolicy(slots_per_false_alarm=288.0)
    rng, state, raised = np.random.default_rng(1), DeviationState.fresh(500), 0
    for t in range(288 * days):
        state, out = observe(state, calm(rng, n), exactly(n), 300.0 * t, GRAIN, policy)
        raised += int(out.raised.sum())
    assert 0 < raised / (n * days) <= 1.0


@pytest.mark.parametrize(
    ("factor", "noise", "kind", "middle", "late"),
    [
        (2.0, 1.0, Kind.ABOVE, 4, 6),
        (0.5, 1.0, Kind.BELOW, 6, 8),
        (1.0, 4.0, Kind.ERRATIC, 12, 30),
    ],
)
def test_a_change_is_raised_within_slots(
    factor: float, noise: float, kind: Kind, middle: int, late: int
) -> None:
    n, rng = 200, np.random.default_rng(2)
    state = warmed(n)
    shifted = [factor * (1 + noise * (calm(rng, n) - 1)) for _ in range(60)]
    _, seen = feed(state, (np.maximum(x, 0) for x in shifted), exactly(n), 288)
    standing = np.array([out.kind for out in seen])
    assert (standing >= 0).any(axis=0).all()
    first = np.argmax(standing >= 0, axis=0)
    delay = first + 1
    assert np.median(delay) <= middle
    assert np.quantile(delay, 0.95) <= late
    assert np.mean(standing[first, np.arange(n)] == kind) > 0.8
    raised = np.array([out.raised for out in seen])
    assert (raised[first, np.arange(n)]).all()


def test_size_and_beginning_are_told() -> None:
    state = warmed(50)
    rng = np.random.default_rng(3)
    _, seen = feed(state, (2 * calm(rng, 50) for _ in range(8)), exactly(50), 288)
    last = seen[-1]
    assert (last.kind == Kind.ABOVE).mean() > 0.9
    above = last.kind == Kind.ABOVE
    assert np.median(last.size[above]) == pytest.approx(1.0, abs=0.1)
    assert abs(np.median(last.since_s[above]) - 288 * 300.0) <= 300.0
    assert (last.evidence[above] > 0).all()
    none = seen[0].kind < 0
    assert np.isnan(seen[0].size[none]).all()


def test_it_clears_some_slots_after_the_end_and_does_not_flap_before() -> None:
    n, rng = 100, np.random.default_rng(4)
    state = warmed(n)
    state, up = feed(state, (2 * calm(rng, n) for _ in range(12)), exactly(n), 288)
    assert np.sum([out.raised for out in up], axis=0).max() == 1
    _, down = feed(state, (calm(rng, n) for _ in range(36)), exactly(n), 300)
    standing = np.array([out.kind >= 0 for out in down])
    assert standing[0].all()
    assert not standing[-1].any()
    assert np.sum([out.cleared for out in down], axis=0).tolist() == [1] * n


def test_a_constant_predicted_as_a_point_is_worth_nothing() -> None:
    state = DeviationState.fresh(3)
    point = np.full((3, 9), 0.7, dtype=np.float32)
    for t in range(300):
        x = np.array([0.7, 0.7 + 1e-4 * (-1) ** t, 0.7005])
        state, out = observe(state, x, point, 300.0 * t, GRAIN)
        assert (out.kind == Kind.NONE).all()
    np.testing.assert_allclose(state.fortune, 0.0, atol=1e-6)
    for t in range(300, 306):
        state, out = observe(state, np.full(3, 0.9), point, 300.0 * t, GRAIN)
    assert (out.kind == Kind.ABOVE).all()


def test_an_idle_vm_predicted_at_zero_does_not_alarm() -> None:
    quantiles = np.zeros((1, 9), dtype=np.float32)
    quantiles[0, -2:] = (0.02, 0.3)
    state = DeviationState.fresh(1)
    for t in range(600):
        state, out = observe(state, np.zeros(1), quantiles, 300.0 * t, GRAIN)
        assert out.kind[0] == Kind.NONE


def test_a_habit_of_missing_is_learnt() -> None:
    """A forecast that is 15 % too low for ever alarms at first, and ever less."""
    n, rng = 50, np.random.default_rng(5)
    state, seen = DeviationState.fresh(n), []
    for t in range(288 * 8):
        state, out = observe(state, 1.15 * calm(rng, n), exactly(n), 300.0 * t, GRAIN)
        seen.append(int(out.raised.sum()))
    first, last = sum(seen[: 2 * 288]), sum(seen[-2 * 288 :])
    assert first >= n / 2
    assert last <= 0.1 * first


def test_an_excursion_that_comes_every_night_is_news_once() -> None:
    state = warmed(1)
    state = replace(state, record=np.tile((1e6 * STATED).astype(np.float32), (1, 4, 1)))
    policy, rng, nights = DeviationPolicy(memory_slots=1e9), np.random.default_rng(7), []
    for night in range(4):
        raised = 0
        for slot in range(288):
            x = np.array([2.0]) if slot < 5 else calm(rng, 1)
            at_s = 300.0 * (288 * (1 + night) + slot)
            state, out = observe(state, x, exactly(1), at_s, GRAIN, policy)
            raised += int(out.raised[0])
        nights.append(raised)
    assert nights == [1, 0, 0, 0]
    for slot in range(12):  # an hour of it is news again
        at_s = 300.0 * (288 * 5 + slot)
        state, out = observe(state, np.array([2.0]), exactly(1), at_s, GRAIN, policy)
    assert out.kind[0] == Kind.ABOVE


def test_what_stands_for_a_day_is_accepted() -> None:
    state = warmed(1)
    policy = DeviationPolicy(memory_slots=1e9, trust=1e9)
    state = replace(state, record=np.tile((1e6 * STATED).astype(np.float32), (1, 4, 1)))
    kinds = []
    for t in range(288, 288 + 310):
        state, out = observe(state, np.array([3.0]), exactly(1), 300.0 * t, GRAIN, policy)
        kinds.append(int(out.kind[0]))
    assert kinds[3:287] == [Kind.ABOVE] * 284
    assert Kind.NONE in kinds[287:292]


def test_unknown_demand_leaves_the_evidence_alone() -> None:
    state = warmed(2)
    quantiles = exactly(2)
    for x in (np.nan, np.inf, -1.0):
        after, out = observe(state, np.array([x, 1.0]), quantiles, 300.0 * 288, GRAIN)
        for name in ("fortune", "since_s", "record", "seen_s", "kind", "usual"):
            np.testing.assert_array_equal(getattr(after, name)[0], getattr(state, name)[0])
        assert not out.raised.any()
    quantiles[0, 3] = np.nan
    after, _ = observe(state, np.ones(2), quantiles, 300.0 * 288, GRAIN)
    np.testing.assert_array_equal(after.record[0], state.record[0])
    assert after.seen_s[1] == 300.0 * 288


def test_late_and_repeated_slots_change_nothing() -> None:
    state = warmed(4)
    for at_s in (300.0 * 287, 300.0 * 280):
        after, out = observe(state, np.full(4, 9.0), exactly(4), at_s, GRAIN)
        for name in DeviationState.__slots__:
            np.testing.assert_array_equal(getattr(after, name), getattr(state, name))
        assert not out.raised.any()


@pytest.mark.parametrize("jump_s", [7200.0, -7200.0, 86_400.0 * 3650, -86_400.0 * 3650])
def test_after_a_gap_or_a_clock_step_evidence_starts_again(jump_s: float) -> None:
    n, rng = 20, np.random.default_rng(6)
    state, seen = feed(warmed(n), (2 * calm(rng, n) for _ in range(8)), exactly(n), 288)
    assert (seen[-1].kind >= 0).all()
    now_s = 300.0 * 296 + jump_s
    state, out = observe(state, np.ones(n), exactly(n), now_s, GRAIN)
    assert (out.kind == Kind.NONE).all()
    assert out.cleared.all()
    assert (state.seen_s == now_s).all()
    for t in range(1, 8):
        state, out = observe(state, 2 * calm(rng, n), exactly(n), now_s + 300.0 * t, GRAIN)
    assert (state.since_s[out.kind >= 0] >= now_s).all()


def test_vms_come_and_go() -> None:
    state = warmed(3)
    moved = state.take(np.array([2, -1, 0]))
    np.testing.assert_array_equal(moved.record[0], state.record[2])
    np.testing.assert_array_equal(moved.fortune[2], state.fortune[0])
    np.testing.assert_array_equal(moved.record[1], DeviationState.fresh(1).record[0])
    assert np.isnan(moved.seen_s[1])


@given(order=st.permutations(range(6)), seed=st.integers(0, 1000))
@settings(max_examples=15)
def test_vms_do_not_see_each_other(order: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    xs = rng.exponential(1.0, (40, 6))
    xs[rng.random(xs.shape) < 0.1] = np.nan
    quantiles = np.sort(rng.exponential(1.0, (6, 9)), axis=1).astype(np.float32)
    plain, mixed = DeviationState.fresh(6), DeviationState.fresh(6)
    for t, x in enumerate(xs):
        plain, left = observe(plain, x, quantiles, 300.0 * t, GRAIN)
        mixed, right = observe(mixed, x[order], quantiles[order], 300.0 * t, GRAIN)
        np.testing.assert_array_equal(left.kind[order], right.kind)
        np.testing.assert_array_equal(left.size[order], right.size)


@given(seed=st.integers(0, 1000), exponent=st.integers(-8, 8))
@settings(max_examples=15)
def test_the_unit_does_not_matter(seed: int, exponent: int) -> None:
    rng, factor = np.random.default_rng(seed), 2.0**exponent
    quantiles = np.sort(rng.exponential(1.0, (5, 9)), axis=1).astype(np.float32)
    small, large = DeviationState.fresh(5), DeviationState.fresh(5)
    for t in range(40):
        x = rng.exponential(1.5, 5)
        small, left = observe(small, x, quantiles, 300.0 * t, GRAIN)
        scaled = quantiles * np.float32(factor)
        large, right = observe(large, factor * x, scaled, 300.0 * t, factor * GRAIN)
        np.testing.assert_array_equal(left.kind, right.kind)
        np.testing.assert_allclose(small.fortune, large.fortune, atol=1e-6)


def test_the_given_state_is_not_changed() -> None:
    state = warmed(3)
    copies = {name: getattr(state, name).copy() for name in DeviationState.__slots__}
    observe(state, np.full(3, 5.0), exactly(3), 300.0 * 288, GRAIN)
    for name, copy in copies.items():
        np.testing.assert_array_equal(getattr(state, name), copy)
