"""The contract of every forecaster: `Forecaster -> FittedForecaster -> Forecast`.

A forecaster learns from panels of the past, of whatever VMs; what it learnt forecasts any panel of
the same resource, also VMs it never saw. The origin of a forecast is the end of the panel it was
asked with: what lies later is not there to be looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from evenkeel.domain.arrays import F32, F64, Ints
from evenkeel.domain.panel import Panel

QUANTILES: Final = (0.05, 0.1, 0.25, 0.5, 0.75, 0.8, 0.9, 0.95, 0.99)
N_QUANTILES: Final = len(QUANTILES)
LEVELS: Final = np.array(QUANTILES, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Targets:
    """What is asked: the demand in single slots, and its peak over windows, both from the origin.

    Horizon h is the h-th slot after the origin (1: the very next). Window w is slots 1..w.
    """

    horizons: tuple[int, ...]
    windows: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.horizons or any(n < 1 for n in self.horizons + self.windows):
            raise ValueError("horizons and windows are slot counts of at least 1")

    @property
    def furthest(self) -> int:
        return max(self.horizons + self.windows)


@dataclass(frozen=True, slots=True, eq=False)
class Forecast:
    """Quantiles in the panel's unit: of demand, `values` (N, H, Q), of the peak, `peaks` (N, W, Q).

    Never negative, never crossing, never NaN.
    """

    ids: tuple[str, ...]
    origin_s: float
    step_s: float
    targets: Targets
    values: F32
    peaks: F32

    def __post_init__(self) -> None:
        n, h, w = len(self.ids), len(self.targets.horizons), len(self.targets.windows)
        if self.values.shape != (n, h, N_QUANTILES) or self.peaks.shape != (n, w, N_QUANTILES):
            raise ValueError(f"forecast of shapes {self.values.shape} and {self.peaks.shape}")


class FittedForecaster(Protocol):
    """What a forecaster learnt. Immutable: the same panel and targets give the same bytes."""

    @property
    def name(self) -> str: ...

    def predict(self, panel: Panel, targets: Targets) -> Forecast:
        """Forecast every series of `panel` from its end."""
        ...

    def save(self) -> bytes:
        """Everything that `Forecaster.load` needs to forecast the same bytes again."""
        ...


class Forecaster(Protocol):
    """A way to learn. `seed` decides every random choice."""

    @property
    def name(self) -> str: ...

    def fit(self, panels: Sequence[Panel], targets: Targets, seed: int) -> FittedForecaster:
        """Learn from panels of one resource; each is a stretch of time without known holes."""
        ...

    def load(self, blob: bytes) -> FittedForecaster: ...


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
