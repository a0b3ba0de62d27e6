"""Statistics of behaviour, one pass over each series. `profiles` makes classes of them.

All are free of units: demand is measured against the *scale* of its series, the larger of its
median and of a floor below which no swing matters (5 % of the capacity; one shard where the
capacity is not known). So scaling demand and capacity together changes nothing, and a VM that idles
between 1 % and 2 % is not called restless.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F32, F64, Bools, Ints
from evenkeel.domain.panel import DAY_S, Panel
from evenkeel.domain.resources import SPECS
from evenkeel.jit import compiled

FLOOR_SHARE: Final = 0.05
BINS: Final = 48
"""Half hours of a day: short enough for a nightly backup, long enough for some jitter."""
MAX_SPANS: Final = 6
"""A mean day with more peaks than this repeats every few hours: that is no daily pattern."""
MERGE_S: Final = 900.0
"""Bursts closer together than this are one."""
_CHUNK: Final = 1024


@dataclass(frozen=True, slots=True, eq=False)
class Statistics:
    """Columns of (N,), of the known slots of each series; x is demand, s its scale.

    - `history_days`: known slots in days; `whole_days`: 24 h blocks, counted back from the end,
      of which at least three quarters are known.
    - `level`: median of x, in the panel's unit.
    - `swing`: max(q95 - q05, 2.44 (q75 - q25)) / s, of which both are the same for Gaussian noise.
      `rest_swing`: the same over the slots that are not in a burst.
    - A slot is in a *burst* when x > q50 + max(0.75 s, 5 (q50 - q16)): well above the usual, and
      beyond five standard deviations as seen on the lower side, where no burst disturbs them.
      `burst_time`: share of slots in bursts. `burst_share`: share of the squared distance from the
      median, sum (x - q50)^2, that lies in bursts. `bursts_a_day`, `burst_minutes` (median length,
      those closer than 15 min joined).
    - `daily`: strength of the daily pattern, 1 - SSE / SST of log(1 + x / s) in half hours (24 h
      means taken out, smoothed by 1/4 1/2 1/4), each predicted by the mean of the *other* days at
      that time of day: as in Wang, Smith and Hyndman (2006), F = 1 - var(rest) / var(season +
      rest), but left out by day, so that noise scores 0 and not 1 / days. The best of three
      predictions: all days; days of work and days off apart; each weekday apart (from 2 weeks on).
      0 when the mean day has more than six peaks: what comes every two hours is not daily.
    - `persistence`: lag-1 autocorrelation of x.
    - `spike_minutes`, `spikes_a_day`: time above the middle of the mean day's range, the length
      being the median over slots. `hours` (N, 24), `weekdays` (N, 7): when the mean day is there.
    """

    history_days: F64
    whole_days: F64
    level: F64
    swing: F64
    rest_swing: F64
    burst_time: F64
    burst_share: F64
    bursts_a_day: F64
    burst_minutes: F64
    daily: F64
    persistence: F64
    spike_minutes: F64
    spikes_a_day: F64
    hours: Bools
    weekdays: Bools

    def __len__(self) -> int:
        return len(self.level)


_NAMES: Final = tuple(f.name for f in fields(Statistics))[:13]


def summarise(panel: Panel) -> Statistics:
    """Statistics of every series of `panel`. Negative and infinite values count as unknown."""
    n, n_slots = panel.values.shape
    when_s = panel.start_s + panel.step_s * np.arange(n_slots)
    local = panel.calendar.at(when_s)
    per_day = max(1, round(DAY_S / panel.step_s))
    # Half hours of local time, numbered; a day begins where the weekday changes (not at every step
    # back of the clock, which is also the end of summer time). Cells end with the panel's last.
    day = np.cumsum(np.diff(local.weekday, prepend=local.weekday[:1]) != 0)
    number = day * BINS + np.minimum((local.hour * (BINS / 24)).astype(np.intp), BINS - 1)
    n_blocks = int(number[-1] - number[0]) // BINS + 1 if n_slots else 0
    cell = np.maximum(number - (number[-1:] + 1 - n_blocks * BINS), 0)
    first_bin = int(number[-1] + 1) % BINS if n_slots else 0
    off = (local.weekday >= 5) | local.is_holiday
    known_cap = np.where(panel.capacity > 0, panel.capacity, np.nan)
    shard = SPECS[panel.resource].shard
    floor = np.nan_to_num(FLOOR_SHARE * known_cap, nan=shard)
    out = np.zeros((n, len(_NAMES)))
    hours = np.zeros((n, 24), dtype=bool)
    weekdays = np.zeros((n, 7), dtype=bool)
    for first in range(0, n if n_slots else 0, _CHUNK):
        rows = slice(first, first + _CHUNK)
        chunk = panel.values[rows]
        values = np.where((chunk >= 0) & (chunk < np.inf), chunk, np.float32(np.nan))
        _columns(
            values.astype(np.float32),
            np.sort(values, axis=1),
            floor[rows],
            cell,
            first_bin,
            local.weekday,
            off,
            n_blocks,
            per_day,
            max(1, round(MERGE_S / panel.step_s)),
            out[rows],
            hours[rows],
            weekdays[rows],
        )
    out[:, 0] *= panel.step_s / DAY_S
    out[:, 8] *= panel.step_s / 60
    out[:, 11] *= panel.step_s / 60
    columns = dict(zip(_NAMES, out.T.copy(), strict=True))
    return Statistics(**columns, hours=hours, weekdays=weekdays)


@compiled
def _quantile(ordered: F32, n: int, level: float) -> float:
    """Of the first `n` of `ordered`, linear in between."""
    at = level * (n - 1)
    left = int(at)
    right = min(left + 1, n - 1)
    return float(ordered[left] + (at - left) * (ordered[right] - ordered[left]))


@compiled
def _swing(ordered: F32, n: int) -> float:
    """Of noise, q95 - q05; the middle half counts more where it is wide, as between on and off."""
    wide = _quantile(ordered, n, 0.95) - _quantile(ordered, n, 0.05)
    return max(wide, 2.44 * (_quantile(ordered, n, 0.75) - _quantile(ordered, n, 0.25)))


@compiled
def _runs(x: F32, threshold: float, merge: int, lengths: Ints) -> int:
    """Lengths (slots) of the stretches above `threshold`, gaps of up to `merge` slots joined."""
    n, start, last = 0, -1, -1
    for t in range(len(x)):
        if x[t] > threshold:
            if start >= 0 and t - last > merge:
                lengths[n] = last - start + 1
                n += 1
                start = t
            elif start < 0:
                start = t
            last = t
    if start >= 0:
        lengths[n] = last - start + 1
        n += 1
    return n


@compiled
def _columns(
    values: F32,
    ordered: F32,
    floor: F64,
    cell_of: Ints,
    first_bin: int,
    weekday: Ints,
    off: Bools,
    n_blocks: int,
    per_day: int,
    merge: int,
    out: F64,
    hours: Bools,
    weekdays: Bools,
) -> None:
    """Fill the rows of `out`. A cell is a half hour of the panel, a block 48 of them."""
    n_series, n_slots = values.shape
    n_cells = n_blocks * BINS
    cell_day, cell_off = np.zeros(n_cells, np.int64), np.zeros(n_cells, np.int64)
    for t in range(n_slots):
        cell_day[cell_of[t]] = weekday[t]
        cell_off[cell_of[t]] = 1 if off[t] else 0
    lengths = np.empty(n_slots // 2 + 2, np.int64)
    for i in range(n_series):
        n = np.searchsorted(ordered[i], np.float32(np.inf), side="right")  # NaN sorts last
        out[i, 0] = n
        if n == 0:
            continue
        scale = _spread(values[i], ordered[i, :n], floor[i], merge, per_day, lengths, out[i])
        out[i, 10] = _persistence(values[i])
        sums, counts = np.zeros(n_cells), np.zeros(n_cells)
        for t in range(n_slots):
            if not np.isnan(values[i, t]):
                sums[cell_of[t]] += values[i, t]
                counts[cell_of[t]] += 1
        y, whole = _smoothed(sums, counts, scale, 0.75 * per_day)
        out[i, 1] = whole
        if whole >= 2:
            out[i, 9] = _daily_strength(y, cell_day, cell_off, n_blocks >= 14)
            middle, spans = _mean_day(sums, counts, cell_day, first_bin, hours[i], weekdays[i])
            if spans > MAX_SPANS:
                out[i, 9] = 0.0
            if middle > -np.inf:
                n_runs = _runs(values[i], middle, 2 * merge, lengths)
                runs = np.sort(lengths[:n_runs])
                reached = np.searchsorted(2 * np.cumsum(runs), runs.sum())
                out[i, 11] = runs[reached]
                out[i, 12] = runs.sum() / runs[reached] * per_day / n


@compiled
def _spread(
    x: F32, ordered: F32, floor: float, merge: int, per_day: int, lengths: Ints, out: F64
) -> float:
    """Level, swings and bursts of one series; gives back its scale."""
    n = len(ordered)
    mid = _quantile(ordered, n, 0.5)
    scale = max(mid, floor, 1e-12)
    threshold = mid + max(0.75 * scale, 5.0 * (mid - _quantile(ordered, n, 0.16)))
    quiet = int(np.searchsorted(ordered, np.float32(threshold), side="right"))
    inside, around = 0.0, 0.0
    for k in range(n):
        square = (ordered[k] - mid) ** 2
        around += square
        if k >= quiet:
            inside += square
    out[2] = mid
    out[3] = _swing(ordered, n) / scale
    out[4] = _swing(ordered, quiet) / scale
    out[5] = (n - quiet) / n
    out[6] = inside / around if around > 0 else 0.0
    if quiet < n:
        n_runs = _runs(x, float(np.float32(threshold)), merge, lengths)
        out[7] = n_runs * per_day / n
        out[8] = np.median(lengths[:n_runs])
    return scale


@compiled
def _persistence(x: F32) -> float:
    mean, n = 0.0, 0
    for t in range(len(x)):
        if not np.isnan(x[t]):
            mean += x[t]
            n += 1
    mean /= n
    total, lagged, pairs = 0.0, 0.0, 0
    for t in range(len(x)):
        if not np.isnan(x[t]):
            total += (x[t] - mean) ** 2
            if t and not np.isnan(x[t - 1]):
                lagged += (x[t] - mean) * (x[t - 1] - mean)
                pairs += 1
    return lagged / pairs / (total / n) if total > 0 and pairs else 0.0


@compiled
def _smoothed(sums: F64, counts: F64, scale: float, enough: float) -> tuple[F64, int]:
    """log(1 + mean / scale) of each cell, smoothed, less its block's mean; NaN in thin blocks."""
    n_cells = len(sums)
    z, y = np.full(n_cells, np.nan), np.full(n_cells, np.nan)
    for c in range(n_cells):
        if counts[c] > 0:
            z[c] = np.log1p(sums[c] / counts[c] / scale)
    for c in range(n_cells):
        if counts[c] > 0:
            top, weight = 0.0, 0.0
            for k in range(max(0, c - 1), min(n_cells, c + 2)):
                if counts[k] > 0:
                    w = 0.5 if k == c else 0.25
                    top += w * z[k]
                    weight += w
            y[c] = top / weight
    whole = 0
    for b in range(0, n_cells, BINS):
        part, known, slots = 0.0, 0, 0.0
        for c in range(b, b + BINS):
            if counts[c] > 0:
                slots += counts[c]
                part += y[c]
                known += 1
        keep = slots >= enough
        whole += 1 if keep else 0
        for c in range(b, b + BINS):
            y[c] = y[c] - part / known if keep else np.nan
    return y, whole


@compiled
def _daily_strength(y: F64, cell_day: Ints, cell_off: Ints, weekly: bool) -> float:
    by_all, n_all = np.zeros(BINS), np.zeros(BINS)
    by_type, n_type = np.zeros((2, BINS)), np.zeros((2, BINS))
    by_day, n_day = np.zeros((7, BINS)), np.zeros((7, BINS))
    for c in range(len(y)):
        if not np.isnan(y[c]):
            h, kind, day = c % BINS, cell_off[c], cell_day[c]
            by_all[h] += y[c]
            n_all[h] += 1
            by_type[kind, h] += y[c]
            n_type[kind, h] += 1
            by_day[day, h] += y[c]
            n_day[day, h] += 1
    square, miss_all, miss_type, miss_day = 0.0, 0.0, 0.0, 0.0
    for c in range(len(y)):
        h, kind, day = c % BINS, cell_off[c], cell_day[c]
        if np.isnan(y[c]) or n_all[h] < 2:
            continue
        guess = (by_all[h] - y[c]) / (n_all[h] - 1)
        square += y[c] ** 2
        miss_all += (y[c] - guess) ** 2
        if n_type[kind, h] > 1:
            guess = (by_type[kind, h] - y[c]) / (n_type[kind, h] - 1)
        miss_type += (y[c] - guess) ** 2
        if n_day[day, h] > 1:
            guess = (by_day[day, h] - y[c]) / (n_day[day, h] - 1)
        miss_day += (y[c] - guess) ** 2
    if square < 1e-9:  # nothing moves: what is left is rounding
        return 0.0
    best = min(miss_all, miss_type)
    if weekly:
        best = min(best, miss_day)
    return max(0.0, 1.0 - best / square)


@compiled
def _mean_day(
    sums: F64, counts: F64, cell_day: Ints, first_bin: int, hours: Bools, weekdays: Bools
) -> tuple[float, int]:
    """Marks when the mean day is above the middle of its range: that middle, in how many spans."""
    mean, n = np.zeros(BINS), np.zeros(BINS)
    for c in range(len(sums)):
        mean[c % BINS] += sums[c]
        n[c % BINS] += counts[c]
    low, high = np.inf, -np.inf
    for h in range(BINS):
        if n[h] > 0:
            mean[h] /= n[h]
            low, high = min(low, mean[h]), max(high, mean[h])
    if not high > low:
        return -np.inf, 0
    middle = low + 0.5 * (high - low)
    by_day, n_day = np.zeros(7), np.zeros(7)
    spans = 0
    for h in range(BINS):
        if n[h] > 0 and mean[h] > middle:
            spans += 0 if mean[h - 1] > middle else 1  # the day is a ring
            hours[((h + first_bin) % BINS) // 2] = True
    for c in range(len(sums)):
        if counts[c] > 0 and mean[c % BINS] > middle:
            by_day[cell_day[c]] += sums[c]
            n_day[cell_day[c]] += counts[c]
    most = 0.0
    for d in range(7):
        if n_day[d] > 0:
            by_day[d] = by_day[d] / n_day[d] - low
            most = max(most, by_day[d])
    for d in range(7):
        weekdays[d] = n_day[d] > 0 and by_day[d] >= 0.5 * most
    return middle, spans
