"""Drift and promotion: verdicts on built losses, with wild VMs, too few VMs and pure noise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from evenkeel.domain.arrays import F64
from evenkeel.forecast.base import LEVELS, N_QUANTILES
from evenkeel.forecast.drift import (
    DriftKind,
    DriftVerdict,
    PromotionReason,
    PromotionVerdict,
    decide_promotion,
    judge_drift,
    trimmed_mean,
)

Change = Callable[[F64], F64]


def drift(n: int, seed: int, worse: float = 1.0, wild: int = 0, off: float = 0.0) -> DriftVerdict:
    rng = np.random.default_rng(seed)
    size = np.exp(rng.normal(0, 1.5, n))
    recent = worse * size * np.exp(rng.normal(0, 0.5, n))
    recent[:wild] *= 1000
    stated = np.tile(LEVELS.astype(np.float64), (n, 1))
    seen = np.clip(stated + off + rng.normal(0, 0.05, (n, N_QUANTILES)), 0, 1)
    return judge_drift(recent, size, seen, stated)


def test_a_good_model_does_not_drift_even_with_wild_vms() -> None:
    assert not any(drift(200, seed).drifted for seed in range(40))
    assert not any(drift(200, seed, wild=6).drifted for seed in range(40))


def test_a_model_that_got_worse_drifts() -> None:
    found = [drift(200, seed, worse=1.5) for seed in range(20)]
    assert all(v.kind is DriftKind.LOSS for v in found)
    assert np.mean([v.loss_ratio for v in found]) == pytest.approx(1.5, rel=0.1)
    assert all(v.loss_ratio_low < v.loss_ratio for v in found)


def test_a_little_worse_is_within_tolerance() -> None:
    assert not any(drift(2000, seed, worse=1.08).drifted for seed in range(20))


def test_lost_coverage_is_drift() -> None:
    found = drift(300, 1, off=-0.08)
    assert found.kind is DriftKind.COVERAGE
    assert found.coverage_off == pytest.approx(-0.08, abs=0.02)
    assert found.coverage_off < found.coverage_sure < 0


def test_too_few_series_give_no_verdict() -> None:
    found = drift(10, 1, worse=100.0)
    assert found.kind is DriftKind.TOO_FEW
    assert not found.drifted
    nothing = np.full((50, N_QUANTILES), np.nan)
    assert judge_drift(np.full(50, np.nan), np.ones(50), nothing, nothing).n_series == 0


def test_vms_seen_on_one_side_only_are_left_out() -> None:
    stated = np.tile(LEVELS.astype(np.float64), (40, 1))
    recent, before = np.ones(40), np.ones(40)
    recent[:5], before[5:10] = np.nan, np.nan
    assert judge_drift(recent, before, stated, stated).n_series == 30


def test_idle_vms_do_not_divide_by_zero() -> None:
    stated = np.tile(LEVELS.astype(np.float64), (40, 1))
    found = judge_drift(np.full(40, 1e-9), np.zeros(40), stated, stated, grain=0.01)
    assert found.loss_ratio == pytest.approx(1.0, abs=1e-3)


def test_trimmed_mean_of_clean_data_is_the_mean() -> None:
    x = np.random.default_rng(0).normal(3.0, 1.0, 4000)
    centre, error = trimmed_mean(x, 0.1)
    assert centre == pytest.approx(3.0, abs=0.06)
    assert error == pytest.approx(1 / np.sqrt(4000), rel=0.15)


def promotion(change: Change, n: int = 100, seed: int = 0) -> PromotionVerdict:
    rng = np.random.default_rng(seed)
    series = np.repeat(np.arange(n), 24)
    old = np.exp(rng.normal(0, 1.0, n))[series] * rng.exponential(1.0, len(series))
    own = np.exp(rng.normal(-0.005, 0.1, n))[series]
    return decide_promotion(old, change(old * own), series, np.random.default_rng(seed + 1))


def test_a_clear_win_is_promoted_and_a_loss_is_not() -> None:
    won = promotion(lambda loss: 0.85 * loss)
    assert won.promote
    assert won.low < won.ratio < won.high < 1
    assert won.win_share > 0.8
    assert promotion(lambda loss: 1.2 * loss).reason is PromotionReason.LOST


def test_noise_is_hardly_ever_promoted() -> None:
    verdicts = [promotion(lambda loss: loss, seed=seed) for seed in range(60)]
    assert sum(v.promote for v in verdicts) <= 3


def test_many_forecasts_of_one_vm_are_one_witness() -> None:
    """A win on 1 VM of 100 with ten thousand forecasts is no win."""
    rng = np.random.default_rng(0)
    series = np.concatenate([np.zeros(10_000, dtype=np.intp), np.arange(1, 100)])
    old = rng.exponential(1.0, len(series))
    new = np.where(series == 0, 0.5 * old, old)
    assert not decide_promotion(old, new, series, np.random.default_rng(1)).promote


def test_a_win_must_not_hang_on_one_vm() -> None:
    """Among narrow wins of few VMs some need their luckiest VM; those are not promoted."""
    found = [promotion(lambda loss: 0.96 * loss, n=30, seed=seed) for seed in range(60)]
    alone = [v for v in found if v.reason is PromotionReason.ONE_SERIES]
    assert len(alone) >= 4
    assert not any(v.promote for v in alone)
    assert all(v.high < 0.995 for v in alone)


def test_too_few_vms_and_missing_pairs() -> None:
    few = decide_promotion(np.ones(50), np.zeros(50), np.arange(50) % 5, np.random.default_rng(0))
    assert few.reason is PromotionReason.TOO_FEW
    old = np.ones(60)
    old[::2] = np.nan
    assert decide_promotion(old, 0.5 * old, np.arange(60), np.random.default_rng(0)).n_series == 30
    zero = decide_promotion(np.zeros(60), np.zeros(60), np.arange(60), np.random.default_rng(0))
    assert not zero.promote


def test_the_same_generator_gives_the_same_verdict_also_for_many_vms() -> None:
    rng = np.random.default_rng(0)
    old = rng.exponential(1.0, 5000)
    new = 0.9 * old
    left = decide_promotion(old, new, np.arange(5000), np.random.default_rng(7))
    assert left == decide_promotion(old, new, np.arange(5000), np.random.default_rng(7))
    assert left.promote
