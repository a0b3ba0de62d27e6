"""The contract of every forecaster: `Forecaster -> FittedForecaster -> Forecast`.

A forecaster learns from panels of the past, of whatever VMs; what it learnt forecasts any panel of
the same resource, also VMs it never saw. The origin of a forecast is the end of the panel it was
asked with: what lies later is not there to be looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from evenkeel.domain.arrays import F32
from evenkeel.domain.panel import Panel
from evenkeel.domain.quantiles import LEVELS, N_QUANTILES, QUANTILES, exceedance, tidy

__all__ = [
    "LEVELS",
    "N_QUANTILES",
    "QUANTILES",
    "FittedForecaster",
    "Forecast",
    "Forecaster",
    "Targets",
    "exceedance",
    "tidy",
]


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

    @classmethod
    def of(cls, panel: Panel, targets: Targets, quantiles: F32) -> Forecast:
        """From raw quantiles (N, K, Q), horizons first, then windows; they are made tidy."""
        tidied, n_horizons = tidy(quantiles), len(targets.horizons)
        return cls(
            panel.ids,
            panel.end_s,
            panel.step_s,
            targets,
            tidied[:, :n_horizons],
            tidied[:, n_horizons:],
        )

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
