"""The inner loops of the calendar: a step function of time changes, and what its levels commit.

As in `profile`: times (K,) grow from 0 on, levels (K, R, 4) hold for [times[k], times[k + 1]), all
of them integers.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64, Ints
from evenkeel.domain.shard import MILLI
from evenkeel.jit import compiled

FIRM, MEAN, VARIANCE, DEVIATION = range(4)
N_KINDS: Final = 4


@compiled
def with_pieces(
    times: Ints, levels: Ints, edges: Ints, pieces: Ints, amounts: Ints
) -> tuple[Ints, Ints]:
    """`amounts` (P, R, 4) more in [pieces[p, 0], pieces[p, 1]); neighbours that are alike are one.

    edges: all instants of `pieces` (P, 2), in order; one may be there several times.
    """
    most = len(times) + len(edges)
    new_times = np.empty(most, dtype=np.intp)
    new_levels = np.empty((most, levels.shape[1], levels.shape[2]), dtype=np.intp)
    n, k, e = 0, 0, 0
    while k < len(times) or e < len(edges):
        if e == len(edges) or (k < len(times) and times[k] <= edges[e]):
            at, k = times[k], k + 1
        else:
            at, e = edges[e], e + 1
            if n > 0 and new_times[n - 1] == at:
                continue
        level = new_levels[n]
        level[:] = levels[k - 1]
        for p in range(len(pieces)):
            if pieces[p, 0] <= at < pieces[p, 1]:
                level += amounts[p]
        if n == 0 or (level != new_levels[n - 1]).any():
            new_times[n] = at
            n += 1
    return new_times[:n].copy(), new_levels[:n].copy()


@compiled
def cell(sums: Ints, rho: float, z: float) -> int:
    """Thousandths of shards that have to be there for one resource's four sums: what is firm, and
    on top `shortfall.needed` of the rest, at a normal's quantile z."""
    firm, mean = int(sums[FIRM]) * MILLI, float(sums[MEAN])
    if mean <= 0.0:
        return firm
    variance = (1.0 - rho) * sums[VARIANCE] + rho * float(sums[DEVIATION]) ** 2
    flat = min(variance / (9.0 * mean * mean), 0.25 * z * z)
    root = 1.0 - flat + z * math.sqrt(flat)
    need: int = firm + math.ceil(mean * root * root * root)
    return need


@compiled
def committed(levels: Ints, correlation: F64, z: float) -> Ints:
    """(K, R) what has to be there in each level."""
    out = np.empty(levels.shape[:2], dtype=np.intp)
    for k in range(levels.shape[0]):
        for r in range(levels.shape[1]):
            out[k, r] = cell(levels[k, r], correlation[r], z)
    return out


@compiled
def fits(levels: Ints, capacity: Ints, correlation: F64, z: float) -> bool:
    """No level of any resource has to have more than `capacity` (R,) shards."""
    for k in range(levels.shape[0]):
        for r in range(levels.shape[1]):
            if cell(levels[k, r], correlation[r], z) > max(capacity[r], 0) * MILLI:
                return False
    return True
