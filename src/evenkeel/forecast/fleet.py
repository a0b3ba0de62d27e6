"""Forecasts for a whole fleet: in pieces that fit the processor's caches, on several workers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from evenkeel.domain.panel import Panel
from evenkeel.forecast.base import FittedForecaster, Forecast, Targets
from evenkeel.forecast.workers import Report, Workers

PIECE = 4096
"""Series at once: enough to spread Python's own cost, few enough to stay out of main memory."""

Piece = Callable[[], Panel]
"""Makes its panel where it is forecast; a worker elsewhere is sent what it holds."""


def slices(n_series: int) -> list[slice]:
    return [slice(i, min(i + PIECE, n_series)) for i in range(0, n_series, PIECE)]


def forecast_in_pieces(
    fitted: FittedForecaster, pieces: Iterable[Piece], targets: Targets, workers: Workers
) -> Iterator[Forecast]:
    """Forecast every piece, in order."""
    return workers.map(partial(_predicted, fitted, targets), pieces)


def _predicted(
    fitted: FittedForecaster, targets: Targets, piece: Piece, _report: Report
) -> Forecast:
    return fitted.predict(piece(), targets)
