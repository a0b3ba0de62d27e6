"""The rules of the baselines: the last value, trailing windows, differences, yesterday.

Where a rule lacks the history it needs it takes the quantiles of all the history there is.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F32, Bools
from evenkeel.domain.panel import DAY_S, Panel
from evenkeel.domain.quantiles import N_QUANTILES, row_quantiles
from evenkeel.forecast.base import Targets
from evenkeel.forecast.statistical.empirical import has_at_least, window_peaks
from evenkeel.forecast.windows import last_known

MIN_DIFFERENCES: Final = 12
"""Fewer differences than this say little about their distribution."""


def last_value(panel: Panel, targets: Targets) -> tuple[F32, F32]:
    """A point: the last known value, at every level."""
    last = last_known(panel.values)[:, None, None]
    n = panel.n_series
    return (
        np.broadcast_to(last, (n, len(targets.horizons), N_QUANTILES)),
        np.broadcast_to(last, (n, len(targets.windows), N_QUANTILES)),
    )


def trailing(window_s: float, panel: Panel, targets: Targets) -> tuple[F32, F32]:
    """Quantiles of the last `window_s`; peaks from all windows of their width that end in it.

    A series that is not known in the window gets the quantiles of all its history.
    """
    x = panel.values
    n_slots = min(max(1, round(window_s / panel.step_s)), x.shape[1])
    values = _or_else(row_quantiles(x[:, -n_slots:]), lambda: row_quantiles(x))
    return (
        np.repeat(values[:, None], len(targets.horizons), axis=1),
        _stacked([_peaks_of(x, w, n_slots) for w in targets.windows], len(x)),
    )


def last_diff(window_s: float, panel: Panel, targets: Targets) -> tuple[F32, F32]:
    """The last known value plus the quantiles of h-step differences within the last `window_s`."""
    n_slots = min(max(1, round(window_s / panel.step_s)), panel.n_slots)
    x = panel.values[:, -n_slots:]
    last = last_known(panel.values)[:, None]

    def from_differences(differences: F32) -> F32:
        enough = has_at_least(differences, MIN_DIFFERENCES)[:, None]
        return np.where(enough, last + row_quantiles(differences), np.float32(np.nan))

    values = [
        _or_else(from_differences(x[:, h:] - x[:, :-h]), lambda: row_quantiles(panel.values))
        for h in targets.horizons
    ]
    peaks = []
    for w in targets.windows:
        # The peak of the w slots after slot t, less the value at t.
        rise = window_peaks(x, w)[:, 1:]
        rise = rise - x[:, : rise.shape[1]]
        fallback = _later(panel.values, w)
        peaks.append(_or_else(from_differences(rise), fallback))
    return _stacked(values, len(x)), _stacked(peaks, len(x))


def seasonal_naive(panel: Panel, targets: Targets) -> tuple[F32, F32]:
    """Yesterday's same slot plus the quantiles of day-to-day differences over the history.

    A series with less than a day and an hour of history, or a hole there: its last day's quantiles.
    """
    x, n_slots = panel.values, panel.n_slots
    day = round(DAY_S / panel.step_s)

    def around(base: F32, change: F32) -> F32:
        enough = has_at_least(change, MIN_DIFFERENCES)[:, None]
        return np.where(enough, base[:, None] + row_quantiles(change), np.float32(np.nan))

    fallback = trailing(DAY_S, panel, targets)
    if n_slots < day + MIN_DIFFERENCES:
        return fallback
    change = x[:, day:] - x[:, :-day]
    values = fallback[0]
    for i, h in enumerate(targets.horizons):
        base = x[:, n_slots + (h - 1) % day - day]
        values[:, i] = _or_else(around(base, change), partial(_column, fallback[0], i))
    peaks = fallback[1]
    for i, w in enumerate(targets.windows):
        seen = window_peaks(x, min(w, day))
        base = seen[:, n_slots - day]
        change_of_peaks = seen[:, day:] - seen[:, :-day]
        peaks[:, i] = _or_else(around(base, change_of_peaks), partial(_column, fallback[1], i))
    return values, peaks


def _peaks_of(x: F32, width: int, n_slots: int) -> F32:
    """Quantiles of the peaks of `width` slots that end within the last `n_slots`.

    History of fewer than two such windows: narrower ones, half of what there is.
    """
    width = max(1, min(width, x.shape[1] // 2))
    seen = window_peaks(x, width)
    return _or_else(
        _or_else(row_quantiles(seen[:, -n_slots:]), lambda: row_quantiles(seen)),
        lambda: row_quantiles(x),
    )


def _later(x: F32, width: int) -> Callable[[], F32]:
    return lambda: _peaks_of(x, width, x.shape[1])


def _column(parts: F32, i: int) -> F32:
    return parts[:, i]


def _or_else(first: F32, second: Callable[[], F32]) -> F32:
    """`first`, with the rows that are NaN from `second`, which is only asked when there are any."""
    missing: Bools = np.any(np.isnan(first), axis=1)
    return np.where(missing[:, None], second(), first) if missing.any() else first


def _stacked(parts: list[F32], n: int) -> F32:
    return np.stack(parts, axis=1) if parts else np.empty((n, 0, N_QUANTILES), dtype=np.float32)
