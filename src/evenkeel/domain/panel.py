"""Demand histories of many VMs on one time grid, and what is known about them beforehand.

The fixed layout behind forecasting: one row a series (one resource of one VM), one column a slot.
Readers of traces and of telemetry make panels; forecasters take them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np

from evenkeel.domain.arrays import F32, F64, Bools, Ints
from evenkeel.domain.errors import ConfigInvalid
from evenkeel.domain.resources import Resource

SLOT_S: Final = 300.0
DAY_S: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Event:
    """A stretch of time that is known beforehand to be special: a sale, a release, a batch run."""

    start_s: float
    end_s: float
    name: str = ""


@dataclass(frozen=True, slots=True)
class Calendar:
    """Outside factors that are known ahead: local time, holidays, events."""

    time_zone: str = "UTC"
    holidays: frozenset[date] = frozenset()
    events: tuple[Event, ...] = ()

    def __post_init__(self) -> None:
        _zone(self.time_zone)

    @property
    def zone(self) -> ZoneInfo:
        return _zone(self.time_zone)

    def at(self, when_s: F64) -> CalendarRows:
        """Local calendar facts at UTC instants `when_s` (T,)."""
        # The offset changes at whole hours or rarer, so it is asked once for each hour.
        hours, back = np.unique(np.floor(when_s / 3600), return_inverse=True)
        zone = self.zone
        local = [datetime.fromtimestamp(h * 3600, UTC).astimezone(zone) for h in hours.tolist()]
        offset_s = np.array([(t.utcoffset() or timedelta()).total_seconds() for t in local])
        day_off = np.array([t.date() in self.holidays for t in local], dtype=bool)
        local_s = when_s + offset_s[back]
        in_event = np.zeros(len(when_s), dtype=bool)
        for event in self.events:
            in_event |= (when_s >= event.start_s) & (when_s < event.end_s)
        return CalendarRows(
            hour=local_s % DAY_S / 3600,
            weekday=((local_s // DAY_S).astype(np.intp) + 3) % 7,  # 1970-01-01 was a Thursday
            is_holiday=day_off[back],
            is_event=in_event,
        )


@dataclass(frozen=True, slots=True, eq=False)
class CalendarRows:
    """Columns of (T,): `hour` in [0, 24) local, `weekday` 0 = Monday, two flags."""

    hour: F64
    weekday: Ints
    is_holiday: Bools
    is_event: Bools


@dataclass(frozen=True, slots=True, eq=False)
class Kin:
    """What the VMs of each kind did lately, as shares of their capacity where that is known.

    One entry a kind, `row_of` says which: `quantiles` (K, Q) of the last day (NaN: nothing known),
    the number of VMs, and the means over them of the last value, the last hour and the last day.
    """

    row_of: Mapping[str, int]
    quantiles: F32
    n_vms: F64
    last: F64
    hour: F64
    day: F64


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """Demand of N series over T slots: `values` (N, T) in the resource's unit, NaN = not known.

    `values[:, t]` is the mean demand over `[start_s + t * step_s, ... + step_s)`. `censored` (N, T)
    marks slots in which the VM was held back, so that its demand was at least the value.
    `capacity` (N,) is what the VM may use at most, NaN when not known. `kinds[i]` says what VM i
    has in common with others (workload type, tenant, image, flavour), "" when nothing is known.
    `kin` is set where these series are a part of a fleet: what all of it did, up to `end_s`.
    """

    ids: tuple[str, ...]
    values: F32
    start_s: float
    resource: Resource
    step_s: float = SLOT_S
    capacity: F64 = field(default_factory=lambda: np.empty(0))
    kinds: tuple[str, ...] = ()
    censored: Bools | None = None
    calendar: Calendar = field(default_factory=Calendar)
    kin: Kin | None = None

    def __post_init__(self) -> None:
        n = len(self.ids)
        if self.values.ndim != 2 or self.values.shape[0] != n:
            raise ValueError(f"values must be ({n}, T), not {self.values.shape}")
        if not self.step_s > 0:
            raise ValueError("step_s must be positive")
        if self.censored is not None and self.censored.shape != self.values.shape:
            raise ValueError("censored must have the shape of values")
        if not len(self.capacity):
            object.__setattr__(self, "capacity", np.full(n, np.nan))
        if not self.kinds:
            object.__setattr__(self, "kinds", ("",) * n)
        if len(self.capacity) != n or len(self.kinds) != n:
            raise ValueError("capacity and kinds need one entry a series")

    @property
    def n_series(self) -> int:
        return len(self.values)

    @property
    def n_slots(self) -> int:
        return int(self.values.shape[1])

    @property
    def end_s(self) -> float:
        """Where the last slot ends: the origin of a forecast from this panel."""
        return self.start_s + self.n_slots * self.step_s

    def until(self, slot: int) -> Panel:
        """What was known when slot `slot` began: its columns are views, nothing is copied."""
        return self.between(0, slot)

    def between(self, first: int, last: int) -> Panel:
        """Slots [first, last)."""
        return replace(
            self,
            values=self.values[:, first:last],
            censored=None if self.censored is None else self.censored[:, first:last],
            start_s=self.start_s + first * self.step_s,
            kin=None,
        )

    def only(self, rows: Ints | Bools) -> Panel:
        """The chosen series, in the order given (indices) or kept (mask)."""
        index = np.arange(self.n_series)[rows]
        return replace(
            self,
            ids=tuple(self.ids[i] for i in index),
            values=self.values[index],
            censored=None if self.censored is None else self.censored[index],
            capacity=self.capacity[index],
            kinds=tuple(self.kinds[i] for i in index),
        )


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ConfigInvalid(
            f"unknown time zone {name!r}", hint="Use an IANA name such as Europe/Berlin or UTC."
        ) from error
