"""Is a predicted loss what comes? Predictions that wait, what came of them, and the verdict.

A prediction is the map's `predicted` (the mean over the horizon of the loss in material ticks, zero
in the others), so the measurement is taken in the same way: the mean over the ticks of the horizon,
weighted by their length. The prediction is made before the first of these ticks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64, Bools, positions
from evenkeel.domain.ids import VmId
from evenkeel.domain.reliability import (
    CLOSE_POINTS,
    EDGES,
    MIN_SAMPLES,
    N_BINS,
    UNIT,
    BinSums,
    Tally,
)
from evenkeel.domain.resources import AXIS, N_RESOURCES
from evenkeel.domain.sample import HostTick
from evenkeel.interference.contention import SHARDS, ContentionMap

KNOWN_SHARE: Final = 0.8
"""Less of the horizon than this measured: the prediction is not judged."""
_BOUNDS: Final = np.array(EDGES[1:])


def material_loss(tick: HostTick) -> F64:
    """(R, N) share lost where at least a shard is lost, else 0; NaN where it is not known."""
    loss = np.where(np.isnan(tick.demand), np.nan, tick.loss)
    with np.errstate(invalid="ignore"):
        light = loss * tick.demand < SHARDS
    return np.asarray(np.where(light, 0.0, loss).T)


def bins_of(predicted: F64) -> np.ndarray[tuple[int, ...], np.dtype[np.intp]]:
    """The bin of each predicted loss, in the shape given."""
    return np.searchsorted(_BOUNDS, predicted, side="right")


@dataclass(frozen=True, slots=True, eq=False)
class Foretold:
    """A prediction (R, N) for `vms` and what came so far: `lost_s` `known_s` `wanted` (R, N)."""

    vms: tuple[VmId, ...]
    horizon_s: float
    predicted: F64
    lost_s: F64
    known_s: F64
    wanted: Bools
    passed_s: float = 0.0

    @classmethod
    def of(cls, contention: ContentionMap) -> Foretold:
        none = np.zeros_like(contention.predicted)
        vms = tuple(vm.id for vm in contention.vms)
        wanted = np.zeros(none.shape, dtype=np.bool_)
        return cls(vms, contention.horizon_s, contention.predicted, none, none, wanted)

    def then(self, tick: HostTick) -> Foretold:
        """One more tick has passed. A VM that is not in it is not known there."""
        place = positions(self.vms, tuple(vm.id for vm in tick.vms))
        here = place >= 0
        loss = np.full_like(self.predicted, np.nan)
        wants = np.zeros(loss.shape, dtype=np.bool_)
        loss[:, here] = material_loss(tick)[:, place[here]]
        wants[:, here] = (tick.demand[place[here]] >= SHARDS).T
        return replace(
            self,
            lost_s=self.lost_s + np.nan_to_num(loss) * tick.interval_s,
            known_s=self.known_s + ~np.isnan(loss) * tick.interval_s,
            wanted=self.wanted | wants,
            passed_s=self.passed_s + tick.interval_s,
        )

    def is_over(self, tick_s: float) -> bool:
        """Whether the horizon lies behind, to half a tick: ticks are never exactly on time."""
        return self.passed_s >= self.horizon_s - tick_s / 2

    def count(self) -> F64:
        """(4, R, N_BINS): number, sums of predicted, of measured, of squared error.

        Counted are VMs that wanted a shard or more, or were predicted to lose something: of one
        that sleeps and was expected to be left alone there is nothing to learn.
        """
        known = (self.known_s >= KNOWN_SHARE * self.passed_s) & (self.known_s > 0)
        counted = known & ~np.isnan(self.predicted) & (self.wanted | (self.predicted >= EDGES[1]))
        measured = self.lost_s / np.where(known, self.known_s, 1.0)
        where = np.arange(N_RESOURCES)[:, None] * N_BINS + bins_of(np.nan_to_num(self.predicted))
        error = measured - self.predicted
        columns = (np.ones_like(measured), self.predicted, measured, error * error)
        flat = [
            np.bincount(where[counted], each[counted], minlength=N_RESOURCES * N_BINS)
            for each in columns
        ]
        return np.asarray(flat, dtype=np.float64).reshape(4, N_RESOURCES, N_BINS)


def tallies(counts: F64, horizon_s: float) -> tuple[Tally, ...]:
    """Counts (4, R, N_BINS) as they go on the wire: resources and bins without any are left out."""
    out = []
    whole = np.rint(counts[1:] / UNIT).astype(np.int64)
    for r, resource in enumerate(AXIS):
        bins = np.flatnonzero(counts[0, r])
        if len(bins):
            predicted, measured, squared = (tuple(each[r, bins].tolist()) for each in whole)
            out.append(
                Tally(
                    resource=resource,
                    horizon_s=horizon_s,
                    bins=tuple(bins.tolist()),
                    n=tuple(counts[0, r, bins].astype(np.int64).tolist()),
                    predicted=predicted,
                    measured=measured,
                    squared=squared,
                )
            )
    return tuple(out)


@dataclass(frozen=True, slots=True)
class BinVerdict:
    """One bin of the diagram: shares, and in points of loss the gap (measured - predicted).

    `se_points` is the standard error of the gap, minutes of a host taken as independent; None
    with fewer than two.
    """

    lower: float
    upper: float
    n: int
    predicted: float
    measured: float
    gap_points: float
    se_points: float | None
    populated: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """A reliability diagram. `brier` is the mean squared error; `is_close` None: nothing to judge.

    `worst_gap_points` is that of the populated bin furthest off, with its sign.
    """

    bins: tuple[BinVerdict, ...]
    n: int
    brier: float | None
    worst_gap_points: float | None
    is_close: bool | None


def judge(sums: Mapping[int, BinSums]) -> Verdict:
    """The verdict on sums by bin; bins that nothing was predicted in are left out."""
    bins = tuple(_bin(k, sums[k]) for k in sorted(sums) if sums[k].n > 0)
    n = sum(each.n for each in bins)
    gaps = [each.gap_points for each in bins if each.populated]
    worst = max(gaps, key=abs, default=None)
    squared = sum(each.squared for each in sums.values())
    return Verdict(
        bins=bins,
        n=n,
        brier=squared * UNIT / n if n else None,
        worst_gap_points=worst,
        is_close=None if worst is None else abs(worst) <= CLOSE_POINTS,
    )


def _bin(k: int, sums: BinSums) -> BinVerdict:
    points = 100 * UNIT / sums.n
    error = sums.measured - sums.predicted
    return BinVerdict(
        lower=EDGES[k],
        upper=EDGES[k + 1] if k + 1 < N_BINS else 1.0,
        n=int(sums.n),
        predicted=sums.predicted * UNIT / sums.n,
        measured=sums.measured * UNIT / sums.n,
        gap_points=error * points,
        se_points=_standard_error(sums, error / sums.n, points),
        populated=sums.n >= MIN_SAMPLES,
    )


def _standard_error(sums: BinSums, mean: float, points: float) -> float | None:
    """Of the ratio of clustered sums: sqrt(C / (C - 1) * sum over minutes of (E - n mean)^2) / n.

    Liang and Zeger's estimate for clusters, with the usual factor for few of them.
    """
    if sums.n_reports < 2:
        return None
    spread = sums.error_error - 2 * mean * sums.n_error + mean * mean * sums.n_n
    few = sums.n_reports / (sums.n_reports - 1)
    return math.sqrt(max(0.0, spread * few)) * points
