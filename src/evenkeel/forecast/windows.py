"""What many series showed over stretches of time, all at once, gaps left out."""

from __future__ import annotations

import numpy as np

from evenkeel.domain.arrays import F32, Bools, Ints


def mean_known(values: F32) -> F32:
    """Mean over the last axis without NaN; NaN where there is nothing else.

    Unlike `nanmean` it does not warn: muting warnings is not safe in threads.
    """
    total = values.sum(axis=-1, dtype=np.float32)
    mean: F32 = (total / np.float64(max(values.shape[-1], 1))).astype(np.float32)
    gaps = np.isnan(total) if values.shape[-1] else np.ones(total.shape, dtype=bool)
    if gaps.any():  # few rows, as a rule
        some = values[gaps]
        known = ~np.isnan(some)
        count = known.sum(axis=-1)
        total = np.where(known, some, np.float32(0)).sum(axis=-1, dtype=np.float32)
        mean[gaps] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return mean


def std_known(values: F32) -> F32:
    """Standard deviation over the last axis without NaN."""
    return np.sqrt(mean_known((values - mean_known(values)[..., None]) ** 2))


def window_max(values: F32, width: int) -> F32:
    """Largest known value of every `width` slots in a row, (N, T - width + 1); NaN: none known.

    By doubling: log2(width) passes, whatever the width.
    """
    if width > values.shape[1]:
        return np.full((len(values), 0), np.nan, dtype=np.float32)
    span = 1
    while span < width:
        step = min(span, width - span)
        values = np.fmax(values[:, :-step], values[:, step:])
        span += step
    return values


def rolling_max(values: F32, width: int) -> F32:
    """`window_max` at the slot where each window ends, (N, T); NaN until `width` have passed."""
    result = np.full_like(values, np.nan)
    result[:, width - 1 :] = window_max(values, width)
    return result


def last_known(values: F32) -> F32:
    """The newest value that is known, (N,); NaN where none is."""
    if not values.shape[1]:
        return np.full(len(values), np.nan, dtype=np.float32)
    last = values[:, -1].copy()
    rows = np.flatnonzero(np.isnan(last))
    if len(rows):  # few, as a rule
        known: Bools = ~np.isnan(values[rows, ::-1])
        last[rows] = values[rows, values.shape[1] - 1 - np.argmax(known, axis=1)]
    return last


def lagged(values: F32, lags: Ints) -> F32:
    """`values[:, T - lag]` for each lag (N, L): lag 1 is the newest; NaN before the beginning."""
    at = values.shape[1] - lags
    result: F32
    if (at >= 0).all():
        result = np.take(values, at, axis=1)
    else:
        empty = np.empty((len(values), len(lags)))
        taken = values[:, np.maximum(at, 0)] if values.shape[1] else empty
        result = np.where(at >= 0, taken, np.float32(np.nan)).astype(np.float32)
    return result
