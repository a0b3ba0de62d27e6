"""The metrics against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from evenkeel.forecast.base import LEVELS, N_QUANTILES, QUANTILES
from evenkeel.forecast.metrics import Judged, Observed, peak_reliability, pinball, summary, tail


def observed(y, censored=None) -> Observed:
    y = np.asarray(y, dtype=np.float32)
    return Observed(y, np.empty((len(y), 0), np.float32), censored)


def flat(*values: float) -> np.ndarray:
    """(S, 1, Q): the same value at every level."""
    return np.repeat(np.array(values, dtype=np.float32)[:, None, None], N_QUANTILES, axis=2)


def test_pinball_and_wql_by_hand():
    seen = observed([[1.0], [3.0]])
    q = flat(2.0, 2.0)
    loss = pinball(seen, q)
    np.testing.assert_allclose(loss[0, 0], 1 - LEVELS, rtol=1e-6)
    np.testing.assert_allclose(loss[1, 0], LEVELS, rtol=1e-6)
    found = summary(Judged.of(seen, q), ["5m"])
    # Both together lose 1 at every level, of a demand of 4.
    assert found["wql.5m"] == pytest.approx(2 * 1 / 4)
    assert found["pinball.0.9.5m"] == pytest.approx(0.5)
    assert found["mae.5m"] == pytest.approx(1.0)
    assert found["over.5m"] == found["under.5m"] == 0.5
    assert found["coverage.0.9"] == 0.5


def test_one_quantile_after_another():
    q = np.linspace(1, 9, N_QUANTILES, dtype=np.float32)[None, None]
    found = summary(Judged.of(observed([[4.5]]), q), ["5m"])
    covered = [found[f"coverage.{level:g}"] for level in QUANTILES]
    assert covered == [0, 0, 0, 0, 1, 1, 1, 1, 1]
    assert found["pinball.0.05.5m"] == pytest.approx(2 * 0.05 * 3.5 / 4.5)
    assert found["pinball.0.99.5m"] == pytest.approx(2 * 0.01 * 4.5 / 4.5)


def test_a_target_that_is_not_known_does_not_count():
    nan = float("nan")
    q = np.concatenate([flat(2.0, 2.0, 7.0), flat(1.0, 1.0, 1.0)], axis=1)
    judged = Judged.of(observed([[1.0, nan], [3.0, nan], [nan, nan]]), q)
    found = summary(judged, ["5m", "60m"])
    assert found["wql.5m"] == pytest.approx(0.5)
    assert found["mae.5m"] == pytest.approx(1.0)
    assert found["coverage.0.9"] == 0.5
    assert not [name for name in found if name.endswith("60m")]


def test_nothing_known_is_no_figure():
    assert summary(Judged.of(observed([[float("nan")]]), flat(1.0)), ["5m"]) == {}


def test_a_group_of_rows():
    judged = Judged.of(observed([[1.0], [3.0]]), flat(1.0, 1.0))
    assert summary(judged, ["5m"], np.array([True, False]))["wql.5m"] == 0
    assert summary(judged, ["5m"], np.array([False, True]))["mae.5m"] == 2


def test_a_sure_and_right_zero():
    """It is covered at every level; with the tie split it scores the level itself."""
    found = summary(Judged.of(observed([[0.0]] * 4), flat(0, 0, 0, 0)), ["5m"])
    for level in QUANTILES:
        assert found[f"coverage.{level:g}"] == 1
        assert found[f"coverage_below.{level:g}"] == 0
        assert found[f"coverage_split.{level:g}"] == pytest.approx(level, abs=1e-6)
    assert found["mae.5m"] == found["over.5m"] == found["under.5m"] == 0
    assert "wql.5m" not in found, "there is no ratio to a demand of nothing"


def test_the_truth_scores_about_its_level_when_ties_are_split():
    """Whole numbers with a heavy zero, of many sizes, each forecast by its own quantiles."""
    rng = np.random.default_rng(3)
    drawn = [
        np.maximum(rng.poisson(mean, 4000) - 2, 0).astype(np.float32)
        for mean in rng.uniform(0.5, 8, 100)
    ]
    q = [np.quantile(d, LEVELS, method="inverted_cdf") for d in drawn]
    q = np.repeat(np.array(q, dtype=np.float32), 4000, axis=0)[:, None]
    found = summary(Judged.of(observed(np.concatenate(drawn)[:, None]), q), ["5m"])
    for level in QUANTILES[1:]:
        assert abs(found[f"coverage_split.{level:g}"] - level) < 0.02
    assert found["coverage.0.9"] > 0.93, "the plain reading cannot have it"


def test_censored_targets_count_only_below():
    censored = np.array([[True], [True], [False]])
    seen = observed([[2.0], [2.0], [2.0]], censored)
    judged = Judged.of(seen, flat(5.0, 1.0, 2.0))
    loss = judged.loss[:, 0, QUANTILES.index(0.9)]
    np.testing.assert_allclose(loss, [0.0, 0.9, 0.0], atol=1e-6)
    found = summary(judged, ["5m"])
    assert found["coverage.0.9"] == 1, "of the one target that is known exactly"
    assert found["mae.5m"] == pytest.approx(1 / 3)


def test_float32_noise_is_a_tie():
    y = np.float32(0.07)
    found = summary(Judged.of(observed([[y]]), flat(float(y) - 1e-8)), ["5m"])
    assert found["coverage.0.5"] == 1


def test_tails_name_the_worst():
    y = np.array([[1.0], [1.0], [2.0], [0.0]])
    judged = Judged.of(observed(y), flat(1.0, 3.0, 2.0, 0.0))
    found = tail(judged, 0, np.array([0, 1, 1, 2]), ["good", "bad", "idle"], n_worst=1)
    # 2 too high at every level: 2 * mean(1 - level) * 2 of a demand of 3.
    wrong = float(2 * 2 * (1 - LEVELS).mean() / 3)
    assert found.worst == (("bad", pytest.approx(wrong, rel=1e-5)),)
    assert (found.n_vms, found.n_idle) == (2, 1)
    assert found.p95 == pytest.approx(0.95 * wrong, rel=1e-5)


def test_the_truth_gives_peak_odds_that_hold():
    """Uniform peaks on [0, 10), forecast by their own quantiles."""
    rng = np.random.default_rng(5)
    peaks = np.broadcast_to(10 * LEVELS, (40_000, 1, N_QUANTILES)).astype(np.float32)
    came = rng.uniform(0, 10, (40_000, 1)).astype(np.float32)
    (rows,) = peak_reliability(peaks, came, shard=0.05, rng=rng)
    assert len(rows) == 10
    for decile in rows:
        assert abs(decile.said - decile.came) < 0.03
        assert decile.low <= decile.said <= decile.low + 0.1


def test_a_peak_of_exactly_k_shards_needs_no_more():
    peaks = np.full((500, 1, N_QUANTILES), 0.35, dtype=np.float32)
    came = np.full((500, 1), 0.35, dtype=np.float32)
    (rows,) = peak_reliability(peaks, came, shard=0.05, rng=np.random.default_rng(0))
    assert [(d.low, d.came) for d in rows] == [(0.0, 0.0)]


def test_whole_percents_stand_for_what_they_were_rounded_from():
    rng = np.random.default_rng(0)
    exact = np.quantile(rng.lognormal(-2, 0.6, 100_000), QUANTILES).astype(np.float32)
    came = np.round(rng.lognormal(-2, 0.6, (50_000, 1)) * 20) / 20
    peaks = np.tile(exact, (50_000, 1, 1))
    (blind,) = peak_reliability(peaks, came.astype(np.float32), 0.05, rng)
    (rows,) = peak_reliability(peaks, came.astype(np.float32), 0.05, rng, grain=0.05)
    assert max(abs(d.said - d.came) for d in blind if d.n > 500) > 0.1
    assert max(abs(d.said - d.came) for d in rows if d.n > 500) < 0.02


def test_peaks_that_are_not_known_do_not_count():
    peaks = np.ones((3, 1, N_QUANTILES), np.float32)
    (rows,) = peak_reliability(
        peaks, np.full((3, 1), np.nan, np.float32), 0.05, np.random.default_rng(0)
    )
    assert rows == []
