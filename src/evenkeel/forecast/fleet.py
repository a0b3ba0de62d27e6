"""Forecasts for a whole fleet: in pieces that fit the processor's caches, on several threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from evenkeel.domain.panel import Panel
from evenkeel.forecast.base import FittedForecaster, Forecast, Targets

PIECE = 4096
"""Series at once: enough to spread Python's own cost, few enough to stay out of main memory."""


def forecast_in_pieces(
    fitted: FittedForecaster,
    n_series: int,
    piece: Callable[[slice], Panel],
    targets: Targets,
    n_threads: int,
) -> Iterator[Forecast]:
    """Forecast `piece(rows)` for all rows, in order. NumPy and ONNX Runtime let threads run."""
    slices = [slice(i, min(i + PIECE, n_series)) for i in range(0, n_series, PIECE)]
    with ThreadPoolExecutor(n_threads) as pool:
        yield from pool.map(lambda rows: fitted.predict(piece(rows), targets), slices)
