"""How good forecasts were: losses, coverage, tails and odds, from arrays alone.

S is the number of judged forecasts (a series at an origin), H of horizons, W of windows, Q of
quantiles. A target that is NaN is left out everywhere.

*Censored* targets (demand was at least y) count in losses only by what the forecast lies below
them, and not at all in coverage and rates: whether a higher forecast was right cannot be known.

*Ties.* `coverage` is P(y <= q), as it is usually meant. Where demand has atoms (a VM that is always
0, whole percents) no forecast can have that at its level: a sure and right 0 is covered always. So
`coverage_below` is P(y < q), and `coverage_split` splits a tie as a randomised probability integral
transform would (Czado, Gneiting and Held 2009): the forecast's levels that equal y span [a, b] of
its distribution, and the share (level - a) / (b - a) of the tie counts as covered; a span that
touches the lowest (highest) level reaches down to 0 (up to 1). The truth's own quantiles score
about their level in `coverage_split` (a and b are known as finely as the levels lie), with atoms
or without; in `coverage` they score at least that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from evenkeel.domain import quantiles
from evenkeel.domain.arrays import F32, F64, Bools, Ints
from evenkeel.forecast.base import LEVELS, QUANTILES, exceedance

MEDIAN: Final = QUANTILES.index(0.5)
TOLERANCE: Final = 1e-5
"""Values this close (relative, or absolute below 1) are equal: float32 carries seven digits."""

N_DECILES: Final = 10


@dataclass(frozen=True, slots=True, eq=False)
class Observed:
    """What came: `y` (S, H) demand, `peak` (S, W) of the windows, `is_censored` (S, H)."""

    y: F32
    peak: F32
    is_censored: Bools | None = None


def pinball(observed: Observed, q: F32) -> F32:
    """(S, H, Q) pinball loss of quantiles `q`, 0 where the target is not known."""
    loss = np.nan_to_num(quantiles.pinball(observed.y, q), nan=0.0)
    if observed.is_censored is not None:
        hidden = observed.is_censored[..., None] & (q >= observed.y[..., None])
        loss = np.where(hidden, np.float32(0), loss)
    return loss


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """A model's forecasts beside what came, with what every summary needs computed once."""

    observed: Observed
    q: F32
    loss: F32
    side: np.ndarray[tuple[int, int, int], np.dtype[np.int8]]
    """(S, H, Q): -1 where y < q, 0 where they tie, 1 where y > q."""
    split: F32
    """(S, H, Q) share of each target that counts as covered, ties split."""

    @classmethod
    def of(cls, observed: Observed, q: F32) -> Judged:
        y = observed.y[..., None]
        gap = np.nan_to_num(y - q, nan=0.0)
        is_tie = np.abs(gap) <= TOLERANCE * np.maximum(1.0, np.nan_to_num(np.abs(y)))
        side = np.where(is_tie, 0, np.sign(gap)).astype(np.int8)
        return cls(observed, q, pinball(observed, q), side, _split(side))


def _split(side: np.ndarray[tuple[int, int, int], np.dtype[np.int8]]) -> F32:
    is_tie = side == 0
    edges = np.concatenate([[0.0], (LEVELS[1:] + LEVELS[:-1]) / 2, [1.0]]).astype(np.float32)
    first = np.argmax(is_tie, axis=-1)
    last = side.shape[-1] - 1 - np.argmax(is_tie[..., ::-1], axis=-1)
    a, b = edges[first][..., None], edges[last + 1][..., None]
    share = np.clip((LEVELS - a) / np.maximum(b - a, 1e-9), 0.0, 1.0)
    return np.where(is_tie, share, (side < 0).astype(np.float32)).astype(np.float32)


def summary(judged: Judged, horizons: Sequence[str], rows: Bools | None = None) -> dict[str, float]:
    """Every figure by horizon (its label ends the name), coverage over all horizons as well.

    `wql.H` 2 * sum of pinball / sum of |y|, averaged over the quantiles; `pinball.L.H` the same of
    one level; `mae.H` of the median; `over.H`, `under.H` share of targets below, above the median
    forecast; `coverage.L`, `coverage.L.H`, `coverage_below.L`, `coverage_split.L`. Figures without
    a known target, and ratios to a demand of nothing, are left out.
    """
    pick = slice(None) if rows is None else rows
    y, side = judged.observed.y[pick], judged.side[pick]
    known = np.isfinite(y)
    exact = known.copy()
    if judged.observed.is_censored is not None:
        exact &= ~judged.observed.is_censored[pick]
    size = np.where(known, np.abs(y), 0).sum(axis=0, dtype=np.float64)
    loss = judged.loss[pick].sum(axis=0, dtype=np.float64)  # (H, Q)
    n_known, n_exact = known.sum(axis=0), exact.sum(axis=0)
    split = _where_sum(judged.split[pick], exact)
    at_most = _where_sum(side <= 0, exact)
    below = _where_sum(side < 0, exact)
    # The loss of the median is half its distance (and nothing where censoring hides it).
    distance = 2 * loss[:, MEDIAN]

    found: dict[str, float] = {}
    for h, label in enumerate(horizons):
        if not n_known[h]:
            continue
        found[f"mae.{label}"] = float(distance[h] / n_known[h])
        if size[h] > 0:
            found[f"wql.{label}"] = float(2 * loss[h].mean() / size[h])
            for level, part in zip(QUANTILES, loss[h], strict=True):
                found[f"pinball.{level:g}.{label}"] = float(2 * part / size[h])
        if n_exact[h]:
            found[f"over.{label}"] = float(below[h, MEDIAN] / n_exact[h])
            found[f"under.{label}"] = float(1 - at_most[h, MEDIAN] / n_exact[h])
            for j, level in enumerate(QUANTILES):
                found[f"coverage.{level:g}.{label}"] = float(at_most[h, j] / n_exact[h])
    n_all = int(n_exact.sum())
    for name, counts in (
        ("coverage", at_most),
        ("coverage_below", below),
        ("coverage_split", split),
    ):
        for j, level in enumerate(QUANTILES if n_all else ()):
            found[f"{name}.{level:g}"] = float(counts[:, j].sum() / n_all)
    return found


def _where_sum(values: F32 | Bools, where: Bools) -> F64:
    """(H, Q) sums of (S, H, Q) over the targets in `where` (S, H)."""
    result: F64 = np.sum(values * where[..., None], axis=0, dtype=np.float64)
    return result


@dataclass(frozen=True, slots=True)
class Tail:
    """WQL of each VM by itself at one horizon: the 95th percentile, and the worst."""

    p95: float
    worst: tuple[tuple[str, float], ...]
    n_vms: int
    n_idle: int
    """VMs that wanted nothing at all, of which there is no ratio."""


def tail(judged: Judged, horizon: int, vm: Ints, ids: Sequence[str], n_worst: int = 10) -> Tail:
    """`vm` (S,) indexes `ids`."""
    y = judged.observed.y[:, horizon]
    known = np.isfinite(y)
    n = len(ids)
    size = np.bincount(vm, np.where(known, np.abs(y), 0), n)
    loss = np.bincount(vm, judged.loss[:, horizon].mean(axis=-1, dtype=np.float64), n)
    is_seen = np.bincount(vm, known, n) > 0
    wants = is_seen & (size > 0)
    wql = np.divide(2 * loss, size, out=np.zeros(n), where=wants)
    order = [int(i) for i in np.argsort(-wql, kind="stable") if wants[i]][:n_worst]
    return Tail(
        p95=float(np.quantile(wql[wants], 0.95)) if wants.any() else 0.0,
        worst=tuple((ids[i], float(wql[i])) for i in order),
        n_vms=int(wants.sum()),
        n_idle=int((is_seen & ~wants).sum()),
    )


@dataclass(frozen=True, slots=True)
class Decile:
    """Odds between `low` and `low` + .1: what they said on average, what came, of how many."""

    low: float
    n: int
    said: float
    came: float


def peak_reliability(
    peaks: F32,
    observed: F32,
    shard: float,
    rng: np.random.Generator,
    grain: float = 0.0,
    n_draws: int = 4,
) -> list[list[Decile]]:
    """Are the odds of "the peak needs more than k shards" right? A list of deciles each window.

    `peaks` (S, W, Q) quantiles, `observed` (S, W) peaks that came. For each forecast `n_draws`
    thresholds k are drawn from its own range, .05 to .99 quantile, so that the odds are neither
    all 0 nor all 1. What was recorded in steps of `grain` stands for a demand within half a step of
    it: "more than k shards" was seen where it lay beyond the half step above k.
    """
    found = []
    for w in range(peaks.shape[1]):
        rows = np.flatnonzero(np.isfinite(observed[:, w]))
        q, y = peaks[rows, w], observed[rows, w].astype(np.float64)
        said, came = [], []
        for _ in range(n_draws):
            k = quantiles.whole_shards(q, shard, rng.random(len(rows)))
            # A peak of exactly k shards does not need more than k, whatever its last bit says.
            at = k * shard + grain / 2
            at += TOLERANCE * np.maximum(1.0, at)
            said.append(exceedance(q, at))
            came.append(y > at)
        found.append(_deciles(np.concatenate(said), np.concatenate(came)))
    return found


def _deciles(said: F64, came: Bools) -> list[Decile]:
    at = np.minimum((said * N_DECILES).astype(np.intp), N_DECILES - 1)
    n = np.bincount(at, minlength=N_DECILES)
    total_said = np.bincount(at, said, N_DECILES)
    total_came = np.bincount(at, came, N_DECILES)
    return [
        Decile(i / N_DECILES, int(n[i]), float(total_said[i] / n[i]), float(total_came[i] / n[i]))
        for i in range(N_DECILES)
        if n[i]
    ]
