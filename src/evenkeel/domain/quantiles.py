"""The quantile levels that every forecast states, and what follows from a row of quantiles."""

from __future__ import annotations

from typing import Final

import numpy as np

from evenkeel.domain.arrays import F32, F64, Ints

QUANTILES: Final = (0.05, 0.1, 0.25, 0.5, 0.75, 0.8, 0.9, 0.95, 0.99)
N_QUANTILES: Final = len(QUANTILES)
LEVELS: Final = np.array(QUANTILES, dtype=np.float32)
_EXACT: Final = np.array(QUANTILES)
MEDIAN: Final = QUANTILES.index(0.5)


def tidy(quantiles: F32) -> F32:
    """Quantiles that keep the contract: not negative, not crossing (sorted: Chernozhukov 2010)."""
    return np.sort(np.maximum(np.nan_to_num(quantiles, nan=0.0), 0.0), axis=-1).astype(np.float32)


def exceedance(quantiles: F32, threshold: F64) -> F64:
    """P(demand > threshold): `quantiles` (..., Q) against `threshold` (...), linear in between.

    Below the lowest quantile the distribution is a line down to zero demand at probability 0;
    above the highest it falls off as an exponential through the two highest quantiles.
    """
    levels = np.concatenate([[0.0], LEVELS.astype(np.float64)])
    knots = np.concatenate([np.zeros((*quantiles.shape[:-1], 1)), quantiles], axis=-1)
    x = np.broadcast_to(np.asarray(threshold, dtype=np.float64), knots.shape[:-1])
    upper: Ints = np.sum(knots <= x[..., None], axis=-1)  # first knot above x
    at = np.clip(upper, 1, len(levels) - 1)
    left = np.take_along_axis(knots, at[..., None] - 1, -1)[..., 0]
    right = np.take_along_axis(knots, at[..., None], -1)[..., 0]
    share = np.clip((x - left) / np.maximum(right - left, 1e-12), 0.0, 1.0)
    inside = 1.0 - (levels[at - 1] + share * (levels[at] - levels[at - 1]))
    last, before = knots[..., -1], knots[..., -2]
    rate = np.log((1 - levels[-2]) / (1 - levels[-1])) / np.maximum(last - before, 1e-12)
    beyond = (1 - levels[-1]) * np.exp(-rate * np.maximum(x - last, 0.0))
    result: F64 = np.where(x < 0, 1.0, np.where(x >= last, beyond, inside))
    return result


def pinball(y: F32 | F64, quantiles: F32) -> F32:
    """Loss (..., Q) of `quantiles` (..., Q) when `y` (...) came; NaN where `y` is."""
    gap = y[..., None] - quantiles
    loss: F32 = np.maximum(LEVELS * gap, (LEVELS - 1) * gap)
    return loss


def row_quantiles(values: F32, levels: F64 = _EXACT) -> F32:
    """Quantiles of each row (..., T) of what is not NaN, at `levels` (Q,): (..., Q).

    Linear between order statistics (Hyndman and Fan 1996, type 7); a row without a number: NaN.
    One sort of float32, which NumPy vectorises, does all rows; `nanquantile` goes row by row.
    """
    if not values.shape[-1]:
        return np.full((*values.shape[:-1], len(levels)), np.nan, dtype=np.float32)
    ordered = np.sort(values, axis=-1)  # NaN sorts last
    last = np.sum(~np.isnan(values), axis=-1)[..., None] - 1
    at = np.maximum(last, 0) * levels
    below = np.floor(at).astype(np.intp)
    share = at - below
    low = np.take_along_axis(ordered, below, -1)
    high = np.take_along_axis(ordered, np.minimum(below + 1, np.maximum(last, 0)), -1)
    result: F32 = (low + (high - low) * share).astype(np.float32)
    return result
