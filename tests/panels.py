"""Small panels of made-up demand for forecasting tests."""

from __future__ import annotations

import numpy as np

from evenkeel.domain.panel import Panel
from evenkeel.domain.resources import Resource

START_S = 1_375_315_200.0  # 2013-08-01 00:00 UTC


def panel(values, **more) -> Panel:
    """CPU demand of (N, T), ids a, b, c ..."""
    values = np.atleast_2d(np.asarray(values, dtype=np.float32))
    more = {
        "ids": tuple(f"vm{i}" for i in range(len(values))),
        "start_s": START_S,
        "resource": Resource.CPU,
        "capacity": np.ones(len(values)),
    } | more
    return Panel(values=values, **more)


def fleet(n: int = 12, n_slots: int = 3 * 288, seed: int = 0, **more) -> Panel:
    """Noisy days and nights of VMs of different size."""
    rng = np.random.default_rng(seed)
    t = np.arange(n_slots)
    size = rng.uniform(0.05, 0.6, n)[:, None]
    phase = rng.uniform(0, 2 * np.pi, n)[:, None]
    wave = 1 + 0.6 * np.sin(2 * np.pi * t / 288 + phase)
    return panel(size * wave * rng.gamma(8, 1 / 8, (n, n_slots)), **more)
