"""Seconds ahead on a host: what it costs a tick, and how good it is on VMs not learnt from.

Baselines of accuracy are the built-in rule, the last value, last value plus differences and the
window's quantiles; of time the built-in rule, and the same model asked for one VM at a time.
"""

from __future__ import annotations

import resource as rusage
import time
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F32
from evenkeel.domain.quantiles import tidy
from evenkeel.domain.resources import N_RESOURCES
from evenkeel.envelope import Result
from evenkeel.forecast.metrics import Judged, Observed, summary
from evenkeel.forecast.short import (
    BUILT_IN,
    HORIZONS,
    N_TICKS,
    PARTS,
    ShortWindow,
    Weights,
    describe,
    forecast_ticks,
)
from evenkeel.forecast.short_fit import TARGETS, ShortForecaster
from evenkeel.sim.ticks import TICK_S, tick_panel

LEARN_VMS: Final = 600
JUDGED_VMS: Final = 300
TICKS: Final = 1500
ORIGINS: Final = 60
TIMED_TICKS: Final = 100
COVERED: Final = (0.9, 0.95, 0.99)
SPANS: Final = tuple(f"{h * TICK_S:g}s" for h in HORIZONS)


def bench_short(n_vms: int, seed: int, report: Callable[[str], None]) -> Result:
    """Learn from some generated VMs, judge on others, and time ticks of a host of `n_vms`."""
    began_s = time.perf_counter()
    rng = np.random.default_rng(seed)
    report("making demand")
    learnt_from = tick_panel(LEARN_VMS, TICKS, rng)
    judged = tick_panel(JUDGED_VMS, TICKS, rng)
    report("learning")
    fit_s = time.perf_counter()
    learnt = ShortForecaster().fit([learnt_from], TARGETS, seed)
    fit_s = time.perf_counter() - fit_s
    ways: dict[str, Callable[[F32], F32]] = {
        "built-in": forecast_ticks,
        "last-value": lambda values: _part(values, "last-value"),
        "last-diff": lambda values: _part(values, "last-diff"),
        "trailing-5m": lambda values: _part(values, "trailing"),
    }
    report("judging")
    baselines = {name: _judge(judged.values, way) for name, way in ways.items()}
    metrics = _judge(judged.values, lambda values: forecast_ticks(values, (learnt.weights,)))
    best = {span: min(each[f"wql.{span}"] for each in baselines.values()) for span in SPANS}
    metrics |= {f"ratio.{span}": metrics[f"wql.{span}"] / best[span] for span in SPANS}
    report(f"forecasting {n_vms} VMs each tick")
    demand = tick_panel(n_vms * N_RESOURCES, N_TICKS + TIMED_TICKS, rng).values
    metrics |= _time(demand, n_vms, (learnt.weights,) * N_RESOURCES)
    baselines["built-in"] |= _time(demand, n_vms, (BUILT_IN,))
    baselines["one-vm-at-a-time"] = _time_each(demand, n_vms, (learnt.weights,) * N_RESOURCES)
    return Result(
        name="short",
        seconds=time.perf_counter() - began_s,
        seed=seed,
        metrics=metrics
        | {
            "vms": float(n_vms),
            "fit_s": fit_s,
            "model_bytes": float(len(learnt.save())),
            "rss_mib": rusage.getrusage(rusage.RUSAGE_SELF).ru_maxrss / 1024,
        },
        baselines=baselines,
    )


def _part(values: F32, name: str) -> F32:
    """One of the simple forecasts that the model weighs, by itself."""
    seen = describe(values)
    return tidy(seen.parts[:, :, PARTS.index(name)] + seen.last[:, None, None])


def _judge(values: F32, forecast: Callable[[F32], F32]) -> dict[str, float]:
    """From origins all over the series, each knowing the window before it."""
    last = values.shape[1] - HORIZONS[-1]
    origins = np.linspace(N_TICKS, last, ORIGINS).astype(int).tolist()
    told = np.concatenate([forecast(values[:, o - N_TICKS : o]) for o in origins])
    came = np.concatenate([values[:, o + np.array(HORIZONS) - 1] for o in origins])
    judged = Judged.of(Observed(came, np.empty((len(came), 0), np.float32)), told)
    found = summary(judged, SPANS)
    shown = [f"{what}.{span}" for what in ("wql", "mae") for span in SPANS]
    return {name: found[name] for name in [*shown, *(f"coverage.{level:g}" for level in COVERED)]}


def _time(demand: F32, n_vms: int, weights: Sequence[Weights]) -> dict[str, float]:
    """Milliseconds a tick: the window updated, everything of every VM forecast."""
    window, ids = ShortWindow(N_RESOURCES), tuple(f"vm{k}" for k in range(n_vms))
    took: list[tuple[float, float]] = []
    for tick in demand.T.reshape(-1, n_vms, N_RESOURCES).astype(np.float64):
        began = _clocks()
        window.observe(ids, tick)
        window.forecast(weights)
        took.append(_since(began))
    return _percentiles(took[N_TICKS:])


def _time_each(demand: F32, n_vms: int, weights: Sequence[Weights]) -> dict[str, float]:
    by_vm = demand.reshape(n_vms, N_RESOURCES, -1)
    took: list[tuple[float, float]] = []
    for end in range(N_TICKS, N_TICKS + TIMED_TICKS // 10):
        began = _clocks()
        for each in by_vm:
            forecast_ticks(each[:, end - N_TICKS : end], weights)
        took.append(_since(began))
    return _percentiles(took)


def _clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _since(began: tuple[float, float]) -> tuple[float, float]:
    wall_s, cpu_s = _clocks()
    return wall_s - began[0], cpu_s - began[1]


def _percentiles(took: list[tuple[float, float]]) -> dict[str, float]:
    """`took`: wall and CPU seconds of each tick; others on the machine are in the former only."""
    wall_s, cpu_s = np.array(took).T
    p50, p95 = np.percentile(wall_s, [50, 95]).tolist()
    return {
        "short_update_ms.p50": p50 * 1e3,
        "short_update_ms.p95": p95 * 1e3,
        "short_core_pct": float(cpu_s.mean()) / TICK_S * 100,
    }
