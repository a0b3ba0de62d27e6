"""What is committed of one host at every instant: a step function of time, in integers.

Level k holds for [times[k], times[k+1]), the last one for ever. Per resource a level has four
numbers: shards that are firmly committed, and the three sums that say how much the demand of the
rest is (see `shortfall`). All are integers and only ever added to and subtracted from, so that a
profile depends on the lots in it alone, and not on how they came, went, were split or moved.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from scipy.special import ndtri

from evenkeel.domain.arrays import Ints
from evenkeel.domain.resources import N_RESOURCES, axis_of
from evenkeel.domain.shard import Lot, PerformanceClass
from evenkeel.placement import levels as inner
from evenkeel.placement.fleet import Chance
from evenkeel.placement.levels import DEVIATION, FIRM, MEAN, N_KINDS, VARIANCE

_N_SUMS: Final = N_RESOURCES * N_KINDS


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """`times` (K,) grow from 0 on; `levels` (K, R, 4)."""

    times: Ints
    levels: Ints

    @classmethod
    def of(cls, lots: Iterable[Lot]) -> Profile:
        """From nothing, in one sweep."""
        times, amounts = pieces_of(lots)
        if not len(times):
            return EMPTY
        edges = np.unique(np.append(times, 0))
        steps = np.zeros((len(edges), N_RESOURCES, N_KINDS), dtype=np.intp)
        np.add.at(steps, np.searchsorted(edges, times[:, 0]), amounts)
        np.subtract.at(steps, np.searchsorted(edges, times[:, 1]), amounts)
        levels = steps.cumsum(axis=0)
        differs = np.append(True, (levels[1:] != levels[:-1]).any(axis=(1, 2)))
        return cls(edges[differs], levels[differs])

    def changed(self, added: Iterable[Lot] = (), removed: Iterable[Lot] = ()) -> Profile:
        """With some lots more and others less; the latter must be in it."""
        profile = self
        for sign, lots in ((1, added), (-1, removed)):
            times, amounts = pieces_of(lots)
            if len(times):
                edges = np.sort(times, axis=None)
                profile = Profile(
                    *inner.with_pieces(profile.times, profile.levels, edges, times, sign * amounts)
                )
        return profile

    def forgotten(self, before_s: int) -> Profile:
        """Without what ended by then; earlier instants are no longer told apart."""
        first = int(self.times.searchsorted(before_s, "right")) - 1
        if first <= 0:
            return self
        times = self.times[first:].copy()
        times[0] = 0
        return Profile(times, self.levels[first:])

    def rows(self, start_s: int, end_s: int) -> slice:
        """The levels that hold somewhere in [start_s, end_s)."""
        first = int(self.times.searchsorted(start_s, "right")) - 1
        return slice(first, int(self.times.searchsorted(end_s, "left")))

    def at(self, at_s: int) -> Ints:
        """(R, 4)"""
        return np.asarray(self.levels[int(self.times.searchsorted(at_s, "right")) - 1])

    def until(self, k: int) -> int | None:
        """When level k ends."""
        return int(self.times[k + 1]) if k + 1 < len(self.times) else None


EMPTY: Final = Profile(
    np.zeros(1, dtype=np.intp), np.zeros((1, N_RESOURCES, N_KINDS), dtype=np.intp)
)


def pieces_of(lots: Iterable[Lot]) -> tuple[Ints, Ints]:
    """What lots commit, by interval: (P, 2) start and end, (P, R, 4); best-effort ones nothing."""
    sums: dict[tuple[int, int], list[int]] = {}
    for lot in lots:
        if lot.performance is PerformanceClass.BEST_EFFORT:
            continue
        first = axis_of(lot.resource) * N_KINDS
        if lot.performance is PerformanceClass.PINNED or not lot.demand:
            _of_interval(sums, lot.start_s, lot.end_s)[first + FIRM] += lot.n_shards
            continue
        starts = [lot.start_s, *(max(d.from_s, lot.start_s) for d in lot.demand[1:])]
        ends = [*(min(at, lot.end_s) for at in starts[1:]), lot.end_s]
        for demand, start_s, end_s in zip(lot.demand, starts, ends, strict=True):
            if start_s < end_s:
                amount = _of_interval(sums, start_s, end_s)
                amount[first + MEAN] += demand.mean
                amount[first + VARIANCE] += demand.variance
                amount[first + DEVIATION] += demand.deviation
    times = np.array(list(sums), dtype=np.intp).reshape(-1, 2)
    amounts = np.array(list(sums.values()), dtype=np.intp)
    return times, amounts.reshape(-1, N_RESOURCES, N_KINDS)


def _of_interval(sums: dict[tuple[int, int], list[int]], start_s: int, end_s: int) -> list[int]:
    found = sums.get((start_s, end_s))
    if found is None:
        found = sums[start_s, end_s] = [0] * _N_SUMS
    return found


def committed(levels: Ints, chance: Chance) -> Ints:
    """(K, R) thousandths of shards that have to be there: what is firm, and on top what the others
    need but for the accepted risk, and never less than they want on average."""
    return inner.committed(levels, chance.correlation, quantile(chance.epsilon))


def fits(levels: Ints, capacity: Ints, chance: Chance) -> bool:
    """No level commits more than `capacity` (R,) shards."""
    return inner.fits(levels, capacity, chance.correlation, quantile(chance.epsilon))


@lru_cache(maxsize=64)
def quantile(epsilon: float) -> float:
    """A standard normal is above it with that probability."""
    return float(ndtri(1.0 - epsilon))
