"""What a learnt model is told about each series: candidate forecasts and a description.

For every target (demand at a horizon, or its peak over a window) there are the same `N_CANDIDATES`
simple forecasts, each a set of quantiles; a model learns whom to believe when. The peak over the
next w slots is the demand h = w slots ahead of another series, the rolling maximum of width w, so
both kinds of target go through the same code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F32, F64, Ints
from evenkeel.domain.panel import Panel
from evenkeel.domain.quantiles import N_QUANTILES, row_quantiles
from evenkeel.forecast.base import Targets
from evenkeel.forecast.kin import DAY, HOUR, WEEK, kin_of, of_kin
from evenkeel.forecast.windows import lagged, last_known, mean_known, rolling_max, std_known

TRAILING: Final = (HOUR, 3 * HOUR, 12 * HOUR, DAY)
CANDIDATES: Final = (
    "last",
    *(f"trailing-{w // HOUR}h" for w in TRAILING),
    "trailing-7d",
    "last-diff",
    "same-time",
    "same-minute",
    "kind",
)
N_CANDIDATES: Final = len(CANDIDATES)
RECENT: Final = 24
SEQUENCE_SLOTS: Final = 24
N_KINDS: Final = 3
"""Kinds of series: new (less than an hour known), still (it hardly ever moves), moving."""
_STILL: Final = 0.9
_WEEK_STRIDE: Final = 7
"""Every 7th slot of the week: 288 of them, at all hours and minutes."""
_AROUND: Final = np.arange(-6, 7)
_UNCHANGED_COLUMN: Final = 5
_KNOWN_COLUMN: Final = 7
_LAGS: Final = (1, 2, 6, 12, 24, 144, 288)


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Shapes: `scale` (N,), `series` (N, F), `target` (N, K, G), `candidates` (N, K, C, Q),
    `sequence` (N, S, 2): hourly means of the last day, then the latest slots, oldest first, and
    whether they are known.

    K targets: horizons, then windows. `candidates` are in the panel's unit, everything else has
    been divided by `scale` or has none.
    """

    scale: F32
    series: F32
    target: F32
    candidates: F32
    sequence: F32


def describe(panel: Panel, targets: Targets, floor: float) -> Features:
    """Features of every series at the panel's end. `floor`: least scale, in the panel's unit."""
    values = panel.values[:, -(WEEK + DAY) :]
    last = last_known(values)
    day = values[:, -DAY:]
    week = _thinned_week(values)
    mean = mean_known(day)
    scale = mean + 0.5 * std_known(day)
    scale = np.where(np.isfinite(scale), np.maximum(scale, floor), floor).astype(np.float32)
    kind_quantiles, kind_features = of_kin(panel, panel.kin or kin_of([panel]))
    base = {width: row_quantiles(values[:, -width:]) for width in TRAILING}
    base[WEEK] = row_quantiles(week)
    series = _series_features(panel, values, last, scale, base, kind_features)
    rolled: dict[int, F32] = {}
    candidates, target = [], []
    spans = [(h, 1) for h in targets.horizons] + [(w, w) for w in targets.windows]
    for ahead, width in spans:
        if width > 1 and width not in rolled:
            rolled[width] = rolling_max(values, width)
        source = rolled[width] if width > 1 else values
        known = base if width == 1 else None
        found = _candidates(source, ahead, known, kind_quantiles)
        candidates.append(found)
        target.append(_target_features(panel, ahead, width, found, scale))
    return Features(
        scale,
        series,
        np.stack(target, axis=1),
        np.stack(candidates, axis=1),
        _sequence(values, scale),
    )


def _sequence(values: F32, scale: F32) -> F32:
    day = lagged(values, np.arange(DAY, 0, -1))
    hourly = mean_known(day.reshape(len(day), DAY // HOUR, HOUR))
    steps = np.concatenate([hourly, day[:, -SEQUENCE_SLOTS:]], axis=1) / scale[:, None]
    return np.stack([_clean(steps), ~np.isnan(steps)], axis=2).astype(np.float32)


def _candidates(source: F32, ahead: int, known: dict[int, F32] | None, kind: F32) -> F32:
    """(N, C, Q) simple forecasts of `source`, `ahead` slots after its end."""
    last = last_known(source)
    if known is None:
        known = {width: row_quantiles(source[:, -width:]) for width in TRAILING}
        known[WEEK] = row_quantiles(_thinned_week(source))
    found = [np.repeat(last[:, None], N_QUANTILES, axis=1)]
    found += [known[width] for width in (*TRAILING, WEEK)]
    found.append(last[:, None] + row_quantiles(_differences(source, ahead)))
    days = np.arange(1, 8)
    near = (days[:, None] * DAY - ahead + 1 + _AROUND[None, :]).ravel()
    found.append(row_quantiles(lagged(source, near[near >= 1])))
    found.append(row_quantiles(lagged(source, np.arange(24) * HOUR + (-ahead % HOUR) + 1)))
    found.append(kind)
    stacked = np.stack(found, axis=1)
    # A candidate that knows nothing says what the best informed of the others says.
    gaps = np.flatnonzero(np.isnan(stacked).any(axis=(1, 2)))
    if len(gaps):  # few rows, as a rule
        some = stacked[gaps]
        for fill in (3, 4, 1, 0, 9):
            some = np.where(np.isnan(some), some[:, fill : fill + 1], some)
        stacked[gaps] = some
    return np.maximum(np.nan_to_num(stacked), 0.0).astype(np.float32)


def _differences(source: F32, ahead: int) -> F32:
    """Changes over `ahead` slots that ended in the last day."""
    if source.shape[1] <= ahead:
        return np.full((len(source), 1), np.nan, dtype=np.float32)
    first = max(source.shape[1] - DAY, ahead)
    return source[:, first:] - source[:, first - ahead : source.shape[1] - ahead]


def _series_features(
    panel: Panel,
    values: F32,
    last: F32,
    scale: F32,
    base: dict[int, F32],
    kind: F32,
) -> F32:
    unit = scale[:, None]
    recent = lagged(values, np.arange(1, RECENT + 1)) / unit
    half_day = values[:, -12 * HOUR :]
    steps = np.abs(np.diff(half_day, axis=1)) if half_day.shape[1] > 1 else half_day * np.nan
    centred = half_day - mean_known(half_day)[:, None]
    variance = mean_known(centred**2) + 1e-6 * scale**2
    known = ~np.isnan(values)
    width = max(half_day.shape[1], 1)
    columns = [
        np.log(scale),
        np.log(scale / np.where(panel.capacity > 0, panel.capacity, np.nan)),
        last / scale,
        mean_known(steps) / scale,
        mean_known(steps[:, -HOUR:]) / scale,
        (half_day == last[:, None]).sum(axis=1) / width,
        (half_day <= 0).sum(axis=1) / width,
        np.log1p(known[:, -WEEK:].sum(axis=1)),
        np.log1p(known[:, -HOUR:].sum(axis=1)),
    ]
    for lag in _LAGS:
        if lag < centred.shape[1]:
            columns.append(mean_known(centred[:, lag:] * centred[:, :-lag]) / variance)
        else:
            columns.append(np.full(len(values), np.nan))
    blocks = [recent, np.stack(columns, axis=1), kind]
    blocks += [base[width][:, [0, 3, 6, 8]] / unit for width in (*TRAILING, WEEK)]
    return _clean(np.concatenate(blocks, axis=1))


def _target_features(panel: Panel, ahead: int, width: int, found: F32, scale: F32) -> F32:
    n = len(scale)
    # The middle of the slot, or the stretch, that is asked about.
    when = np.array([panel.end_s + (ahead - width / 2) * panel.step_s])
    now = panel.calendar.at(when)
    hour = float(now.hour[0]) / 24 * 2 * np.pi
    shared = [
        np.log(ahead),
        np.log(width),
        np.sin(hour),
        np.cos(hour),
        float(now.weekday[0] >= 5),
        float(now.is_holiday[0]),
        float(now.is_event[0]),
    ]
    own = found[:, :, [0, 3, 6, 8]].reshape(n, 4 * N_CANDIDATES) / scale[:, None]
    return _clean(np.concatenate([np.tile(shared, (n, 1)), own], axis=1))


def _thinned_week(values: F32) -> F32:
    return values[:, -WEEK:][:, ::-1][:, ::_WEEK_STRIDE]


def _clean(features: F32 | F64) -> F32:
    cleaned: F32 = np.clip(np.nan_to_num(features, nan=0.0), -50, 50).astype(np.float32)
    return cleaned


def kind_of_series(features: Features) -> Ints:
    """0 new, 1 still, 2 moving; (N,). See `N_KINDS`."""
    unchanged = features.series[:, RECENT + _UNCHANGED_COLUMN]
    n_known = np.expm1(features.series[:, RECENT + _KNOWN_COLUMN])
    return np.where(n_known < HOUR - 0.5, 0, np.where(unchanged >= _STILL, 1, 2))


def truth(panel: Panel, origin: int, targets: Targets) -> F32:
    """What came to be, (N, K): horizons, then peaks; NaN where it is not known."""
    n = panel.n_series
    columns = []
    for h in targets.horizons:
        at = origin + h - 1
        columns.append(panel.values[:, at] if at < panel.n_slots else np.full(n, np.nan))
    for w in targets.windows:
        stretch = panel.values[:, origin : origin + w]
        if stretch.shape[1] < w:
            columns.append(np.full(n, np.nan))
            continue
        known = ~np.isnan(stretch)
        peak = np.where(known, stretch, -np.inf).max(axis=1, initial=-np.inf)
        # a peak over a stretch with holes may have been higher than what was seen
        enough = known.sum(axis=1) >= w * 0.9
        columns.append(np.where(enough, peak, np.nan))
    return np.stack(columns, axis=1).astype(np.float32)
