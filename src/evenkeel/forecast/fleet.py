"""Forecasts for a whole fleet: in pieces that fit the processor's caches, by any workers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from evenkeel.domain.panel import Panel
from evenkeel.forecast.base import FittedForecaster, Forecast, Targets
from evenkeel.forecast.calibration import Calibration
from evenkeel.forecast.workers import Report, Workers

PIECE = 2048
"""Series at once: enough to spread Python's own cost, few enough to stay out of main memory."""

Piece = Callable[[], Panel]
"""Makes its panel where it is forecast; a worker elsewhere is sent what it holds."""


def slices(n_series: int) -> list[slice]:
    """At least one, be it empty."""
    return [slice(i, min(i + PIECE, n_series)) for i in range(0, max(1, n_series), PIECE)]


def forecast_in_pieces(
    fitted: FittedForecaster, pieces: Iterable[Piece], targets: Targets, workers: Workers
) -> Iterator[Forecast]:
    """Forecast every piece, in order.

    Pieces of one fleet say what one piece would when their panels have its `kin`. Raises
    ValueError when the model breaks its contract, and what `workers` do.
    """
    return workers.map(partial(_sound, fitted, targets), pieces)


def forecast_fleet(
    fitted: FittedForecaster,
    pieces: Iterable[Piece],
    targets: Targets,
    workers: Workers,
    calibration: Calibration,
) -> tuple[Forecast, Forecast]:
    """What the model says of the whole fleet, and that put right by `calibration`.

    Raises ValueError when the model breaks its contract, and what `workers` do.
    """
    raw, calibrated = [], []
    for forecast in forecast_in_pieces(fitted, pieces, targets, workers):
        raw.append(forecast)
        calibrated.append(calibration.apply(forecast))
    return _joined(raw), _joined(calibrated)


def _sound(fitted: FittedForecaster, targets: Targets, piece: Piece, _report: Report) -> Forecast:
    panel = piece()
    forecast = fitted.predict(panel, targets)
    if forecast.ids != panel.ids or forecast.origin_s != panel.end_s:
        raise ValueError("the forecast is of other VMs or of another time than was asked")
    for quantiles in (forecast.values, forecast.peaks):
        if not np.isfinite(quantiles).all() or (quantiles < 0).any():
            raise ValueError("the forecast holds numbers that no demand can have")
        if (np.diff(quantiles, axis=-1) < 0).any():
            raise ValueError("the forecast's quantiles cross")
    return forecast


def _joined(forecasts: Sequence[Forecast]) -> Forecast:
    return replace(
        forecasts[0],
        ids=tuple(vm for forecast in forecasts for vm in forecast.ids),
        values=np.concatenate([forecast.values for forecast in forecasts]),
        peaks=np.concatenate([forecast.peaks for forecast in forecasts]),
    )
