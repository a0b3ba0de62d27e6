"""Capacity physics: how much each VM loses when it shares a pool, from demand alone.

CPU is a queue: a vCPU that is runnable a fraction p of the time meets a random number K of other
runnable vCPUs on its cores, and runs at the rate that weighted fair scheduling leaves it,
`min(1, c / (1 + r K))`, where r is the rivals' mean weight in units of its own; rivals can never
take more than K cores, so the rate is at least `min(1, c - K)`. K is a sum of independent on/off
vCPUs: its Poisson-binomial distribution is computed exactly (crowd.py), or taken as normal beyond
`EXACT_VCPUS`. Because measured demand is runnable time (run + delay), the model is
self-consistent: for saturated VMs it gives weighted max-min fair sharing.

The other resources are fluids: weighted max-min sharing of a capacity, row by row.

All of it works on B hosts at once (an agent's own is a batch of one), so that agents and the
controller get the same numbers from the same rows.
See docs/designs/0002-capacity-physics.md for the alternatives and their errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64, Bools, Ints, median_known
from evenkeel.interference.cores import Atoms, spread_all
from evenkeel.interference.crowd import (
    conserved,
    lost_in_crowd,
    lost_to_rivals,
    lost_to_siblings,
    runnable,
)

EXACT_VCPUS: Final = 128
IDLE_CORES: Final = 0.002
"""A VM that never wanted more than this neither presses nor loses anything that matters."""
SOME_SHARE: Final = 1e-3
"""A VM with no more of its demand than this in an atom is not there."""


@dataclass(frozen=True, slots=True, eq=False)
class CpuLoss:
    """`lost` (T, N) cores that each VM loses to others; `meeting` (N, N): how much j meets i."""

    lost: F64
    meeting: F64
    atoms: Atoms
    share: F64


@dataclass(frozen=True, slots=True, eq=False)
class Cores:
    """What decides who meets whom on the cores of B hosts, padded to N VMs and A atoms.

    `weight` (cgroup cpu.shares or cpu.weight), `n_vcpus` and `quota_cores` (inf: none) (B, N),
    `allowed` (B, N, A), `sizes` (B, A) CPUs of each atom; a place without a VM has no vCPU.
    """

    weight: F64
    n_vcpus: F64
    quota_cores: F64
    allowed: F64
    sizes: F64

    @classmethod
    def of_host(cls, atoms: Atoms, weight: F64, n_vcpus: F64, quota_cores: F64) -> Cores:
        """One host: at least one vCPU (N,) and a positive weight everywhere."""
        return cls(
            weight=np.maximum(weight, 1.0)[None],
            n_vcpus=np.maximum(n_vcpus, 1.0)[None],
            quota_cores=quota_cores[None],
            allowed=atoms.allowed[None],
            sizes=atoms.sizes[None],
        )

    @classmethod
    def together(cls, hosts: Sequence[Cores]) -> Cores:
        """Hosts of the same number of VMs, whatever their atoms."""
        n_atoms = max(host.sizes.shape[1] for host in hosts)

        def padded(of_atoms: F64) -> F64:
            missing = n_atoms - of_atoms.shape[-1]
            return np.pad(of_atoms, [(0, 0)] * (of_atoms.ndim - 1) + [(0, missing)])

        return cls(
            weight=np.concatenate([host.weight for host in hosts]),
            n_vcpus=np.concatenate([host.n_vcpus for host in hosts]),
            quota_cores=np.concatenate([host.quota_cores for host in hosts]),
            allowed=np.concatenate([padded(host.allowed) for host in hosts]),
            sizes=np.concatenate([padded(host.sizes) for host in hosts]),
        )


def cpu_loss(demand: F64, background: F64, atoms: Atoms, cores: Cores, row_weights: F64) -> CpuLoss:
    """Cores lost on one host, by every VM in every row.

    demand (T, N) runnable cores, background (T,) cores of host load, row_weights (T,) sum 1.
    A quota caps a VM's demand: what its own limit takes is not lost to neighbours. On a host
    whose CPUs are not known nobody is said to lose anything.
    """
    lost, share = lost_cores(demand[None], background[None], cores, row_weights[None])
    return CpuLoss(lost=lost[0], meeting=meeting(share)[0], atoms=atoms, share=share[0])


def lost_cores(demand: F64, background: F64, cores: Cores, row_weights: F64) -> tuple[F64, F64]:
    """Cores lost (B, T, N), and the share (B, N, A) of each VM's demand in each atom.

    demand (B, T, N), background and row_weights (B, T).
    """
    wanted = np.minimum(demand, np.minimum(cores.quota_cores, cores.n_vcpus)[:, None])
    mean = np.einsum("bt,btn->bn", row_weights, wanted)
    share = spread_all(cores.allowed, cores.sizes, mean, (row_weights * background).sum(axis=1))
    awake = wanted.max(axis=1, initial=0.0) > IDLE_CORES
    lost = np.zeros_like(wanted)
    n_cpus = cores.sizes.sum(axis=1)
    for a in range(cores.sizes.shape[1]):
        here = (share[:, :, a] > SOME_SHARE) & awake
        hosts = np.flatnonzero(here.any(axis=1))
        if not len(hosts):
            continue
        size = cores.sizes[hosts, a]
        load = background[hosts] * (size / n_cpus[hosts])[:, None]
        vms = here[hosts].any(axis=0)
        at = np.ix_(hosts, np.flatnonzero(vms))
        part = (share[:, :, a] * here)[at].T[:, :, None]
        wants = np.ascontiguousarray(wanted[hosts][:, :, vms].transpose(2, 0, 1))
        gone = _atom_loss(
            wants * part,
            wants,
            load,
            np.where(here, cores.weight, np.nan)[at].T,
            np.where(here, cores.n_vcpus, 0.0)[at].T,
            size,
        )
        for_all = np.zeros((len(hosts), *lost.shape[1:]))
        for_all[:, :, vms] = gone.transpose(1, 2, 0)
        lost[hosts] += for_all
    return lost, share


def _atom_loss(here: F64, wanted: F64, background: F64, weight: F64, n_vcpus: F64, c: F64) -> F64:
    """Cores lost (n, B, T) in one atom of c (B,) CPUs each.

    `here` (n, B, T): demand spent in this atom; background (B, T); weight (n, B), NaN where a VM
    is not here; n_vcpus (n, B), 0 there.
    """
    n_vms, _, n_rows = here.shape
    # The host's own load is one more rival: as many threads as there are CPUs, of median weight.
    everybody = np.concatenate([here, np.minimum(background, c[:, None])[None]])
    vcpus = np.concatenate([n_vcpus, np.ceil(c)[None]]).astype(np.intp)
    # Weight of one runnable vCPU: a group's weight is shared by those of its vCPUs that run.
    per_vcpu = np.empty_like(everybody)
    per_vcpu[:-1] = np.nan_to_num(weight, nan=1.0)[:, :, None] / np.maximum(wanted, 1.0)
    per_vcpu[-1] = median_known(weight)[:, None]
    busy = np.clip(everybody / np.maximum(vcpus, 1)[:, :, None], 0.0, 1.0)
    # A vCPU does not queue behind itself, but does behind its own VM's other vCPUs.
    k_mean = np.maximum(everybody.sum(axis=0) - busy, 0.0)
    pull = np.maximum((everybody * per_vcpu).sum(axis=0) - busy * per_vcpu, 0.0)
    ratio = np.divide(pull / per_vcpu, k_mean, out=np.ones_like(k_mean), where=k_mean > 1e-9)
    exact: Bools = vcpus.sum(axis=0) <= EXACT_VCPUS
    lost_share = np.empty_like(everybody)

    def flat(array: F64, of: Bools) -> F64:
        return array[:, of].reshape(len(array), -1)

    if exact.any():
        share = _exact(
            flat(busy, exact),
            np.repeat(vcpus[:, exact], n_rows, axis=1),
            flat(ratio, exact),
            np.repeat(c[exact], n_rows),
        )
        lost_share[:, exact] = share.reshape(n_vms + 1, -1, n_rows)
    if not exact.all():
        crowd = ~exact
        share = lost_in_crowd(
            flat(everybody, crowd),
            flat(busy, crowd),
            flat(k_mean, crowd),
            flat(ratio, crowd),
            np.repeat(c[crowd], n_rows),
        )
        lost_share[:, crowd] = share.reshape(n_vms + 1, -1, n_rows)
    lost = everybody[:-1] * np.maximum(lost_share[:-1], 0.0)
    return np.asarray(lost, dtype=np.float64)


def _exact(busy: F64, vcpus: Ints, ratio: F64, c: F64) -> F64:
    """(n, M) lost share of a runnable vCPU, over the exact distribution of its rivals.

    Less what its own sibling vCPUs would take from it on an otherwise empty atom.
    """
    pmf = runnable(busy, vcpus)
    lacking = np.maximum(np.arange(len(pmf))[:, None] - c, 0.0)
    lost_share = conserved(
        lost_to_rivals(pmf, busy, ratio, c), busy * vcpus, (pmf * lacking).sum(axis=0)
    )
    vm, row = np.nonzero(vcpus > c)
    if len(vm):
        lost_share[vm, row] -= lost_to_siblings(busy[vm, row], vcpus[vm, row], c[row])
    return lost_share


def meeting(share: F64) -> F64:
    """(B, N, N) share of j's demand on atoms where i runs, [b, i, j]; 0 on the diagonal."""
    runs = (share > SOME_SHARE).astype(np.float64)
    met = np.asarray(runs @ share.transpose(0, 2, 1), dtype=np.float64)
    each = np.arange(met.shape[1])
    met[:, each, each] = 0.0
    return met


def fluid_loss(demand: F64, weight: F64, capacity: F64) -> F64:
    """(M, N) demand left unserved by weighted max-min sharing of capacity (M,) row by row.

    weight (N,) or (M, N). Finds each row's water level x with
    sum(min(demand, weight * x)) = capacity exactly, from the sorted demand per weight
    (Bertsekas & Gallager, Data Networks, 6.5.2).
    """
    lost = np.zeros_like(demand)
    short = np.flatnonzero(demand.sum(axis=1) > capacity)
    if not len(short):
        return lost
    wanted, weights = demand[short], np.broadcast_to(weight, demand.shape)[short]
    per_weight = wanted / weights
    order = np.argsort(per_weight, axis=1)
    d = np.take_along_axis(wanted, order, axis=1)
    w = np.take_along_axis(weights, order, axis=1)
    filled = np.cumsum(d, axis=1) - d
    w_left = np.cumsum(w[:, ::-1], axis=1)[:, ::-1]
    level = (capacity[short, None] - filled) / w_left
    reached = np.take_along_axis(per_weight, order, axis=1) > level
    first = np.where(reached.any(axis=1), reached.argmax(axis=1), -1)
    x = np.where(first >= 0, level[np.arange(len(level)), first], np.inf)
    lost[short] = wanted - np.minimum(wanted, weights * np.maximum(x, 0.0)[:, None])
    return lost
