"""What a victim would lose without one of its neighbours: the CPU queue, solved anew.

A world takes away what one suspect presses with (its surge or its excess over the fair share, a
trace), and nothing else. The difference to the world as it is, in hazard, is the suspect's effect.
Everything lies on the cores that the victim runs on; neighbours beyond the suspects are one load.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64, Ints
from evenkeel.interference.attribution import Pressing
from evenkeel.interference.crowd import lost_at, lost_to_siblings, runnable
from evenkeel.interference.hazards import hazard

MOST_TELLABLE: Final = 0.98
"""A larger one is told apart no further: its hazard would drown all others."""
MOST_VCPUS: Final = 160
"""Beyond that many threads on a victim's cores, `effects` gives up: it would cost too much."""


@dataclass(frozen=True, slots=True, eq=False)
class SharedCores:
    """Who wants what on which cores: `demand` (T, N), `background` (T,) cores, `meeting` (N, N),
    `weight` `n_vcpus` `reach` (N,): scheduler weight, vCPUs, CPUs a VM runs on; the host's
    `n_cpus`."""

    demand: F64
    background: F64
    meeting: F64
    weight: F64
    n_vcpus: F64
    reach: F64
    n_cpus: int


def effects(cores: SharedCores, presses: Pressing, victim: int, suspects: Ints) -> F64 | None:
    """(T, C + 3) hazard of a victim: as things are, without each suspect's, the host's and its
    own pressing. A loss is that of the demand as it is, also where the victim wants less.

    None where too many threads share the victim's cores.
    """
    c = float(cores.reach[victim])
    here = cores.demand * cores.meeting[victim]
    on_cores = cores.background * c / cores.n_cpus
    rest = here.sum(axis=1) - here[:, suspects].sum(axis=1) + on_cores
    n_threads = int(np.ceil(c))
    columns = np.column_stack([cores.demand[:, victim], here[:, suspects], np.minimum(rest, c)])
    vcpus = np.array([*cores.n_vcpus[[victim, *suspects]].astype(int), n_threads])
    if vcpus.sum() > MOST_VCPUS:
        return None
    less = np.column_stack(
        [
            presses.surge[:, victim],
            presses.vms[:, suspects] * cores.meeting[victim, suspects],
            presses.host * c / cores.n_cpus,
        ]
    )
    weight = np.append(cores.weight[[victim, *suspects]], np.median(cores.weight))
    whole = np.maximum(columns, 1.0)
    whole[:, 1:-1] = np.maximum(cores.demand[:, suspects], 1.0)
    whole[:, -1] = 1.0
    per_vcpu = weight / whole
    return _worlds(columns, np.maximum(columns - less, 0.0), vcpus, per_vcpu, c)


def _worlds(columns: F64, reduced: F64, vcpus: Ints, per_vcpu: F64, c: float) -> F64:
    """Column 0 is the victim, the last one all the others. Order of the result: as it is, without
    each suspect's, without the host's, without its own."""
    n_rows, n = columns.shape
    busy = np.clip(np.stack([columns, reduced]) / vcpus, 0.0, 1.0)
    own_world = n
    in_world = [own_world, *range(1, n)]
    each = np.repeat(busy[0].T[:, None], n + 1, axis=1)
    each[range(n), in_world] = busy[1].T
    rivals = vcpus.copy()
    rivals[0] -= 1
    alike = np.repeat(rivals[:, None], (n + 1) * n_rows, axis=1)
    pmf = runnable(each.reshape(n, -1), alike)
    taken = np.zeros((n_rows, n + 1))
    taken[:, in_world] = columns - reduced
    taken_pull = np.zeros_like(taken)
    taken_pull[:, in_world] = (columns - reduced) * per_vcpu
    weight, p_own = per_vcpu[:, :1], each[0].T
    k_mean = columns.sum(axis=1, keepdims=True) - taken - p_own
    k_pull = (columns * per_vcpu).sum(axis=1, keepdims=True) - taken_pull - p_own * weight
    safe = k_mean > 1e-9
    ratio = np.divide(np.maximum(k_pull, 0.0) / weight, k_mean, np.ones_like(k_mean), where=safe)
    k = np.arange(len(pmf), dtype=np.float64)[:, None]
    lost = (pmf * lost_at(k, ratio.T.reshape(-1), c)).sum(axis=0).reshape(n + 1, n_rows).T
    if vcpus[0] > c:
        mine = np.full(2 * n_rows, vcpus[0])
        alone = lost_to_siblings(busy[:, :, 0].reshape(-1), mine, np.full(2 * n_rows, c))
        lost[:, :own_world] -= alone[:n_rows, None]
        lost[:, own_world] -= alone[n_rows:]
    lost = np.maximum(lost, 0.0)
    still = np.divide(reduced[:, 0], columns[:, 0], np.ones(n_rows), where=columns[:, 0] > 0)
    lost[:, own_world] *= still
    return hazard(lost, MOST_TELLABLE)
