"""Capacity physics: how much each VM loses when it shares a pool, from demand alone.

CPU is a queue: a vCPU that is runnable a fraction p of the time meets a random number K of other
runnable vCPUs on its cores, and runs at the rate that weighted fair scheduling leaves it,
`min(1, c / (1 + r K))`, where r is the rivals' mean weight in units of its own; rivals can never
take more than K cores, so the rate is at least `min(1, c - K)`. K is a sum of independent on/off
vCPUs: its Poisson-binomial distribution is computed exactly from the characteristic function
(Hong 2013, doi:10.1016/j.csda.2012.10.006), or taken as normal beyond `EXACT_VCPUS`. Because
measured demand is runnable time (run + delay), the model is self-consistent: for saturated VMs it
gives weighted max-min fair sharing.

The other resources are fluids: weighted max-min sharing of a capacity, row by row.
See docs/designs/0002-capacity-physics.md for the alternatives and their errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from evenkeel.domain.arrays import C128, F64, Ints
from evenkeel.interference.cores import Atoms, cut, spread

EXACT_VCPUS: Final = 128
IDLE_CORES: Final = 0.002
"""A VM that never wanted more than this neither presses nor loses anything that matters."""


# Nine Gauss nodes of the standard normal and their weights (numpy.polynomial.hermite_e.hermegauss,
# normalised): written out, because computing them loads LAPACK into the agent.
_HALF = (
    (0.0, 0.40634920634920635),
    (1.0232556637891326, 0.24409750289493916),
    (2.0768479786778300, 0.04991640676521788),
    (3.2054290028564700, 0.0027891413212317653),
    (4.5127458633997830, 2.2345844007746570e-05),
)
_NODES = np.array([-x for x, _ in _HALF[:0:-1]] + [x for x, _ in _HALF])
_WEIGHTS = np.array([w for _, w in _HALF[:0:-1]] + [w for _, w in _HALF])


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
    awake = wanted.max(axis=0, initial=0.0) > IDLE_CORES
    for a, size in enumerate(atoms.sizes):
        here = np.flatnonzero((share[:, a] > 1e-3) & awake)
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
    # The host's own load is one more rival: as many threads as there are CPUs, of median weight.
    everybody = np.concatenate([here, np.minimum(background, c)[:, None]], axis=1)
    vcpus = np.append(n_vcpus, np.ceil(c))
    # Weight of one runnable vCPU: a group's weight is shared by those of its vCPUs that run.
    per_vcpu = np.concatenate(
        [weight / np.maximum(wanted, 1.0), np.full((len(here), 1), np.median(weight))], axis=1
    )
    busy = np.clip(everybody / vcpus, 0.0, 1.0)
    # A vCPU does not queue behind itself, but does behind its own VM's other vCPUs.
    k_mean = np.maximum(everybody.sum(axis=1, keepdims=True) - busy, 0.0)
    pull = np.maximum((everybody * per_vcpu).sum(axis=1, keepdims=True) - busy * per_vcpu, 0.0)
    ratio = np.divide(pull / per_vcpu, k_mean, out=np.ones_like(k_mean), where=k_mean > 1e-9)
    if vcpus.sum() <= EXACT_VCPUS:
        lost_share = _exact_lost_share(busy, vcpus.astype(int), ratio, c)
    else:
        lost_share = _normal_lost_share(everybody, busy, k_mean, ratio, c)
    lost = everybody * np.maximum(lost_share, 0.0)
    return np.asarray(lost[:, :-1], dtype=np.float64)


def _exact_lost_share(busy: F64, vcpus: Ints, ratio: F64, c: float) -> F64:
    """(T, n) expected lost share of a runnable vCPU, over the exact distribution of its rivals.

    Less what its own sibling vCPUs would take from it on an otherwise empty atom.
    """
    size = int(vcpus.sum())
    turn = np.exp(2j * np.pi * np.arange(size // 2 + 1) / size)
    unit = 1.0 - busy[..., None] + busy[..., None] * turn
    whole = unit ** vcpus[None, :, None]
    before, after = np.ones_like(whole), np.ones_like(whole)
    np.cumprod(whole[:, :-1], axis=1, out=before[:, 1:])
    np.cumprod(whole[:, :0:-1], axis=1, out=after[:, -2::-1])
    siblings = unit ** (vcpus - 1)[None, :, None]
    k = np.arange(size, dtype=np.float64)

    def expected(characteristic: C128, r: F64) -> F64:
        pmf = np.fft.irfft(characteristic.conj(), n=size, axis=2)
        return np.asarray((pmf * lost_at(k, r[..., None], c)).sum(axis=2), dtype=np.float64)

    lost_share = expected(before * after * siblings, ratio)
    if (vcpus > c).any():
        lost_share -= expected(siblings, np.ones_like(ratio))
    return lost_share


def lost_at(k: F64, ratio: F64, c: float) -> F64:
    """Share that a runnable vCPU loses when it meets k others of `ratio` times its weight."""
    rate = np.maximum(c / (1.0 + k * ratio), c - k)
    return np.asarray(1.0 - np.minimum(rate, 1.0), dtype=np.float64)


def _normal_lost_share(everybody: F64, busy: F64, k_mean: F64, ratio: F64, c: float) -> F64:
    """The same for crowds, with K normal."""
    variance = everybody * (1.0 - busy)
    own_variance = np.maximum(variance - busy * (1.0 - busy), 0.0)
    all_variance = variance.sum(axis=1, keepdims=True) - busy * (1.0 - busy)
    lost_share = np.zeros_like(everybody)
    for node, p in zip(_NODES, _WEIGHTS, strict=True):
        k = np.maximum(k_mean + node * np.sqrt(np.maximum(all_variance, 0.0)), 0.0)
        own = np.maximum(everybody - busy + node * np.sqrt(own_variance), 0.0)
        lost_share += p * (lost_at(k, ratio, c) - lost_at(own, np.ones_like(ratio), c))
    return lost_share


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
