"""ETS and Theta of statsforecast, series by series: 70 to 300 series a second, so only when asked.

Their peaks are the running maximum of the slots' quantiles, as if all slots of a window went up
and down together: a lower bound, since these models give no joint distribution.
"""

from __future__ import annotations

import warnings
from typing import Any, Final

import numpy as np

from evenkeel.domain.arrays import F32, F64
from evenkeel.domain.panel import DAY_S, Panel
from evenkeel.forecast.base import N_QUANTILES, QUANTILES, Targets
from evenkeel.forecast.statistical.baseline import Rule
from evenkeel.forecast.statistical.rules import trailing

MIN_SLOTS: Final = 12
"""Below this the models refuse or fit noise: the last day's quantiles instead."""

_CENTRAL: Final = [round(abs(200 * q - 100)) for q in QUANTILES]
"""The central interval (percent) with the quantile at one of its ends; 0 is the median."""


def ets(panel: Panel, targets: Targets) -> tuple[F32, F32]:
    """AutoETS without a season, error and trend chosen by AICc, on the last day."""
    from statsforecast.models import AutoETS

    return _by_series(AutoETS(season_length=1, model="ZZN"))(panel, targets)


def theta(panel: Panel, targets: Targets) -> tuple[F32, F32]:
    """The standard Theta method, on the last day."""
    from statsforecast.models import Theta

    return _by_series(Theta(season_length=1))(panel, targets)


def _by_series(model: Any) -> Rule:
    levels = sorted({c for c in _CENTRAL if c})

    def rule(panel: Panel, targets: Targets) -> tuple[F32, F32]:
        values, peaks = (part.copy() for part in trailing(DAY_S, panel, targets))
        slots = [h - 1 for h in targets.horizons]
        history = panel.values[:, -round(DAY_S / panel.step_s) :].astype(np.float64)
        for i, y in enumerate(history):
            filled = _without_holes(y)
            if len(filled) < MIN_SLOTS:
                continue
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    ahead = model.forecast(filled, targets.furthest, level=levels)
            except (ValueError, IndexError, ZeroDivisionError, NotImplementedError):
                continue  # it does not fit this series: the fallback stands
            path = _quantiles_of(ahead)
            values[i] = path[slots]
            running = np.maximum.accumulate(path, axis=0)
            peaks[i] = running[[w - 1 for w in targets.windows]]
        return values, peaks

    return rule


def _quantiles_of(ahead: dict[str, F64]) -> F32:
    """(h, Q) from the library's central intervals."""
    path = np.empty((len(ahead["mean"]), N_QUANTILES), dtype=np.float32)
    for j, (q, central) in enumerate(zip(QUANTILES, _CENTRAL, strict=True)):
        path[:, j] = ahead["mean" if not central else f"{'hi' if q > 0.5 else 'lo'}-{central}"]
    return path


def _without_holes(y: F64) -> F64:
    """Holes bridged in a straight line, from the first known value on."""
    known = np.flatnonzero(np.isfinite(y))
    if not len(known):
        return y[:0]
    first = known[0]
    return np.interp(np.arange(first, len(y)), known, y[known])
