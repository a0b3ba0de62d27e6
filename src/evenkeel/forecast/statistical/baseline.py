"""The one class of all baselines: a rule from a panel to quantiles, without anything learnt.

A rule leaves NaN where it knows nothing; there the forecast is `unknown`: every demand up to the
capacity is as likely as any other, and zero when not even the capacity is known.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from evenkeel.domain.arrays import F32
from evenkeel.domain.panel import Panel
from evenkeel.forecast.base import Forecast, Targets, tidy
from evenkeel.forecast.statistical.empirical import unknown

Rule = Callable[[Panel, Targets], tuple[F32, F32]]
"""Panel of at least one slot, targets -> (N, H, Q) and (N, W, Q), NaN where nothing is known."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """Forecaster and FittedForecaster in one: nothing is learnt, so nothing is kept."""

    name: str
    rule: Rule

    def fit(self, panels: Sequence[Panel], targets: Targets, seed: int) -> Baseline:
        return self

    def load(self, blob: bytes) -> Baseline:
        """Raises ValueError when another model wrote `blob`."""
        wrote = json.loads(blob).get("model")
        if wrote != self.name:
            raise ValueError(f"{self.name} cannot load what {wrote!r} saved")
        return self

    def save(self) -> bytes:
        return json.dumps({"model": self.name}).encode()

    def predict(self, panel: Panel, targets: Targets) -> Forecast:
        nothing = np.repeat(unknown(panel.capacity)[:, None], len(targets.horizons), axis=1)
        no_peak = np.repeat(unknown(panel.capacity)[:, None], len(targets.windows), axis=1)
        values, peaks = nothing, no_peak
        if panel.n_slots and panel.n_series:
            values, peaks = self.rule(panel, targets)
            values = np.where(np.isnan(values), nothing, values)
            peaks = np.where(np.isnan(peaks), no_peak, peaks)
        return Forecast(
            panel.ids, panel.end_s, panel.step_s, targets, values=tidy(values), peaks=tidy(peaks)
        )
