"""A made day for the consolidation benchmark: the same numbers wherever it is made."""

from __future__ import annotations

import numpy as np

from evenkeel.domain.arrays import F64


def made_percent(n_vms: int = 60) -> F64:
    """(n_vms, 288) whole percents: levels, noise, bursts of some, surges of all, a few idle VMs."""
    state, rows = 12345, []
    for vm in range(n_vms):
        level = (vm * 37) % 50 if vm % 5 else 1
        row, burst = [], 0
        for slot in range(288):
            state = (state * 1103515245 + 12345) % 2**31
            noise = (state >> 16) % 100
            burst = 6 if noise == 99 and vm % 3 == 0 else max(burst - 1, 0)
            surge = 35 if slot % 96 in (40, 41, 42) and vm % 2 else 0
            value = level * 2 // 3 + noise * (level + 2) // 100 + (45 if burst else 0) + surge
            row.append(min(max(value - 3, 0), 100))
        rows.append(row)
    return np.array(rows, dtype=np.float64)
