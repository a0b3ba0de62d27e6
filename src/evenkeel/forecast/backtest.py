"""Rolling origins: fit on the past, then walk along a trace and forecast from every origin.

At an origin a model gets the panel as it was known then, and nothing else. What came after is
gathered here, once for all models, so that every model is judged on the same targets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from evenkeel.domain.arrays import F32, F64, Bools, Ints
from evenkeel.domain.panel import Panel
from evenkeel.domain.resources import SPECS
from evenkeel.domain.trace import Trace
from evenkeel.forecast.base import N_QUANTILES, Forecaster, Targets
from evenkeel.forecast.metrics import Observed
from evenkeel.forecast.statistical.empirical import window_peaks
from evenkeel.forecast.tracker import Tracker

ACTIVE_SHARE = 0.01
"""A VM is active when its mean demand in the history is above this share of its capacity."""

Clock = Callable[[], float]
Profiles = Callable[[Panel], Sequence[str]]
"""Label of every series' behaviour, "" for none, from what is known at an origin."""


@dataclass(frozen=True, slots=True)
class Course:
    """A trace to walk along: origins are the slots `first`, `first + every`, ... before `end`."""

    trace: Trace
    first: int
    every: int
    history: int
    """Most slots of history a model gets."""
    end: int | None = None
    """Targets lie before this slot; None: the end of the trace."""

    def origins(self, targets: Targets) -> range:
        """Those with at least the nearest target inside."""
        return range(self.first, self.last_slot - min(targets.horizons) + 1, self.every)

    @property
    def last_slot(self) -> int:
        n_slots = self.trace.panel.n_slots
        return n_slots if self.end is None else min(self.end, n_slots)


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """What all models are judged on. S rows, each a series at an origin of a course.

    A series counts from its first known sample on; what it is called, `vm` (S,), indexes `ids`.
    """

    observed: Observed
    vm: Ints
    ids: tuple[str, ...]
    course: Ints
    origin_s: F64
    is_active: Bools
    is_unseen: Bools
    profile: np.ndarray[tuple[int], np.dtype[np.str_]]
    blocks: tuple[tuple[int, int, Ints], ...]
    """Course, origin slot and rows of the panel, for every stretch of S."""

    @property
    def n_rows(self) -> int:
        return len(self.vm)


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """What one model said, `values` (S, H, Q) and `peaks` (S, W, Q), and how long it took."""

    values: F32
    peaks: F32
    fit_s: float
    predict_s: float


@dataclass(frozen=True, slots=True, eq=False)
class _Block:
    """The rows of one origin."""

    y: F32
    peak: F32
    is_censored: Bools
    vm: Ints
    is_active: Bools
    is_unseen: Bools
    profile: np.ndarray[tuple[int], np.dtype[np.str_]]
    n: int
    course: int
    origin_s: float


def lay_out(
    courses: Sequence[Course],
    targets: Targets,
    seen: frozenset[str],
    profiles: Profiles | None = None,
) -> Field:
    """Gather what came after every origin; `seen` are the ids that are in training.

    Raises ValueError when there is no origin, or no series with a known sample before one.
    """
    names: dict[str, int] = {}
    blocks: list[_Block] = []
    where: list[tuple[int, int, Ints]] = []
    for c, course in enumerate(courses):
        panel = course.trace.panel
        number = np.array([names.setdefault(i, len(names)) for i in panel.ids], dtype=np.intp)
        is_unseen = np.array([i not in seen for i in panel.ids], dtype=bool)
        peaks = [_peaks_after(panel.values[:, : course.last_slot], w) for w in targets.windows]
        for slot in course.origins(targets):
            known = course.trace.known_at(slot, course.history)
            rows = np.flatnonzero(np.isfinite(known.values).any(axis=1))
            if not len(rows):
                continue
            labels = profiles(known) if profiles else [""] * panel.n_series
            at = [slot + h - 1 for h in targets.horizons]
            y = _columns(panel.values[:, : course.last_slot], at)
            held = panel.censored
            blocks.append(
                _Block(
                    y=y[rows],
                    peak=_columns_of_each(peaks, slot, panel.n_series)[rows],
                    is_censored=(
                        np.zeros(y.shape, dtype=bool)
                        if held is None
                        else np.stack([held[:, min(t, panel.n_slots - 1)] for t in at], axis=1)
                    )[rows],
                    vm=number[rows],
                    is_active=active(known)[rows],
                    is_unseen=is_unseen[rows],
                    profile=np.array(labels, dtype=np.str_)[rows],
                    n=len(rows),
                    course=c,
                    origin_s=known.end_s,
                )
            )
            where.append((c, slot, rows))
    if not blocks:
        raise ValueError("no origin with a known sample before it and a target after it")
    sizes = [b.n for b in blocks]
    is_censored = np.concatenate([b.is_censored for b in blocks])
    return Field(
        observed=Observed(
            np.concatenate([b.y for b in blocks]),
            np.concatenate([b.peak for b in blocks]),
            is_censored if is_censored.any() else None,
        ),
        vm=np.concatenate([b.vm for b in blocks]),
        ids=tuple(names),
        course=np.repeat([b.course for b in blocks], sizes),
        origin_s=np.repeat([b.origin_s for b in blocks], sizes),
        is_active=np.concatenate([b.is_active for b in blocks]),
        is_unseen=np.concatenate([b.is_unseen for b in blocks]),
        profile=np.concatenate([b.profile for b in blocks]),
        blocks=tuple(where),
    )


def active(known: Panel) -> Bools:
    """(N,): mean demand above 1 % of the capacity.

    Where no capacity is known, above 1 % of the median over the panel of the series' means, those
    that wanted anything.
    """
    total = np.nansum(known.values, axis=1, dtype=np.float64)
    mean = total / np.maximum(np.count_nonzero(np.isfinite(known.values), axis=1), 1)
    wanting = mean[mean > 0]
    usual = float(np.median(wanting)) if len(wanting) else 0.0
    result: Bools = mean > ACTIVE_SHARE * np.where(
        np.isfinite(known.capacity), known.capacity, usual
    )
    return result


def run(
    model: Forecaster,
    train: Sequence[Panel],
    courses: Sequence[Course],
    field: Field,
    targets: Targets,
    seed: int,
    clock: Clock,
    on_origin: Callable[[], None] = lambda: None,
    calibrated: bool = False,
) -> Run:
    """Fit `model` on `train`, forecast from every origin of `field`. `clock` in seconds.

    With `calibrated` the forecasts go through the calibration that a controller would run: at an
    origin it has learnt from earlier forecasts, as far as they have come true by then.
    """
    began_s = clock()
    fitted = model.fit(train, targets, seed)
    fit_s, predict_s = clock() - began_s, 0.0
    values = np.empty((field.n_rows, len(targets.horizons), N_QUANTILES), dtype=np.float32)
    peaks = np.empty((field.n_rows, len(targets.windows), N_QUANTILES), dtype=np.float32)
    shard = SPECS[courses[0].trace.panel.resource].shard
    tracker = Tracker(targets, shard, max(course.trace.grain for course in courses))
    done = 0
    for c, slot, rows in field.blocks:
        known = courses[c].trace.known_at(slot, courses[c].history)
        began_s = clock()
        said = fitted.predict(known, targets)
        if calibrated:
            said = tracker.follow(known, said)
        predict_s += clock() - began_s
        values[done : done + len(rows)] = said.values[rows]
        peaks[done : done + len(rows)] = said.peaks[rows]
        done += len(rows)
        on_origin()
    return Run(values, peaks, fit_s, predict_s)


def first_origin(known: Bools, not_before: int, warm_up: int, history: int) -> int | None:
    """The first slot, `not_before` or later, with `warm_up` slots of the last `history` known.

    `known` (T,): in which slots any series has a sample. None when there is no such slot.
    """
    total = np.concatenate([[0], np.cumsum(known)])
    slots = np.arange(not_before, len(known))
    enough = total[slots] - total[np.maximum(slots - history, 0)] >= warm_up
    return int(slots[np.argmax(enough)]) if enough.any() else None


def _columns(x: F32, at: Sequence[int]) -> F32:
    """(N, len(at)); NaN past the end."""
    return np.stack(
        [x[:, t] if t < x.shape[1] else np.full(len(x), np.nan, np.float32) for t in at], axis=1
    )


def _peaks_after(x: F32, width: int) -> F32:
    """(N, T - width + 1) peaks of the windows that are known in every slot; NaN elsewhere."""
    peaks = window_peaks(x, width)
    if np.isfinite(x).all() or not peaks.shape[1]:
        return peaks
    n_unknown = np.zeros((len(x), x.shape[1] + 1), dtype=np.int32)
    np.cumsum(~np.isfinite(x), axis=1, out=n_unknown[:, 1:])
    return np.where(n_unknown[:, width:] == n_unknown[:, :-width], peaks, np.float32(np.nan))


def _columns_of_each(parts: Sequence[F32], slot: int, n: int) -> F32:
    """(N, len(parts)): column `slot` of each part; NaN past its end."""
    if not parts:
        return np.empty((n, 0), dtype=np.float32)
    return np.concatenate([_columns(part, [slot]) for part in parts], axis=1)
