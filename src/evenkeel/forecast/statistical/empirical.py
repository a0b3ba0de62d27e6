"""Quantiles and running peaks of many series at once, with holes in them. Used by the baselines.

`np.nanquantile` goes series by series in Python as soon as there is a NaN; here one sort does all.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from evenkeel.domain.arrays import F32, F64, Bools
from evenkeel.forecast.base import LEVELS, N_QUANTILES, QUANTILES

MIN_KNOWN_SHARE: Final = 0.5
"""A window's peak is known when at least this share of its slots is."""


def quantiles(x: F32) -> F32:
    """(N, Q) quantiles of each row of (N, T), NaN left out, linear between order statistics.

    A row without a known value is NaN.
    """
    n, t = x.shape
    if t == 0:
        return np.full((n, N_QUANTILES), np.nan, dtype=np.float32)
    ordered = np.sort(x, axis=1)  # NaN goes last
    last = np.maximum(t - np.count_nonzero(np.isnan(ordered), axis=1) - 1, 0)
    at = last[:, None] * np.array(QUANTILES)
    below = np.floor(at).astype(np.intp)
    above = np.minimum(below + 1, last[:, None])
    low = np.take_along_axis(ordered, below, axis=1)
    high = np.take_along_axis(ordered, above, axis=1)
    result: F32 = (low + (high - low) * (at - below)).astype(np.float32)
    return result


def window_peaks(x: F32, width: int) -> F32:
    """(N, T - width + 1): highest known value of every `width` slots; NaN where too few are known.

    Doubling: a maximum over 2m slots is the larger of two over m.
    """
    n, t = x.shape
    if width > t:
        return np.full((n, 0), np.nan, dtype=np.float32)
    is_known = np.isfinite(x)
    peaks = np.where(is_known, x, -np.inf).astype(np.float32)
    span = 1
    while span * 2 <= width:
        peaks = np.maximum(peaks[:, :-span], peaks[:, span:])
        span *= 2
    n_windows = t - width + 1
    peaks = np.maximum(peaks[:, :n_windows], peaks[:, width - span : width - span + n_windows])
    if is_known.all():
        return peaks
    total: np.ndarray[Any, np.dtype[np.int32]] = np.zeros((n, t + 1), dtype=np.int32)
    np.cumsum(is_known, axis=1, out=total[:, 1:])
    n_known = total[:, width:] - total[:, :-width]
    return np.where(n_known >= max(1.0, MIN_KNOWN_SHARE * width), peaks, np.float32(np.nan))


def last_known(x: F32) -> F32:
    """(N,): the latest value that is known, NaN when none is."""
    n, t = x.shape
    if t == 0:
        return np.full(n, np.nan, dtype=np.float32)
    at = t - 1 - np.argmax(np.isfinite(x[:, ::-1]), axis=1)
    result: F32 = x[np.arange(n), at]
    return result


def has_at_least(x: F32, n_known: int) -> Bools:
    """(N,): whether a row has that many known values."""
    result: Bools = np.count_nonzero(np.isfinite(x), axis=1) >= n_known
    return result


def unknown(capacity: F64) -> F32:
    """(N, Q) for series of which nothing is known: anything up to the capacity, evenly; or zero."""
    return (np.nan_to_num(capacity, nan=0.0)[:, None] * LEVELS).astype(np.float32)
