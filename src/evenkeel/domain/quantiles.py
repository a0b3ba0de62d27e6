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
ROUNDING: Final = 1e-6
"""Relative error of a float32 quantile, with a margin."""
_TAIL: Final = 1.0 - np.concatenate([[0.0], QUANTILES])
"""P(demand > knot) at zero demand and at each quantile."""


def tidy(quantiles: F32) -> F32:
    """Quantiles that keep the contract: not negative, not crossing (sorted: Chernozhukov 2010)."""
    return np.sort(np.maximum(np.nan_to_num(quantiles, nan=0.0), 0.0), axis=-1).astype(np.float32)


def exceedance(quantiles: F32, threshold: F64) -> F64:
    """P(demand > threshold): `quantiles` (..., Q) against `threshold` (...).

    Between quantiles the distribution is the monotone cubic through them (Fritsch and Butland
    1984): demand is skewed, and straight lines would state odds up to three points too high
    between far quantiles. Below the lowest it begins at zero demand with probability 0; above the
    highest it falls off as an exponential through the two highest.
    """
    knots = np.concatenate([np.zeros((*quantiles.shape[:-1], 1)), quantiles], axis=-1)
    x = np.broadcast_to(np.asarray(threshold, dtype=np.float64), knots.shape[:-1])
    width = np.maximum(np.diff(knots), 1e-12)
    rate = np.log(_TAIL[-2] / _TAIL[-1]) / width[..., -1]
    slope = _slopes(width, rate * _TAIL[-1])
    upper: Ints = np.sum(knots <= x[..., None], axis=-1)  # first knot above x
    at = np.clip(upper, 1, len(_TAIL) - 1)

    def of(part: F64, i: Ints) -> F64:
        result: F64 = np.take_along_axis(part, i[..., None], -1)[..., 0]
        return result

    span = of(width, at - 1)
    t = np.clip((x - of(knots, at - 1)) / span, 0.0, 1.0)
    inside = _TAIL[at - 1] * (1 + 2 * t) * (1 - t) ** 2 + _TAIL[at] * t**2 * (3 - 2 * t)
    inside -= span * t * (1 - t) * (of(slope, at - 1) * (1 - t) - of(slope, at) * t)
    beyond = _TAIL[-1] * np.exp(-rate * np.maximum(x - knots[..., -1], 0.0))
    result: F64 = np.where(x < 0, 1.0, np.where(x >= knots[..., -1], beyond, inside))
    return result


def whole_shards(quantiles: F32, shard: float, share: F64) -> F64:
    """Counts of shards that a demand with `quantiles` (..., Q) may need more than: the one that
    lies `share` (...) of the way, in [0, 1), from the least to the most. At least one.
    """
    least = np.maximum(np.ceil(quantiles[..., 0] / shard), 1.0)
    most = np.maximum(np.floor(quantiles[..., -1] / shard), least)
    result: F64 = least + np.floor(share * (most - least + 1))
    return result


def moments(quantiles: F32 | F64, most: F64 | float = np.inf) -> tuple[F64, F64]:
    """Mean and standard deviation (...) of demand with these quantiles (..., Q), of which no more
    than `most` (...) counts.

    The distribution that `exceedance` states, with straight lines for its cubic: even between
    quantiles, the lowest for all below it, and above the highest the exponential tail. A tail that
    is cut off where forecasts end leaves hosts short two to four times as often as is accepted;
    one that is read as a normal's from its 99 % leaves a tenth of the risk, and much room, unused.
    """
    cap = np.asarray(most, dtype=np.float64)[..., None]
    knots = np.minimum(quantiles.astype(np.float64), cap)
    knots = np.concatenate([knots[..., :1], knots], axis=-1)
    low, high, top = knots[..., :-1], knots[..., 1:], knots[..., -1:]
    mass = -np.diff(_TAIL)
    beyond = (top - knots[..., -2:-1]) / np.log(_TAIL[-2] / _TAIL[-1])
    reach = np.divide(cap - top, beyond, out=np.full_like(top, np.inf), where=beyond > 0)
    cut = np.exp(-reach)
    with np.errstate(invalid="ignore"):
        cut_twice = np.where(np.isinf(reach), 0.0, cut * (1.0 + reach))
    first = beyond * (1.0 - cut)
    second = 2.0 * beyond**2 * (1.0 - cut_twice)
    mean = (mass * (low + high) / 2).sum(axis=-1) + _TAIL[-1] * (top + first)[..., 0]
    # About the median, so that rounding does not make a spread of what has none.
    middle = knots[..., MEDIAN + 1 : MEDIAN + 2]
    a, b, c = low - middle, high - middle, top - middle
    square = (mass * (a * a + a * b + b * b) / 3).sum(axis=-1)
    square += _TAIL[-1] * (c * c + 2.0 * c * first + second)[..., 0]
    variance = square - (mean - middle[..., 0]) ** 2
    return mean, np.sqrt(np.maximum(variance, 0.0))


def _slopes(width: F64, last: F64) -> F64:
    """Density at each knot (..., Q + 1): weighted harmonic mean of its two sides, so that the
    cubic stays monotone. `last` (...): the tail's density where it begins.
    """
    side = -np.diff(_TAIL) / width
    left, right = width[..., :-1] + 2 * width[..., 1:], 2 * width[..., :-1] + width[..., 1:]
    inner = (left + right) / (left / side[..., :-1] + right / side[..., 1:])
    end = np.minimum(last, 3 * side[..., -1])
    return np.concatenate([side[..., :1], inner, end[..., None]], axis=-1)


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
    gaps = np.isnan(ordered[..., -1])
    result = _between(ordered, levels)
    if gaps.any():  # few rows, as a rule
        result[gaps] = _between_known(ordered[gaps], levels)
    return result


def _between(ordered: F32, levels: F64) -> F32:
    """Of sorted rows without NaN: all are read at the same places."""
    at = (ordered.shape[-1] - 1) * levels
    below = np.floor(at).astype(np.intp)
    low, high = ordered[..., below], ordered[..., np.minimum(below + 1, ordered.shape[-1] - 1)]
    result: F32 = (low + (high - low) * (at - below)).astype(np.float32)
    return result


def _between_known(ordered: F32, levels: F64) -> F32:
    """The same for rows (n, T) that end in NaN, or have nothing else."""
    last = np.sum(~np.isnan(ordered), axis=-1)[..., None] - 1
    at = np.maximum(last, 0) * levels
    below = np.floor(at).astype(np.intp)
    share = at - below
    low = np.take_along_axis(ordered, below, -1)
    high = np.take_along_axis(ordered, np.minimum(below + 1, np.maximum(last, 0)), -1)
    result: F32 = (low + (high - low) * share).astype(np.float32)
    return result
