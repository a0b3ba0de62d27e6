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

    `demand` (N,) in cores. Minimises the sum of squared load per CPU by exponentiated gradient
    over each VM's allowed atoms; with one atom it is exact at once. `background` cores of host
    load lie evenly over all CPUs.
    """
    sizes = atoms.sizes
    share = atoms.allowed * sizes
    share /= share.sum(axis=1, keepdims=True)
    if len(sizes) == 1:
        return share
    even = background / sizes.sum()
    for step in range(BALANCE_ROUNDS):
        load = (demand @ share) / sizes + even
        share = share * np.exp(-(load - load.min()) * 4.0 / (1.0 + 0.02 * step))
        share /= np.maximum(share.sum(axis=1, keepdims=True), 1e-300)
    return share
