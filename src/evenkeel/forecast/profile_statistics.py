"""Statistics of behaviour, one pass over each series. `profiles` makes classes of them.

All are free of units: demand is measured against the *scale* of its series, the larger of its
median and of a floor below which no swing matters (5 % of the capacity; one shard where the
capacity is not known). So scaling demand and capacity together changes nothing, and a VM that idles
between 1 % and 2 % is not called restless.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F32, F64, Bools, Ints
from evenkeel.domain.panel import DAY_S, Panel
from evenkeel.domain.resources import SPECS
from evenkeel.forecast.jit import compiled

FLOOR_SHARE: Final = 0.05
BINS: Final = 48
"""Half hours of a day: short enough for a nightly backup, long enough for some jitter."""
MERGE_S: Final = 900.0
"""Bursts closer together than this are one."""
_CHUNK: Final = 1024


@dataclass(frozen=True, slots=True, eq=False)
class Statistics:
    """Columns of (N,), of the known slots of each series; x is demand, s its scale.

    - `history_days`: known slots in days; `whole_days`: 24 h blocks, counted back from the end,
      of which at least three quarters are known.
    - `level`: median of x, in the panel's unit.
    - `swing`: (q95 - q05) / s. `rest_swing`: the same over the slots that are not in a burst.
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
    out = np.zeros((n, 13))
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
    return Statistics(*out.T.copy(), hours=hours, weekdays=weekdays)


@compiled
def _quantile(ordered: F32, n: int, level: float) -> float:
    at = level * (n - 1)
    left = int(at)
    right = min(left + 1, n - 1)
    return float(ordered[left] + (at - left) * (ordered[right] - ordered[left]))


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
    n_series, n_slots = values.shape
    n_cells = n_blocks * BINS
    cell_day, cell_off = np.zeros(n_cells, np.int64), np.zeros(n_cells, np.int64)
    for t in range(n_slots):
        cell_day[cell_of[t]] = weekday[t]
        cell_off[cell_of[t]] = 1 if off[t] else 0
    sums, counts = np.empty(n_cells), np.empty(n_cells)
    y, z = np.empty(n_cells), np.empty(n_cells)
    lengths = np.empty(n_slots // 2 + 2, np.int64)
    by_all, n_all = np.empty(BINS), np.empty(BINS)
    by_type, n_type = np.empty((2, BINS)), np.empty((2, BINS))
    by_day, n_day = np.empty((7, BINS)), np.empty((7, BINS))
    for i in range(n_series):
        x, s = values[i], ordered[i]
        n = np.searchsorted(s, np.float32(np.inf), side="right")  # NaN sorts last
        out[i, 0] = n
        if n == 0:
            continue
        mid = _quantile(s, n, 0.5)
        scale = max(mid, floor[i], 1e-12)
        out[i, 2] = mid
        out[i, 3] = (_quantile(s, n, 0.95) - _quantile(s, n, 0.05)) / scale
        threshold = mid + max(0.75 * scale, 5.0 * (mid - _quantile(s, n, 0.16)))
        quiet = np.searchsorted(s[:n], np.float32(threshold), side="right")
        out[i, 4] = (_quantile(s, quiet, 0.95) - _quantile(s, quiet, 0.05)) / scale
        out[i, 5] = (n - quiet) / n
        inside, around = 0.0, 0.0
        for k in range(n):
            square = (s[k] - mid) ** 2
            around += square
            if k >= quiet:
                inside += square
        out[i, 6] = inside / around if around > 0 else 0.0
        if quiet < n:
            n_runs = _runs(x, threshold, merge, lengths)
            out[i, 7] = n_runs * per_day / n
            out[i, 8] = np.median(lengths[:n_runs])
        # Half-hour means, their logs, smoothed.
        sums[:] = 0.0
        counts[:] = 0.0
        total, lagged, mean, pairs = 0.0, 0.0, 0.0, 0
        for t in range(n_slots):
            if not np.isnan(x[t]):
                sums[cell_of[t]] += x[t]
                counts[cell_of[t]] += 1
                mean += x[t]
        mean /= n
        for t in range(n_slots):
            if not np.isnan(x[t]):
                total += (x[t] - mean) ** 2
                if t and not np.isnan(x[t - 1]):
                    lagged += (x[t] - mean) * (x[t - 1] - mean)
                    pairs += 1
        if total > 0 and pairs:
            out[i, 10] = lagged / pairs / (total / n)
        for c in range(n_cells):
            z[c] = np.log1p(sums[c] / counts[c] / scale) if counts[c] > 0 else np.nan
        for c in range(n_cells):
            top, weight = 0.0, 0.0
            for k in range(max(0, c - 1), min(n_cells, c + 2)):
                if counts[k] > 0:
                    w = 0.5 if k == c else 0.25
                    top += w * z[k]
                    weight += w
            y[c] = top / weight if counts[c] > 0 else np.nan
        whole = 0
        for b in range(n_blocks):
            part, known, slots = 0.0, 0, 0.0
            for c in range(b * BINS, (b + 1) * BINS):
                slots += counts[c]
                if counts[c] > 0:
                    part += y[c]
                    known += 1
            keep = slots >= 0.75 * per_day
            whole += keep
            for c in range(b * BINS, (b + 1) * BINS):
                y[c] = y[c] - part / known if keep else np.nan
        out[i, 1] = whole
        if whole < 2:
            continue
        by_all[:] = 0.0
        n_all[:] = 0.0
        by_type[:] = 0.0
        n_type[:] = 0.0
        by_day[:] = 0.0
        n_day[:] = 0.0
        for c in range(n_cells):
            if not np.isnan(y[c]):
                h = c % BINS
                by_all[h] += y[c]
                n_all[h] += 1
                by_type[cell_off[c], h] += y[c]
                n_type[cell_off[c], h] += 1
                by_day[cell_day[c], h] += y[c]
                n_day[cell_day[c], h] += 1
        square, miss_all, miss_type, miss_day = 0.0, 0.0, 0.0, 0.0
        for c in range(n_cells):
            h = c % BINS
            if np.isnan(y[c]) or n_all[h] < 2:
                continue
            kind, day = cell_off[c], cell_day[c]
            guess = (by_all[h] - y[c]) / (n_all[h] - 1)
            square += y[c] ** 2
            miss_all += (y[c] - guess) ** 2
            if n_type[kind, h] > 1:
                guess = (by_type[kind, h] - y[c]) / (n_type[kind, h] - 1)
            miss_type += (y[c] - guess) ** 2
            if n_day[day, h] > 1:
                guess = (by_day[day, h] - y[c]) / (n_day[day, h] - 1)
            miss_day += (y[c] - guess) ** 2
        if square > 0:
            best = min(miss_all, miss_type)
            if n_blocks >= 14:
                best = min(best, miss_day)
            out[i, 9] = max(0.0, 1.0 - best / square)
        # The mean day in the panel's unit: where it is above the middle of its range.
        low, high = np.inf, -np.inf
        by_all[:] = 0.0
        n_all[:] = 0.0
        for c in range(n_cells):
            h = c % BINS
            by_all[h] += sums[c]
            n_all[h] += counts[c]
        for h in range(BINS):
            if n_all[h] > 0:
                by_all[h] /= n_all[h]
                low, high = min(low, by_all[h]), max(high, by_all[h])
        if not high > low:
            continue
        middle = low + 0.5 * (high - low)
        by_day[:] = 0.0
        n_day[:] = 0.0
        for h in range(BINS):
            if n_all[h] > 0 and by_all[h] > middle:
                hours[i, ((h + first_bin) % BINS) // 2] = True
        for c in range(n_cells):
            if counts[c] > 0 and n_all[c % BINS] > 0 and by_all[c % BINS] > middle:
                by_day[cell_day[c], 0] += sums[c]
                n_day[cell_day[c], 0] += counts[c]
        most = 0.0
        for d in range(7):
            if n_day[d, 0] > 0:
                by_day[d, 0] = by_day[d, 0] / n_day[d, 0] - low
                most = max(most, by_day[d, 0])
        for d in range(7):
            weekdays[i, d] = n_day[d, 0] > 0 and by_day[d, 0] >= 0.5 * most
        n_runs = _runs(x, low + 0.5 * (high - low), 2 * merge, lengths)
        if n_runs:
            total_length = 0
            runs = np.sort(lengths[:n_runs])
            for length in runs:
                total_length += length
            seen, typical = 0, runs[-1]
            for length in runs:
                seen += length
                if 2 * seen >= total_length:
                    typical = length
                    break
            out[i, 11] = typical
            out[i, 12] = total_length / typical * per_day / n
