"""Demand tick by tick (5 s), to learn and to judge short forecasts by: many kinds of VM in turn.

A third are the classes of `sim/demand.py` lived 60 times as fast (a day is 24 minutes, bursts last
seconds to minutes), a third the same at their own pace, and a third `sim/workload.py`'s functions:
steady, waves and on-off of any period, most of them noisy.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F32, F64
from evenkeel.domain.panel import DAY_S, SLOT_S, Calendar, Panel
from evenkeel.domain.resources import Resource
from evenkeel.sim.demand import CLASSES, MONDAY_S, demand, draw_spec
from evenkeel.sim.workload import Diurnal, Noisy, SquareWave, Steady, Workload

TICK_S: Final = 5.0
NOISE_SLOTS_S: Final = (1.0, 5.0, 15.0, 60.0)


def tick_panel(
    n_vms: int, n_ticks: int, rng: np.random.Generator, resource: Resource = Resource.CPU
) -> Panel:
    """CPU cores of `n_vms` VMs of half a core to 64, whatever `resource` it is called."""
    rows = [_series(k, n_ticks, rng) for k in range(n_vms)]
    capacity = np.exp(rng.uniform(np.log(0.5), np.log(64.0), n_vms))
    shares = np.array(rows, np.float64).reshape(n_vms, n_ticks)
    values: F32 = (shares * capacity[:, None]).astype(np.float32)
    ids = tuple(f"vm{k}" for k in range(n_vms))
    return Panel(ids, values, MONDAY_S, resource, TICK_S, capacity)


def _series(k: int, n_ticks: int, rng: np.random.Generator) -> F64:
    ticks: F64 = TICK_S * np.arange(n_ticks, dtype=np.float64)
    if k % 3 == 2:
        return _workload(rng).at(rng.uniform(0, DAY_S) + ticks)
    spec = replace(draw_spec(CLASSES[k // 3 % len(CLASSES)], rng), gaps=0.0)
    pace = SLOT_S / TICK_S if k % 3 else 1.0
    when_s: F64 = MONDAY_S + rng.uniform(0, 7 * DAY_S) + pace * ticks
    return demand(spec, when_s, Calendar().at(when_s), rng)


def _workload(rng: np.random.Generator) -> Workload:
    low, high = np.sort(rng.uniform(0, 1, 2)).tolist()
    shape = rng.integers(4)
    base: Workload
    if shape == 0:
        base = Steady(high)
    elif shape == 1:
        base = Diurnal(high, high * rng.uniform(0, 0.9), period_s=_log(rng, 60.0, DAY_S))
    else:
        low *= rng.integers(2)
        period_s = _log(rng, 20.0, 3600.0)
        base = SquareWave(low, high, period_s, rng.uniform(0.1, 0.9), rng.uniform(0, period_s))
    if rng.random() < 0.1:
        return base
    slot_s = NOISE_SLOTS_S[rng.integers(len(NOISE_SLOTS_S))]
    return Noisy(base, _log(rng, 0.01, 1.0), int(rng.integers(2**30)), slot_s)


def _log(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
