"""What is committed of one host at every instant: a step function of time, in integers.

Level k holds for [times[k], times[k+1]), the last one for ever. Per resource a level has four
numbers: shards that are firmly committed, and the three sums that say how much the demand of the
rest is (see `shortfall`). All are integers and only ever added to and subtracted from, so that a
profile depends on the lots in it alone, and not on how they came, went, were split or moved.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from evenkeel.domain.arrays import F64, Bools, Ints
from evenkeel.domain.resources import N_RESOURCES, axis_of
from evenkeel.domain.shard import MILLI, Lot, PerformanceClass
from evenkeel.placement.fleet import Chance
from evenkeel.placement.shortfall import Totals, needed

FIRM, MEAN, VARIANCE, DEVIATION = range(4)
N_KINDS: Final = 4


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Commits `amount` (R, 4) for [start_s, end_s)."""

    start_s: int
    end_s: int
    amount: Ints


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """`times` (K,) grow from 0 on; `levels` (K, R, 4)."""

    times: Ints
    levels: Ints

    @classmethod
    def of(cls, lots: Iterable[Lot]) -> Profile:
        """From nothing, in one sweep."""
        pieces = pieces_of(lots)
        if not pieces:
            return EMPTY
        edges = np.array([(p.start_s, p.end_s) for p in pieces], dtype=np.intp)
        amounts = np.stack([p.amount for p in pieces])
        times = np.unique(np.append(edges, 0))
        steps = np.zeros((len(times), N_RESOURCES, N_KINDS), dtype=np.intp)
        np.add.at(steps, np.searchsorted(times, edges[:, 0]), amounts)
        np.subtract.at(steps, np.searchsorted(times, edges[:, 1]), amounts)
        return _merged(times, steps.cumsum(axis=0))

    def changed(self, added: Iterable[Lot] = (), removed: Iterable[Lot] = ()) -> Profile:
        """With some lots more and others less; the latter must be in it."""
        more, less = pieces_of(added), pieces_of(removed)
        if not more and not less:
            return self
        edges = {at for piece in (*more, *less) for at in (piece.start_s, piece.end_s)}
        times = np.union1d(self.times, np.array(sorted(edges), dtype=np.intp))
        levels = self.levels[self.times.searchsorted(times, "right") - 1]
        for sign, pieces in ((1, more), (-1, less)):
            for piece in pieces:
                first, end = times.searchsorted((piece.start_s, piece.end_s))
                levels[first:end] += sign * piece.amount
        return _merged(times, levels)

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


def pieces_of(lots: Iterable[Lot]) -> list[Piece]:
    """What lots commit: one piece per interval, best-effort ones nothing."""
    sums: dict[tuple[int, int], Any] = {}
    for lot in lots:
        if lot.performance is PerformanceClass.BEST_EFFORT:
            continue
        axis = axis_of(lot.resource)
        if lot.performance is PerformanceClass.PINNED or not lot.demand:
            _of_interval(sums, lot.start_s, lot.end_s)[axis, FIRM] += lot.n_shards
            continue
        starts = [lot.start_s, *(max(d.from_s, lot.start_s) for d in lot.demand[1:])]
        ends = [*(min(at, lot.end_s) for at in starts[1:]), lot.end_s]
        for demand, start_s, end_s in zip(lot.demand, starts, ends, strict=True):
            if start_s < end_s:
                wanted = (demand.mean, demand.variance, demand.deviation)
                _of_interval(sums, start_s, end_s)[axis, MEAN:] += wanted
    return [Piece(start_s, end_s, amount) for (start_s, end_s), amount in sums.items()]


def _of_interval(sums: dict[tuple[int, int], Any], start_s: int, end_s: int) -> Any:
    found = sums.get((start_s, end_s))
    if found is None:
        found = sums[start_s, end_s] = np.zeros((N_RESOURCES, N_KINDS), dtype=np.intp)
    return found


def committed(levels: Ints, chance: Chance) -> Ints:
    """(..., R) thousandths of shards that have to be there: what is firm, and on top what the
    others need but for the accepted risk, and never less than they want on average."""
    out = np.asarray(levels[..., FIRM] * MILLI)
    if not levels[..., MEAN].any():
        return out
    soft: F64 = levels[..., MEAN:].astype(np.float64)
    totals = Totals(soft[..., 0], soft[..., 1], soft[..., 2])
    need = needed(totals, chance.correlation, chance.epsilon)
    return np.asarray(out + np.ceil(need).astype(np.intp))


def _merged(times: Ints, levels: Ints) -> Profile:
    """Neighbours that are alike as one."""
    differs: Bools = np.empty(len(times), dtype=np.bool_)
    differs[0] = True
    np.any(levels[1:] != levels[:-1], axis=(1, 2), out=differs[1:])
    if differs.all():
        return Profile(times, levels)
    return Profile(times[differs], levels[differs])
