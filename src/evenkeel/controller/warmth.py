"""Recent demand of a whole fleet, held ready: each pass reads only what is new at the source.

What forecasts see is what a plain read of the source would give for the VMs that are there, but
for the rounding of `WarmHistory`, and for kinds and capacities, which are those of the last
quarter of an hour. Level-triggered: whatever slot of the window is not held as the source has it
now is read (again), so that a first start, an outage, late batches and a clock that jumped
are the same to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from evenkeel.domain.arrays import Bools, Ints
from evenkeel.domain.panel import DAY_S, Calendar, Kin, Panel
from evenkeel.domain.resources import Resource
from evenkeel.forecast.base import FittedForecaster, Forecast, Targets
from evenkeel.forecast.empirical import Empirical
from evenkeel.forecast.fleet import forecast_fleet, slices
from evenkeel.forecast.kin import DAY, kin_of
from evenkeel.forecast.tracker import Tracker
from evenkeel.forecast.warm import WarmHistory
from evenkeel.forecast.workers import Workers
from evenkeel.ports_history import PanelSource

PRESENT_SLOTS: Final = 3
PRESENT_S: Final = 900.0
"""A VM of which nothing was known for this long is not forecast any more. It is read anew with
each pass, so that a source that cannot tell what changed may be late by as much."""
NEAR_SLOTS: Final = 12

Stamps = Callable[[int, int], Mapping[int, float]]
"""`History.slots`: which slots of [start_s, end_s) are kept, and a number that tells versions."""


@dataclass(frozen=True, slots=True, eq=False)
class WarmFleet:
    """The VMs that are there now. `recent` is their panel of the last slots, as it was read."""

    recent: Panel
    kin: Kin | None
    _history: WarmHistory
    _rows: Ints

    def panel(self, some: slice | Ints, n_slots: int | None = None) -> Panel:
        """The past of some VMs up to now; all slots that are held, or the last `n_slots`."""
        width = min(n_slots or self._history.n_slots, self._history.n_slots)
        recent = self.recent
        chosen = np.arange(recent.n_series)[some]
        end = round(recent.end_s / recent.step_s)
        values, censored = self._history.read(self._rows[chosen], end - width, width)
        return Panel(
            ids=tuple(recent.ids[i] for i in chosen),
            values=values,
            start_s=(end - width) * recent.step_s,
            resource=recent.resource,
            step_s=recent.step_s,
            capacity=recent.capacity[chosen],
            kinds=tuple(recent.kinds[i] for i in chosen),
            censored=censored,
            calendar=recent.calendar,
            kin=self.kin,
        )

    def part(self, some: slice) -> WarmFleet:
        """Some VMs alone: what is sent to where they are forecast."""
        chosen = np.arange(self.recent.n_series)[some]
        rows = np.arange(len(chosen))
        return WarmFleet(
            self.recent.only(chosen), self.kin, self._history.part(self._rows[chosen]), rows
        )

    def whole(self) -> Panel:
        """The past of all VMs, all that is held."""
        return self.panel(slice(None))

    def forecast(
        self, fitted: FittedForecaster, targets: Targets, workers: Workers, tracker: Tracker
    ) -> tuple[Forecast, Forecast]:
        """What a model says, and that as calibrated by all that came true of its forecasts.

        Raises ValueError when the model breaks its contract, and what `workers` do.
        """
        vms = tracker.vms
        followed = [i for i, vm in enumerate(self.recent.ids) if vm in vms]
        tracker.learn(self.panel(np.array(followed, dtype=np.intp)))
        pieces = (self.part(some).whole for some in slices(self.recent.n_series))
        return forecast_fleet(fitted, pieces, targets, workers, tracker.calibration)

    def built_in(self, targets: Targets) -> FittedForecaster:
        """The forecaster that is always there; those VMs that are new learn from these of today."""
        built_in = Empirical()
        window = max(1, round(built_in.window_s / self.recent.step_s))
        return built_in.fit([self.panel(slice(None), window)], targets, seed=0)


class WarmPanels:
    """One resource of a fleet. One thread at a time.

    Parameters
    ----------
    n_slots : how much history is held
    stamps : tells which slots changed; None where the source does not know. Then what came
        later than `PRESENT_S` is missed, except for the past of a VM that was not known before.
    """

    def __init__(
        self,
        source: PanelSource,
        resource: Resource,
        step_s: int,
        n_slots: int,
        calendar: Calendar,
        stamps: Stamps | None = None,
    ) -> None:
        self._source = source
        self._resource = resource
        self._step_s = step_s
        self._calendar = calendar
        self._stamps = stamps
        self._history = WarmHistory(n_slots)
        self._taken: dict[int, float | None] = {}
        self._row_of: dict[str, int] = {}
        self._free: list[int] = []
        self._seen = np.empty(0, dtype=np.intp)

    def advance(self, end_s: int) -> WarmFleet:
        """Up to `end_s`, a multiple of the slot. Raises what the source raises; then what was read
        already is kept.
        """
        end = end_s // self._step_s
        first = end - self._history.n_slots
        recent_first = max(first, end - max(PRESENT_SLOTS, int(PRESENT_S // self._step_s)))
        self._taken = {slot: at for slot, at in self._taken.items() if first <= slot < end}
        stamps = self._stamped(first, end)
        stale = [
            slot
            for slot in range(first, recent_first)
            if slot not in self._taken or self._taken[slot] != stamps.get(slot)
        ]
        for run in _runs(stale, max(1, int(DAY_S // self._step_s))):
            self._read(run, stamps)
        known_before = set(self._row_of)
        recent = self._read(range(recent_first, end), stamps)
        if self._stamps is None and len(stale) < recent_first - first:
            self._read_past(set(self._row_of) - known_before, first, recent_first)
        self._forget(first, end)
        return self._fleet(recent)

    def _stamped(self, first: int, end: int) -> Mapping[int, float | None]:
        if self._stamps is None:
            return dict.fromkeys(range(first, end), 0.0)
        step_s = self._step_s
        return {s // step_s: at for s, at in self._stamps(first * step_s, end * step_s).items()}

    def _read(self, slots: range, stamps: Mapping[int, float | None]) -> Panel:
        """Hold these slots as the source has them now."""
        panel = self._ask(slots)
        self._history.clear(slots.start, len(slots))
        self._take(panel)
        self._taken |= {slot: stamps.get(slot) for slot in slots}
        return panel

    def _read_past(self, vms: set[str], first: int, end: int) -> None:
        if vms:
            self._take(self._ask(range(first, end), vms))

    def _ask(self, slots: range, vms: set[str] | None = None) -> Panel:
        step_s = self._step_s
        return self._source.panel(self._resource, slots.start * step_s, slots.stop * step_s, vms)

    def _take(self, panel: Panel) -> None:
        known: Bools = panel.values >= 0
        some = np.flatnonzero(known.any(axis=1))
        if len(some) < panel.n_series:
            panel, known = panel.only(some), known[some]
        rows = self._rows(panel.ids)
        first = round(panel.start_s / panel.step_s)
        self._history.write(rows, first, panel.values, panel.censored)
        if len(rows):
            newest = first + panel.n_slots - 1 - np.argmax(known[:, ::-1], axis=1)
            self._seen[rows] = np.maximum(self._seen[rows], newest)

    def _rows(self, vms: Sequence[str]) -> Ints:
        for vm in vms:
            if vm not in self._row_of:
                # Where no row is free, those of VMs are all there are.
                self._row_of[vm] = self._free.pop() if self._free else len(self._row_of)
        n_rows = len(self._row_of) + len(self._free)
        self._history.reserve(n_rows)
        self._seen = np.append(self._seen, np.full(n_rows - len(self._seen), -1, np.intp))
        return np.array([self._row_of[vm] for vm in vms], dtype=np.intp)

    def _forget(self, first: int, end: int) -> None:
        """Rows of VMs of which nothing is known since `first` are free; nothing is in them."""
        self._seen = np.minimum(self._seen, end - 1)  # the clock may have gone back
        gone: Bools = self._seen < first
        if gone.sum() > len(self._free):
            for vm, row in [(vm, row) for vm, row in self._row_of.items() if gone[row]]:
                del self._row_of[vm]
                self._free.append(row)
                self._seen[row] = -1

    def _fleet(self, recent: Panel) -> WarmFleet:
        present = np.flatnonzero((recent.values >= 0).any(axis=1))
        recent = replace(recent.only(present), calendar=self._calendar)
        rows = self._rows(recent.ids)
        bare = WarmFleet(recent, None, self._history, rows)
        kin = kin_of(bare.panel(some, DAY) for some in slices(len(rows)))
        return replace(bare, kin=kin)


def _runs(slots: Sequence[int], longest: int) -> Iterator[range]:
    """The slots in ascending stretches. Near ones are joined: a few slots cost less than a read."""
    start = 0
    for i in range(1, len(slots) + 1):
        if (
            i == len(slots)
            or slots[i] - slots[i - 1] > NEAR_SLOTS
            or slots[i] - slots[start] >= longest
        ):
            yield range(slots[start], slots[i - 1] + 1)
            start = i
