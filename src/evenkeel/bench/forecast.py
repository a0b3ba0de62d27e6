"""How long a forecast of a whole fleet takes from a warm history, and what memory it needs."""

from __future__ import annotations

import resource as rusage
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from evenkeel.domain.panel import SLOT_S, Panel
from evenkeel.domain.quantiles import row_quantiles
from evenkeel.domain.resources import AXIS, N_RESOURCES, Resource
from evenkeel.envelope import Result
from evenkeel.forecast.base import FittedForecaster, Targets
from evenkeel.forecast.fleet import forecast_in_pieces, slices
from evenkeel.forecast.network.forecaster import NetworkForecaster
from evenkeel.forecast.network.settings import Training
from evenkeel.forecast.rows import HISTORY
from evenkeel.forecast.warm import WarmHistory
from evenkeel.forecast.workers import Workers
from evenkeel.sim.demand import labelled_panel

TARGETS = Targets(horizons=(1, 6, 12))
N_KINDS = 50
PATTERNS = 2000
"""Different series made; the fleet repeats them at other scales."""
AT_ONCE = 100_000
"""VMs held in memory together; larger fleets go through in such pieces."""


def bench_forecast(
    n_vms: int, seed: int, report: Callable[[str], None], workers: Workers
) -> Result:
    """`n_vms` x 4 resources x 3 horizons x 9 quantiles; a larger fleet in pieces of `AT_ONCE`."""
    rng = np.random.default_rng(seed)
    report("making demand")
    made = labelled_panel(PATTERNS // 4, HISTORY, rng).panel
    report("training a small model")
    small = NetworkForecaster(training=Training(epochs=1, rows_per_epoch=20_000))
    models = {r: small.fit([made], TARGETS, seed) for r in AXIS}
    seconds = trailing_s = 0.0
    done = 0
    while done < n_vms:
        count = min(AT_ONCE, n_vms - done)
        report(f"filling the history of VMs {done + 1:,} to {done + count:,}")
        warm = {r: _history(count, made, rng) for r in AXIS}
        report(f"forecasting VMs {done + 1:,} to {done + count:,}")
        seconds += sum(_run(warm[r], models[r], r, workers) for r in AXIS)
        trailing_s += sum(_run_trailing(warm[r]) for r in AXIS)
        done += count
        del warm
    forecasts = n_vms * N_RESOURCES * len(TARGETS.horizons)
    return Result(
        name="forecast",
        seconds=seconds,
        seed=seed,
        metrics={
            "seconds": seconds,
            "rss_mib": rusage.getrusage(rusage.RUSAGE_SELF).ru_maxrss / 1024,
            "vms": n_vms,
            "forecasts_per_s": forecasts / seconds,
            "us_per_vm": seconds / n_vms * 1e6,
        },
        baselines={
            "trailing-1d": {"seconds": trailing_s, "us_per_vm": trailing_s / n_vms * 1e6},
        },
    )


def _history(n_vms: int, made: Panel, rng: np.random.Generator) -> WarmHistory:
    warm = WarmHistory(n_vms)
    for first in range(0, n_vms, 8192):
        rows = np.arange(first, min(first + 8192, n_vms))
        unit = rng.lognormal(0, 1, (len(rows), 1)).astype(np.float32)
        warm.fill(rows, made.values[rng.integers(made.n_series, size=len(rows))] * unit)
    return warm


def _run(
    warm: WarmHistory, fitted: FittedForecaster, resource: Resource, workers: Workers
) -> float:
    """Seconds for one resource of all VMs, reading the history included."""
    began_s = time.perf_counter()
    pieces = (
        partial(_panel, warm.part(rows), rows.start, resource) for rows in slices(warm.n_series)
    )
    for forecast in forecast_in_pieces(fitted, pieces, TARGETS, workers):
        assert np.isfinite(forecast.values).all()
    return time.perf_counter() - began_s


def _panel(warm: WarmHistory, first: int, resource: Resource) -> Panel:
    index = range(first, first + warm.n_series)
    return Panel(
        ids=tuple(str(i) for i in index),
        values=warm.values(slice(None)),
        start_s=0.0,
        resource=resource,
        step_s=SLOT_S,
        capacity=np.full(len(index), 8.0),
        kinds=tuple(f"kind-{i % N_KINDS}" for i in index),
    )


def _run_trailing(warm: WarmHistory) -> float:
    """Seconds for the quantiles of each series' last day, and nothing else, on one thread."""
    began_s = time.perf_counter()
    for first in range(0, warm.n_series, 4096):
        row_quantiles(warm.values(slice(first, first + 4096))[:, -288:])
    return time.perf_counter() - began_s
