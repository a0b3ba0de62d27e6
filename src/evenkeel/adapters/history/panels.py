"""Rows of history files into one `Panel`."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from evenkeel.adapters.history.columns import column, labels
from evenkeel.domain.arrays import F32, Bools, Ints
from evenkeel.domain.panel import Panel
from evenkeel.domain.resources import Resource
from evenkeel.domain.rollup import CENSORED_SHARE


class PanelBuilder:
    """Takes tables in any order; no two may hold the same slot."""

    def __init__(self, resource: Resource, start_s: int, end_s: int, step_s: int) -> None:
        self._resource = resource
        self._start_s = start_s
        self._step_s = step_s
        self._n_slots = (end_s - start_s) // step_s
        self._index: dict[str, int] = {}
        self._values: F32 = np.empty((0, self._n_slots), np.float32)
        self._held_back: Bools = np.zeros((0, self._n_slots), dtype=bool)
        self._capacity = np.empty(0)
        self._capacity_at = np.empty(0, np.intp)
        self._kinds: dict[int, tuple[int, str]] = {}
        measured = ("demand", "censored", "capacity")
        self._measured = [column(resource, name) for name in measured]
        self.names = ("slot", "vm", "kind", *self._measured)

    def add(self, table: pa.Table, vms: set[str] | None) -> None:
        """All rows, or those of `vms`."""
        if not len(table):
            return
        names, codes = labels(table, "vm")
        kept: Bools = np.array([vms is None or name in vms for name in names], dtype=bool)
        chosen: Bools = kept[codes]
        if not chosen.any():
            return
        rows = np.array(
            [
                self._index.setdefault(name, len(self._index)) if keep else -1
                for name, keep in zip(names, kept.tolist(), strict=True)
            ],
            np.intp,
        )[codes]
        at_ms = table.column("slot").to_numpy().astype("datetime64[ms]").astype(np.int64)
        at: Ints = ((at_ms // 1000 - self._start_s) // self._step_s).astype(np.intp)
        demand, censored, capacity = (
            table.column(name).to_numpy().astype(np.float32)[chosen] for name in self._measured
        )
        self._write(rows[chosen], at[chosen], demand, censored, capacity)
        self._learn_kinds(table, rows, at)

    def _write(self, rows: Ints, at: Ints, demand: F32, censored: F32, capacity: F32) -> None:
        self._make_room()
        self._values[rows, at] = demand
        self._held_back[rows, at] = censored >= CENSORED_SHARE
        known = np.flatnonzero(~np.isnan(capacity))
        known = known[np.argsort(at[known], kind="stable")]
        late = known[at[known] >= self._capacity_at[rows[known]]]
        self._capacity[rows[late]] = capacity[late]
        self._capacity_at[rows[late]] = at[late]

    def _make_room(self) -> None:
        """Rows for all VMs met so far, and some more: a panel of many days is copied rarely."""
        n, room = len(self._index), len(self._values)
        if n <= room:
            return
        more = max(n, room + room // 8) - room
        width = self._n_slots
        self._values = np.concatenate([self._values, np.full((more, width), np.nan, np.float32)])
        self._held_back = np.concatenate([self._held_back, np.zeros((more, width), dtype=bool)])
        self._capacity = np.concatenate([self._capacity, np.full(more, np.nan)])
        self._capacity_at = np.concatenate([self._capacity_at, np.full(more, -1, np.intp)])

    def _learn_kinds(self, table: pa.Table, rows: Ints, at: Ints) -> None:
        """A VM's kind is the one it had last."""
        names, codes = labels(table, "kind")
        newest = np.lexsort((at, rows))
        last = np.append(rows[newest][1:] != rows[newest][:-1], True)
        for k in newest[last].tolist():
            row = int(rows[k])
            if row >= 0 and at[k] >= self._kinds.get(row, (-1, ""))[0]:
                self._kinds[row] = (int(at[k]), names[codes[k]])

    def panel(self) -> Panel:
        n = len(self._index)
        return Panel(
            ids=tuple(self._index),
            values=self._values[:n],
            start_s=float(self._start_s),
            resource=self._resource,
            step_s=float(self._step_s),
            capacity=self._capacity[:n],
            kinds=tuple(self._kinds.get(k, (0, ""))[1] for k in range(n)),
            censored=self._held_back[:n],
        )
