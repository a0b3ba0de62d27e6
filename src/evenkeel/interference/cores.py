"""Which cores VMs share: the host's CPUs cut into atoms, and how demand spreads over them.

An atom is a set of CPUs that no VM's pinning tells apart. A host without pins is one atom; every
pin set adds at most one. Inside an atom all who may run there compete on equal terms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64

BALANCE_ROUNDS: Final = 80
STEP: Final = 4.0
STABLE: Final = 1.5


@dataclass(frozen=True, slots=True, eq=False)
class Atoms:
    """`cpus[a]` are the host CPUs of atom a; `allowed` (N, A) says which VM may run where."""

    cpus: tuple[tuple[int, ...], ...]
    allowed: F64

    @property
    def sizes(self) -> F64:
        """(A,) number of CPUs in each atom."""
        return np.array([len(cpus) for cpus in self.cpus], dtype=np.float64)


def cut(host_cpus: Sequence[int], cpusets: Sequence[frozenset[int]]) -> Atoms:
    """Cut a host into atoms. An empty cpuset, or one off the host, means "anywhere"."""
    everywhere = frozenset(host_cpus)
    sets = [(cpuset & everywhere) or everywhere for cpuset in cpusets]
    by_signature: dict[tuple[bool, ...], list[int]] = {}
    for cpu in host_cpus:
        by_signature.setdefault(tuple(cpu in cpuset for cpuset in sets), []).append(cpu)
    allowed = np.array(list(by_signature), dtype=np.float64).reshape(len(by_signature), len(sets))
    return Atoms(cpus=tuple(tuple(cpus) for cpus in by_signature.values()), allowed=allowed.T)


def spread(atoms: Atoms, demand: F64, background: float) -> F64:
    """(N, A) share of each VM's demand that a load balancer would put on each atom.

    `demand` (N,) in cores; `background` cores of host load lie evenly over all CPUs.
    """
    shares = spread_all(
        atoms.allowed[None], atoms.sizes[None], demand[None], np.array([background])
    )
    return np.asarray(shares[0], dtype=np.float64)


def spread_all(allowed: F64, sizes: F64, demand: F64, background: F64) -> F64:
    """(B, N, A) the same for B hosts; atoms of size 0 are padding.

    Minimises the sum of squared load per CPU by exponentiated gradient over each VM's allowed
    atoms; with one atom it is exact at once. allowed (B, N, A), sizes (B, A), demand (B, N),
    background (B,).
    """
    share: F64 = allowed * sizes[:, None]
    share /= np.maximum(share.sum(axis=2, keepdims=True), 1e-300)
    if sizes.shape[1] <= 1:
        return share
    real = sizes > 0
    per_cpu = 1.0 / np.where(real, sizes, 1.0)
    even = (background / np.maximum(sizes.sum(axis=1), 1.0))[:, None]
    for _ in range(BALANCE_ROUNDS):
        load = np.where(real, np.einsum("bn,bna->ba", demand, share) * per_cpu + even, 0.0)
        above = load - np.where(real, load, np.inf).min(axis=1, keepdims=True)
        # A step may not outrun the load that it moves, or busy hosts swing without end.
        step = np.minimum(STEP, STABLE / np.maximum(load.max(axis=1, keepdims=True), 1e-9))
        share = share * np.exp(-above * step)[:, None]
        share /= np.maximum(share.sum(axis=2, keepdims=True), 1e-300)
    return share
