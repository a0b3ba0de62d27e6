"""The last slots of what VMs wanted, as the deciders of a replay remember them: newest last.

Rows are given to VMs when they are first measured and taken back when they are gone, so that a
long replay of many short lives stays small.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from evenkeel.domain.arrays import F32, F64, Bools, Ints
from evenkeel.domain.resources import N_RESOURCES
from evenkeel.sim.replay.policy import Seen

NO_ROW = -1


@dataclass(slots=True, eq=False)
class Window:
    """`n_slots` are remembered; `see` each slot before anything is asked."""

    n_slots: int = 288
    values: F32 = field(default_factory=lambda: np.zeros((0, N_RESOURCES, 0), np.float32))
    row: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.intp))
    """(V,) of each VM in `values`, NO_ROW: it has none."""
    n_seen: int = 0
    _free: list[int] = field(default_factory=list)

    def see(self, seen: Seen) -> None:
        """Take in the slots that are over since it was last called."""
        if not len(self.row):
            self.row = np.full(len(seen.vms.ids), NO_ROW, dtype=np.intp)
            self.values = np.full((0, N_RESOURCES, self.n_slots), np.nan, np.float32)
        while self.n_seen < seen.past.n_slots:
            self._take(seen.past.wanted(self.n_seen))
            self.n_seen += 1
        gone = np.flatnonzero((self.row != NO_ROW) & ~seen.state.there)
        self._free += self.row[gone].tolist()
        self.row[gone] = NO_ROW

    def _take(self, wanted: F64) -> None:
        fresh = np.flatnonzero((self.row == NO_ROW) & np.isfinite(wanted).any(axis=1))
        lacking = len(fresh) - len(self._free)
        if lacking > 0:
            n = len(self.values)
            more = max(lacking, n)
            empty = np.full((more, N_RESOURCES, self.n_slots), np.nan, np.float32)
            self.values = np.concatenate([self.values, empty])
            self._free += range(n + more - 1, n - 1, -1)
        if len(fresh):
            rows = [self._free.pop() for _ in range(len(fresh))]
            self.row[fresh] = rows
            self.values[rows] = np.nan
        who = np.flatnonzero(self.row != NO_ROW)
        self.values[:, :, self.n_seen % self.n_slots] = np.nan
        self.values[self.row[who], :, self.n_seen % self.n_slots] = wanted[who]

    def rows(self) -> Ints:
        """VMs that were measured and are there."""
        return np.flatnonzero(self.row != NO_ROW)

    def is_known(self, vms: Ints) -> Bools:
        """(n,)"""
        return np.asarray(self.row[vms] != NO_ROW)

    def of(self, vms: Ints, axis: int) -> F64:
        """(n, W) demand, the newest last; NaN: not known. W is at least 1."""
        n = min(self.n_seen, self.n_slots)
        order = (np.arange(self.n_seen - n, self.n_seen)) % self.n_slots
        out = np.full((len(vms), max(n, 1)), np.nan)
        known = self.is_known(vms)
        if n:
            out[known] = self.values[self.row[vms[known]], axis][:, order]
        return out

    def most(self, axis: int, unknown: F64) -> F64:
        """(V,) the most that was wanted; `unknown` (V,) where nothing is known."""
        out = unknown.copy()
        who = self.rows()
        if len(who):
            values = self.values[self.row[who], axis]
            seen = np.isfinite(values).any(axis=1)
            out[who[seen]] = np.nanmax(values[seen], axis=1)
        return out
