"""A recorded stretch of demand, and what was known of it at each of its moments.

Readers of traces make these; the backtest walks along them. A panel has one capacity a series; a
trace also remembers how it changed, so that a resize is not known before it happens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from evenkeel.domain.arrays import F32
from evenkeel.domain.panel import Panel


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """`panel` with `capacities` (N, T): what was last known of the capacity when a slot ended.

    None when the capacity never changes. `panel.capacity` is the last known of all. `grain`: the
    steps in which demand was recorded (whole percents, say), in the panel's unit; 0: fine ones.
    """

    label: str
    panel: Panel
    capacities: F32 | None = None
    grain: float = 0.0

    def known_at(self, slot: int, n_slots: int | None = None) -> Panel:
        """What was known when slot `slot` began, at most its last `n_slots` slots."""
        first = 0 if n_slots is None else max(0, slot - n_slots)
        panel = self.panel.between(first, slot)
        if self.capacities is None or slot == 0:
            return panel
        return replace(panel, capacity=self.capacities[:, slot - 1].astype(np.float64))


@dataclass(frozen=True, slots=True)
class Reading:
    """Traces of a reader, and how many samples had which flaw."""

    traces: tuple[Trace, ...]
    flaws: Mapping[str, int] = field(default_factory=dict)


def joined(earlier: Trace, later: Trace) -> Trace:
    """Both on one grid, all series of either; where both know a value, `later`'s.

    Raises ValueError when their slots do not fall on one another.
    """
    a, b = earlier.panel, later.panel
    step_s = a.step_s
    offset = (b.start_s - a.start_s) / step_s
    if step_s != b.step_s or offset != round(offset) or a.resource != b.resource:
        raise ValueError("these traces are not on one grid")
    start_s = min(a.start_s, b.start_s)
    n_slots = round((max(a.end_s, b.end_s) - start_s) / step_s)
    ids = tuple(dict.fromkeys(a.ids + b.ids))
    row = {vm: i for i, vm in enumerate(ids)}
    values = np.full((len(ids), n_slots), np.nan, dtype=np.float32)
    capacities = np.full_like(values, np.nan)
    kinds = [""] * len(ids)
    for trace in (earlier, later):
        panel = trace.panel
        rows = np.array([row[vm] for vm in panel.ids], dtype=np.intp)
        first = round((panel.start_s - start_s) / step_s)
        slots = slice(first, first + panel.n_slots)
        known = trace.capacities
        if known is None:
            known = np.repeat(panel.capacity.astype(np.float32)[:, None], panel.n_slots, axis=1)
        for into, part in ((values, panel.values), (capacities, known)):
            into[rows, slots] = np.where(np.isnan(part), into[rows, slots], part)
        for i, kind in zip(rows, panel.kinds, strict=True):
            kinds[i] = kind or kinds[i]
    capacities = carried_forward(capacities)
    panel = replace(
        b,
        ids=ids,
        values=values,
        start_s=start_s,
        capacity=capacities[:, -1].astype(np.float64),
        kinds=tuple(kinds),
        censored=None,
    )
    return Trace(later.label, panel, capacities, max(earlier.grain, later.grain))


def carried_forward(values: F32) -> F32:
    """Each NaN of (N, T) replaced by the last known value before it, if there is one."""
    index = np.where(np.isfinite(values), np.arange(values.shape[1]), 0)
    np.maximum.accumulate(index, axis=1, out=index)
    return np.take_along_axis(values, index, axis=1)
