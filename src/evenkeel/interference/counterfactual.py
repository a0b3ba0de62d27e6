"""What a victim would lose without one of its neighbours: the CPU queue, solved anew.

A world takes away what one suspect presses with (its surge, its excess over the fair share, a
trace), and nothing else. The difference to the world as it is, in hazard, is the suspect's effect.
Everything lies on the cores that the victim runs on; neighbours beyond the suspects are one load.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64, Ints
from evenkeel.interference.attribution import Pressing
from evenkeel.interference.crowd import lost_at

MOST_VCPUS: Final = 160
"""Beyond that many threads on a victim's cores, `effects` gives up: it would cost too much."""
MAX_LOSS: Final = 0.98


@dataclass(frozen=True, slots=True, eq=False)
class Cores:
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


def hazard(loss: F64) -> F64:
    """-log(1 - loss): what adds up where losses compose."""
    return np.asarray(-np.log1p(-np.clip(loss, 0.0, MAX_LOSS)), dtype=np.float64)


def effects(cores: Cores, presses: Pressing, victim: int, suspects: Ints) -> F64 | None:
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
    size = int(vcpus.sum())
    turn = np.exp(2j * np.pi * np.arange(size // 2 + 1) / size)
    busy = np.clip(np.stack([columns, reduced]) / vcpus, 0.0, 1.0)
    unit = 1.0 - busy[..., None] + busy[..., None] * turn
    rivals = vcpus.copy()
    rivals[0] -= 1
    power = np.stack([unit[:, :, k] ** int(v) for k, v in enumerate(rivals)], axis=2)
    base = power[0]
    before, after = np.ones_like(base), np.ones_like(base)
    np.cumprod(base[:, :-1], axis=1, out=before[:, 1:])
    np.cumprod(base[:, :0:-1], axis=1, out=after[:, -2::-1])
    swapped = before * after * power[1]
    worlds = np.concatenate([(before[:, :1] * after[:, :1] * base[:, :1]), swapped], axis=1)
    order = [0, *range(2, n + 1), 1]
    worlds = worlds[:, order]
    pull = columns * per_vcpu
    gone = (columns - reduced) * per_vcpu
    own = per_vcpu[:, 0]
    p_own = np.repeat(busy[0, :, :1], n + 1, axis=1)
    p_own[:, -1] = busy[1, :, 0]
    zeros = np.zeros((n_rows, 1))
    taken = np.concatenate([zeros, columns[:, 1:] - reduced[:, 1:], (columns - reduced)[:, :1]], 1)
    taken_pull = np.concatenate([zeros, gone[:, 1:], gone[:, :1]], 1)
    k_mean = columns.sum(axis=1, keepdims=True) - taken - p_own
    k_pull = pull.sum(axis=1, keepdims=True) - taken_pull - p_own * own[:, None]
    safe = k_mean > 1e-9
    ratio = np.divide(
        np.maximum(k_pull, 0.0) / own[:, None], k_mean, np.ones_like(k_mean), where=safe
    )
    k = np.arange(size, dtype=np.float64)
    pmf = np.fft.irfft(worlds.conj(), n=size, axis=2)
    lost = (pmf * lost_at(k, ratio[..., None], c)).sum(axis=2)
    if vcpus[0] > c:
        alone = np.fft.irfft(power[:, :, 0].conj(), n=size, axis=2)
        by_itself = (alone * lost_at(k, np.ones((1, 1, 1)), c)).sum(axis=2)
        lost[:, :-1] -= by_itself[0][:, None]
        lost[:, -1] -= by_itself[1]
    lost = np.maximum(lost, 0.0)
    lost[:, -1] *= np.divide(reduced[:, 0], columns[:, 0], np.ones(n_rows), where=columns[:, 0] > 0)
    return hazard(lost)
