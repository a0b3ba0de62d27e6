"""When the baselines take a peak for known, a history for enough, and what they say without one."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from evenkeel.domain.arrays import F32, F64, Bools
from evenkeel.forecast.base import LEVELS
from evenkeel.forecast.windows import window_max

MIN_KNOWN_SHARE: Final = 0.5
"""A window's peak is known when at least this share of its slots is."""


def window_peaks(x: F32, width: int) -> F32:
    """(N, T - width + 1): highest known value of every `width` slots, NaN where too few are."""
    n, t = x.shape
    if width > t:
        return np.full((n, 0), np.nan, dtype=np.float32)
    peaks = window_max(x, width)
    is_known = np.isfinite(x)
    if is_known.all():
        return peaks
    total: np.ndarray[Any, np.dtype[np.int32]] = np.zeros((n, t + 1), dtype=np.int32)
    np.cumsum(is_known, axis=1, out=total[:, 1:])
    n_known = total[:, width:] - total[:, :-width]
    return np.where(n_known >= max(1.0, MIN_KNOWN_SHARE * width), peaks, np.float32(np.nan))


def has_at_least(x: F32, n_known: int) -> Bools:
    """(N,): whether a row has that many known values."""
    result: Bools = np.count_nonzero(np.isfinite(x), axis=1) >= n_known
    return result


def unknown(capacity: F64) -> F32:
    """(N, Q) for series of which nothing is known: anything up to the capacity, evenly; or zero."""
    return (np.nan_to_num(capacity, nan=0.0)[:, None] * LEVELS).astype(np.float32)
