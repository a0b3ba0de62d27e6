"""The capacity calendar: what of every host is promised, from when to when, and what still fits.

A change is a set of lots that come and lots that go, on any number of hosts; it is taken whole or
refused with the first host, resource and slot that stand in the way. At no instant more is firmly
committed than a host has; on top of that, what the shared lots with a forecast want may pass what
is left with a probability of at most epsilon. What does not make a host any fuller is never
refused, so that one that lost capacity can be emptied step by step.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from evenkeel.domain.arrays import Bools, Ints
from evenkeel.domain.claim import Obstacle
from evenkeel.domain.ids import HostId
from evenkeel.domain.resources import AXIS, SPECS, Resource, axis_of
from evenkeel.domain.shard import MAX_SHARDS, MILLI, Lot, PerformanceClass
from evenkeel.placement.fleet import Chance
from evenkeel.placement.profile import EMPTY, Profile, committed, fits

UNKNOWN: Final = -1
_ROUNDING: Final = 1e-9


def capacity_shards(capacity: Mapping[Resource, float | None]) -> Ints:
    """(R,) whole shards of what a host has; `UNKNOWN` where nobody knows."""
    out = np.full(len(AXIS), UNKNOWN, dtype=np.intp)
    for resource, amount in capacity.items():
        if amount is not None and 0 <= amount < np.inf:
            shards = amount / SPECS[resource].shard * (1 + _ROUNDING)
            out[axis_of(resource)] = min(int(shards), MAX_SHARDS)
    return out


@dataclass(frozen=True, slots=True, eq=False)
class Book:
    """One host: `capacity` (R,) in shards, and what of it is committed."""

    capacity: Ints
    profile: Profile = EMPTY


@dataclass(frozen=True, slots=True)
class Lots:
    """Lots that come to a host and lots that go from it."""

    added: tuple[Lot, ...] = ()
    removed: tuple[Lot, ...] = ()


class Calendar:
    """The books of hosts. Not thread-safe: it has one keeper.

    Parameters
    ----------
    chance : the accepted risk, and the correlation of demands by resource
    """

    def __init__(self, chance: Chance) -> None:
        self.chance = chance
        self._books: dict[HostId, Book] = {}

    def __contains__(self, host: HostId) -> bool:
        return host in self._books

    def book(self, host: HostId) -> Book:
        """Raises KeyError."""
        return self._books[host]

    def open(self, host: HostId, capacity: Ints, lots: Iterable[Lot] = ()) -> None:
        """Begin a host's book, or begin it anew."""
        self._books[host] = Book(capacity, Profile.of(lots))

    def resize(self, host: HostId, capacity: Ints) -> None:
        """The host has other capacity now; what is promised stays promised."""
        self._books[host] = replace(self._books[host], capacity=capacity)

    def close(self, host: HostId) -> None:
        self._books.pop(host, None)

    def forget(self, host: HostId, before_s: int) -> None:
        """Whatever ended by then."""
        book = self._books[host]
        self._books[host] = replace(book, profile=book.profile.forgotten(before_s))

    def change(self, changes: Mapping[HostId, Lots], horizon_s: int) -> Obstacle | None:
        """Do all of it, or nothing and say what stands in the way.

        The hosts' books must be open. `horizon_s`: what would fit later is looked for till then.
        """
        after: dict[HostId, Book] = {}
        for host, lots in changes.items():
            book = self._books[host]
            changed = replace(book, profile=book.profile.changed(lots.added, lots.removed))
            obstacle = self._obstacle(host, book, changed, lots, horizon_s)
            if obstacle is not None:
                return obstacle
            after[host] = changed
        self._books |= after
        return None

    def free(self, hosts: Sequence[HostId], start_s: int, end_s: int) -> Ints:
        """(H, R) whole shards that stay free throughout [start_s, end_s); `UNKNOWN` likewise."""
        books = [self._books[host] for host in hosts]
        if not books:
            return np.empty((0, len(AXIS)), dtype=np.intp)
        parts = [book.profile.levels[book.profile.rows(start_s, end_s)] for book in books]
        first = np.cumsum([0, *(len(part) for part in parts[:-1])])
        most = np.maximum.reduceat(committed(np.concatenate(parts), self.chance), first)
        capacity = np.stack([book.capacity for book in books])
        left = np.maximum(capacity * MILLI - most, 0) // MILLI
        return np.asarray(np.where(capacity == UNKNOWN, UNKNOWN, left))

    def _obstacle(
        self, host: HostId, before: Book, after: Book, lots: Lots, horizon_s: int
    ) -> Obstacle | None:
        """The first slot in which the host is fuller than before and than it may be."""
        firm = [lot for lot in lots.added if lot.performance is not PerformanceClass.BEST_EFFORT]
        if not firm:
            return None
        start_s, end_s = min(lot.start_s for lot in firm), max(lot.end_s for lot in firm)
        rows = after.profile.rows(start_s, end_s)
        if fits(after.profile.levels[rows], after.capacity, self.chance):
            return None
        need = committed(after.profile.levels[rows], self.chance)
        over = need > np.maximum(after.capacity, 0) * MILLI
        at = np.maximum(after.profile.times[rows], start_s)
        over &= need > _least(before.profile, np.append(at, end_s), self.chance)
        if not over.any():
            return None
        k, axis = (int(i) for i in np.argwhere(over)[0])
        base = replace(before, profile=before.profile.changed(removed=lots.removed))
        asked = [lot for lot in firm if axis_of(lot.resource) == axis]
        lot = max(asked or firm, key=lambda lot: lot.n_shards)
        slot_end_s = after.profile.until(rows.start + k) or end_s
        return Obstacle(
            host=host,
            resource=AXIS[axis],
            slot_start_s=int(at[k]),
            slot_end_s=min(slot_end_s, end_s),
            asked=sum(a.n_shards for a in asked if a.start_s <= at[k] < a.end_s) or lot.n_shards,
            free=int(self._free(base, axis, int(at[k]), int(at[k]) + 1).min()),
            fits=int(self._free(base, axis, lot.start_s, lot.end_s).min()),
            from_s=self._fits_from(base, axis, lot, horizon_s),
        )

    def _free(self, book: Book, axis: int, start_s: int, end_s: int) -> Ints:
        """(k,) whole shards that are free in each level of [start_s, end_s)."""
        levels = book.profile.levels[book.profile.rows(start_s, end_s)]
        left = int(book.capacity[axis]) * MILLI - committed(levels, self.chance)[:, axis]
        return np.asarray(np.maximum(left, 0) // MILLI)

    def _fits_from(self, book: Book, axis: int, lot: Lot, horizon_s: int) -> int | None:
        """The earliest start from which the lot fits for as long as it is asked for."""
        span_s = lot.end_s - lot.start_s
        if lot.n_shards > book.capacity[axis] or lot.start_s + span_s > horizon_s:
            return None
        rows = book.profile.rows(lot.start_s, max(horizon_s, lot.start_s + 1))
        left = self._free(book, axis, lot.start_s, max(horizon_s, lot.start_s + 1))
        full: Bools = left < lot.n_shards
        starts = np.maximum(book.profile.times[rows], lot.start_s)
        ends = np.append(starts[1:], horizon_s)
        # A stretch may begin where a full level ends, and reaches to the next full one.
        begins = np.concatenate([[lot.start_s], ends[full]])
        stops = np.concatenate([starts[full], [horizon_s]])
        long_enough = np.flatnonzero(stops - begins >= span_s)
        return int(begins[long_enough[0]]) if len(long_enough) else None


def _least(profile: Profile, edges: Ints, chance: Chance) -> Ints:
    """(k, R) the least that is committed in each of the k stretches between edges.

    Where slots that differed have become one, it is fuller if it is fuller than any of them was.
    """
    need = committed(profile.levels, chance)
    parts = (profile.rows(int(a), int(b)) for a, b in itertools.pairwise(edges))
    return np.stack([need[part].min(axis=0) for part in parts])
