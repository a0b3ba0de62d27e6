"""What of each host is sold, and where a VM of a size fits: the books that every cloud keeps.

A host sells `overcommit` vCPUs for each CPU and its memory once; a VM under way is sold twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64, Bools, Ints
from evenkeel.domain.recording import NOWHERE, HostShape, VmTable
from evenkeel.sim.replay.policy import Sizes
from evenkeel.sim.replay.world import Hosts, State, by_host

OVERCOMMIT: Final = 4.0
"""vCPUs sold for each CPU where nobody says otherwise: an assumption, and every report tells it.
(OpenStack's nova long had 16 by default; who complains of noisy neighbours sells fewer.)"""
ROUNDING: Final = 1e-9


@dataclass(slots=True, eq=False)
class Sold:
    """(H,) each: `cpus` and `memory_mib` that are left to be sold, `n_vms` there or coming."""

    hosts: Hosts
    cpus: F64
    memory_mib: F64
    n_vms: Ints

    @classmethod
    def of(cls, hosts: Hosts, vms: Sizes, state: State, overcommit: float) -> Sold:
        cpus, memory = overcommit * hosts.n_cpus, hosts.memory_mib.copy()
        count = np.zeros(hosts.n, dtype=np.intp)
        for where in (state.host, state.target):
            who = np.flatnonzero(where != NOWHERE)
            cpus -= by_host(where[who], vms.vcpus[who], hosts.n)
            memory -= by_host(where[who], vms.memory_mib[who], hosts.n)
            count += np.bincount(where[who], minlength=hosts.n)
        return cls(hosts, cpus, memory, count)

    def fits(self, vcpus: float, memory_mib: float) -> Bools:
        """(H,)"""
        return np.asarray(
            (self.hosts.n_cpus >= vcpus - ROUNDING)
            & (self.cpus >= vcpus - ROUNDING)
            & (self.memory_mib >= memory_mib - ROUNDING)
        )

    def put(self, host: int, vcpus: float, memory_mib: float, sign: int = 1) -> None:
        """One VM more, or less with sign -1."""
        self.cpus[host] -= sign * vcpus
        self.memory_mib[host] -= sign * memory_mib
        self.n_vms[host] += sign

    def first(self, vcpus: float, memory_mib: float) -> int:
        """The first host that takes it, NOWHERE: none."""
        fits = self.fits(vcpus, memory_mib)
        return int(np.argmax(fits)) if fits.any() else NOWHERE

    def best(self, vcpus: float, memory_mib: float) -> int:
        """The host in use of which the least is left then; else the first that takes it."""
        fits = self.fits(vcpus, memory_mib)
        if not fits.any():
            return NOWHERE
        left = self.memory_mib / self.hosts.memory_mib + self.cpus / self.hosts.n_cpus
        return int(np.argmin(np.where(fits, left + 1e6 * (self.n_vms == 0), np.inf)))


def enough_hosts(vms: VmTable, shape: HostShape, overcommit: float) -> int:
    """Hosts of `shape` that first-fit of sizes, in the order of arrival, uses at most.

    Every VM fits on one by itself.
    """
    n = len(vms.ids)
    most, cpus, memory = 1, np.full(n + 1, overcommit * shape.n_cpus), np.full(n + 1, 1.0)
    memory *= shape.memory_mib
    home = np.full(n, NOWHERE, dtype=np.intp)
    leaving, gone = np.argsort(vms.leaves, kind="stable"), 0
    for vm in np.argsort(vms.arrives, kind="stable").tolist():
        while vms.leaves[leaving[gone]] <= vms.arrives[vm]:
            left = leaving[gone]
            cpus[home[left]] += vms.vcpus[left]
            memory[home[left]] += vms.memory_mib[left]
            gone += 1
        wants, holds = vms.vcpus[vm] - ROUNDING, vms.memory_mib[vm] - ROUNDING
        host = int(np.argmax((cpus[: most + 1] >= wants) & (memory[: most + 1] >= holds)))
        cpus[host] -= vms.vcpus[vm]
        memory[host] -= vms.memory_mib[vm]
        home[vm] = host
        most = max(most, host + 1)
    return most
