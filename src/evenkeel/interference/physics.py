"""Capacity physics: how much each VM loses when it shares a pool, from demand alone.

CPU is a queue: a vCPU that is runnable a fraction p of the time meets a random number K of other
runnable vCPUs on its cores, and runs at the rate that weighted fair scheduling leaves it,
`min(1, c / (1 + K_w))`, where K_w counts rivals in units of its own weight; rivals can never
take more than K cores, so the rate is at least `min(1, c - K)`. K's distribution is the sum of
independent on/off vCPUs (Poisson-binomial), taken as normal with its exact mean and variance and
integrated by Gauss-Hermite quadrature. Because measured demand is runnable time (run + delay), the
model is self-consistent: for saturated VMs it gives weighted max-min fair sharing.

The other resources are fluids: weighted max-min sharing of a capacity, row by row.
See docs/designs/0002-capacity-physics.md for the alternatives and their errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evenkeel.domain.sample import F64
from evenkeel.interference.cores import Atoms, cut, spread

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(9)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


@dataclass(frozen=True, slots=True, eq=False)
class CpuShape:
    """What decides who meets whom on the cores: (N,) arrays and the pins.

    `weight` are cgroup cpu.shares (or cpu.weight), `n_vcpus` counts, `quota_cores` upper bounds
    (inf: none).
    """

    host_cpus: tuple[int, ...]
    cpusets: tuple[frozenset[int], ...]
    weight: F64
    n_vcpus: F64
    quota_cores: F64


@dataclass(frozen=True, slots=True, eq=False)
class CpuLoss:
    """`lost` (T, N) cores that each VM loses to others; `meeting` (N, N): how much j meets i."""

    lost: F64
    meeting: F64
    atoms: Atoms
    share: F64


def cpu_loss(demand: F64, background: F64, shape: CpuShape, row_weights: F64) -> CpuLoss:
    """Cores lost by every VM in every row.

    demand (T, N) runnable cores, background (T,) cores of host load, row_weights (T,) sum 1.
    A quota caps a VM's demand: what its own limit takes is not lost to neighbours.
    """
    wanted = np.minimum(demand, np.minimum(shape.quota_cores, shape.n_vcpus))
    atoms = cut(shape.host_cpus, shape.cpusets)
    mean = row_weights @ wanted
    share = spread(atoms, mean, float(row_weights @ background))
    lost = np.zeros_like(wanted)
    for a, size in enumerate(atoms.sizes):
        here = np.flatnonzero(share[:, a] > 1e-3)
        if len(here):
            lost[:, here] += _atom_loss(
                wanted[:, here] * share[here, a],
                wanted[:, here],
                background * size / len(shape.host_cpus),
                shape.weight[here],
                shape.n_vcpus[here],
                float(size),
            )
    return CpuLoss(lost=lost, meeting=_meeting(share), atoms=atoms, share=share)


def _atom_loss(here: F64, wanted: F64, background: F64, weight: F64, n_vcpus: F64, c: float) -> F64:
    """Cores lost in one atom of c CPUs. `here` (T, n): demand spent in this atom."""
    busy = np.clip(wanted / n_vcpus, 0.0, 1.0)
    # Weight of one runnable vCPU: a group's weight is shared by those of its vCPUs that run.
    per_vcpu = weight / np.maximum(wanted, 1.0)
    spare_variance = here * (1.0 - busy)
    base = np.median(weight)
    rivals = here.sum(axis=1, keepdims=True) + background[:, None]
    rivals_var = spare_variance.sum(axis=1, keepdims=True)
    pull = (here * per_vcpu).sum(axis=1, keepdims=True) + background[:, None] * base
    pull_var = (spare_variance * per_vcpu**2).sum(axis=1, keepdims=True)
    # A vCPU does not queue behind itself, but does behind its own VM's other vCPUs.
    own = here / n_vcpus
    own_var = own * (1.0 - busy)
    k_mean = np.maximum(rivals - own, 0.0)
    k_std = np.sqrt(np.maximum(rivals_var - own_var, 0.0))
    kw_mean = np.maximum(pull - own * per_vcpu, 0.0) / per_vcpu
    kw_std = np.sqrt(np.maximum(pull_var - own_var * per_vcpu**2, 0.0)) / per_vcpu
    lost_share = np.zeros_like(here)
    for node, p in zip(_NODES, _WEIGHTS, strict=True):
        k = np.maximum(k_mean + node * k_std, 0.0)
        kw = np.maximum(kw_mean + node * kw_std, 0.0)
        rate = np.maximum(c / (1.0 + kw), np.minimum(c - k, 1.0))
        lost_share += p * (1.0 - np.minimum(rate, 1.0))
    # What its own sibling vCPUs would take from it on an otherwise empty atom is not a neighbour's.
    own_k = here - own
    alone = np.maximum(1.0 - c / (1.0 + np.maximum(own_k, 0.0)), 0.0)
    return np.asarray(here * np.maximum(lost_share - alone, 0.0), dtype=np.float64)


def _meeting(share: F64) -> F64:
    """(N, N) share of j's demand that lies on atoms where i runs, [i, j]; 0 on the diagonal."""
    runs = share > 1e-3
    meeting = np.asarray(runs.astype(np.float64) @ share.T, dtype=np.float64)
    np.fill_diagonal(meeting, 0.0)
    return meeting


def fluid_loss(demand: F64, weight: F64, capacity: F64) -> F64:
    """(T, N) demand left unserved by weighted max-min sharing of capacity (T,) row by row.

    Finds each row's water level x with sum(min(demand, weight * x)) = capacity exactly, from the
    sorted demand per weight (Bertsekas & Gallager, Data Networks, 6.5.2).
    """
    if demand.shape[1] == 0:
        return demand.copy()
    per_weight = demand / weight
    order = np.argsort(per_weight, axis=1)
    d = np.take_along_axis(demand, order, axis=1)
    w = np.take_along_axis(np.broadcast_to(weight, demand.shape), order, axis=1)
    filled = np.cumsum(d, axis=1) - d
    w_left = np.cumsum(w[:, ::-1], axis=1)[:, ::-1]
    level = (capacity[:, None] - filled) / w_left
    reached = np.take_along_axis(per_weight, order, axis=1) > level
    first = np.where(reached.any(axis=1), reached.argmax(axis=1), -1)
    x = np.where(first >= 0, level[np.arange(len(level)), first], np.inf)
    return np.asarray(demand - np.minimum(demand, weight * np.maximum(x, 0.0)[:, None]))


def cpu_shape(
    host_cpus: Sequence[int],
    cpusets: Sequence[frozenset[int]],
    weight: F64,
    n_vcpus: F64,
    quota_cores: F64,
) -> CpuShape:
    """A CpuShape with at least one vCPU and a positive weight everywhere."""
    return CpuShape(
        host_cpus=tuple(host_cpus),
        cpusets=tuple(cpusets),
        weight=np.maximum(weight, 1.0),
        n_vcpus=np.maximum(n_vcpus, 1.0),
        quota_cores=quota_cores,
    )
