"""How long a forecast of a whole fleet takes from a warm history, and what memory it needs."""

from __future__ import annotations

import resource as rusage
import time
from collections.abc import Callable, Collection

import numpy as np

from evenkeel.controller.serving import new_tracker
from evenkeel.controller.warmth import PRESENT_SLOTS, WarmFleet, WarmPanels
from evenkeel.domain.panel import Calendar, Panel
from evenkeel.domain.quantiles import row_quantiles
from evenkeel.domain.resources import AXIS, N_RESOURCES, Resource
from evenkeel.envelope import Result
from evenkeel.forecast.base import FittedForecaster, Forecast, Targets
from evenkeel.forecast.fleet import slices
from evenkeel.forecast.kin import DAY
from evenkeel.forecast.network.forecaster import NetworkForecaster
from evenkeel.forecast.network.settings import Training
from evenkeel.forecast.rows import HISTORY
from evenkeel.forecast.workers import Workers
from evenkeel.sim.demand import labelled_panel

TARGETS = Targets(horizons=(1, 6, 12))
STEP_S = 300
END_S = 1_800_000_000 // STEP_S * STEP_S
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
        source = _Made(made, count, rng)
        warm = {r: WarmPanels(source, r, STEP_S, HISTORY, Calendar()) for r in AXIS}
        fleets = {r: panels.advance(END_S) for r, panels in warm.items()}
        report(f"forecasting VMs {done + 1:,} to {done + count:,}")
        began_s = time.perf_counter()
        said = {r: _pass(warm[r], models[r], workers) for r in AXIS}
        seconds += time.perf_counter() - began_s
        assert all(len(forecast.ids) == count for forecast in said.values())
        trailing_s += sum(_run_trailing(fleet) for fleet in fleets.values())
        done += count
        del warm, fleets, said
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


class _Made:
    """A `PanelSource` whose VMs repeat the patterns of `made`, each at a scale of its own."""

    def __init__(self, made: Panel, n_vms: int, rng: np.random.Generator) -> None:
        self._patterns = made.values.copy()
        now = np.arange(-PRESENT_SLOTS, 1) + END_S // STEP_S
        # Series have gaps, but not now: all VMs are to be forecast.
        self._patterns[:, now % HISTORY] = np.nan_to_num(self._patterns[:, now % HISTORY])
        self._pattern = rng.integers(made.n_series, size=n_vms)
        self._unit = rng.lognormal(0, 1, (n_vms, 1)).astype(np.float32)
        self._ids = tuple(str(i) for i in range(n_vms))
        self._kinds = tuple(f"kind-{i % N_KINDS}" for i in range(n_vms))

    def panel(
        self, resource: Resource, start_s: int, end_s: int, vms: Collection[str] | None = None
    ) -> Panel:
        slots = np.arange(start_s // STEP_S, end_s // STEP_S) % HISTORY
        return Panel(
            ids=self._ids,
            values=self._patterns[:, slots][self._pattern] * self._unit,
            start_s=float(start_s),
            resource=resource,
            step_s=float(STEP_S),
            capacity=np.full(len(self._ids), 8.0),
            kinds=self._kinds,
        )


def _pass(warm: WarmPanels, fitted: FittedForecaster, workers: Workers) -> Forecast:
    """What the controller does each slot: take in the new one, forecast, calibrate."""
    fleet = warm.advance(END_S + STEP_S)
    tracker = new_tracker(fleet.recent.resource, TARGETS)
    raw, forecast = fleet.forecast(fitted, TARGETS, workers, tracker)
    tracker.keep(raw)
    return forecast


def _run_trailing(fleet: WarmFleet) -> float:
    """Seconds for the quantiles of each series' last day, and nothing else, on one thread."""
    began_s = time.perf_counter()
    for some in slices(fleet.recent.n_series):
        row_quantiles(fleet.panel(some, DAY).values)
    return time.perf_counter() - began_s
