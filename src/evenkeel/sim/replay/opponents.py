"""Policies that Evenkeel is held against: nobody moves, and what balancers and studies do.

They know sizes, where everybody is, and what VMs wanted in slots that are over. Arrivals go by
size: at most `overcommit` vCPUs for each CPU, memory sold once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64, Ints
from evenkeel.domain.recording import NOWHERE
from evenkeel.domain.resources import CPU_AXIS
from evenkeel.sim.replay.policy import InPlace, Seen
from evenkeel.sim.replay.sold import OVERCOMMIT, Sold
from evenkeel.sim.replay.world import by_host

NOBODY: Final = (np.zeros(0, dtype=np.intp), np.zeros(0, dtype=np.intp))


@dataclass(slots=True, eq=False)
class Stay:
    """Where a VM was recorded, else the first host that fits; nobody moves."""

    name: str = "stay"
    overcommit: float = OVERCOMMIT
    in_place: InPlace | None = None

    def place(self, seen: Seen, vms: Ints) -> Ints:
        sold = Sold.of(seen.hosts, seen.vms, seen.state, self.overcommit)
        out = np.empty(len(vms), dtype=np.intp)
        for i, vm in enumerate(vms.tolist()):
            size = float(seen.vms.vcpus[vm]), float(seen.vms.memory_mib[vm])
            out[i] = self.choose(sold, int(seen.recorded[vm]), *size)
            if out[i] != NOWHERE:
                sold.put(int(out[i]), *size)
        return out

    def choose(self, sold: Sold, recorded: int, vcpus: float, memory_mib: float) -> int:
        """A host, or NOWHERE."""
        return recorded if recorded != NOWHERE else sold.first(vcpus, memory_mib)

    def move(self, seen: Seen) -> tuple[Ints, Ints]:
        return NOBODY


class BestFit(Stay):
    """The host of which the least is left; nobody moves."""

    def choose(self, sold: Sold, recorded: int, vcpus: float, memory_mib: float) -> int:
        return sold.best(vcpus, memory_mib)


@dataclass(slots=True, eq=False)
class Balance(Stay):
    """What balancers do: while a host is `spread` of its CPUs above the mean, VMs go from the most
    to the least loaded one that takes them, those first that come nearest to halving the
    difference; arrivals go to the least loaded host. Load is the mean of `n_recent` slots."""

    name: str = "balance"
    spread: float = 0.1
    n_recent: int = 12
    most_moves: int = 8
    load: F64 | None = None

    def place(self, seen: Seen, vms: Ints) -> Ints:
        self.load = self._load(seen)
        return Stay.place(self, seen, vms)

    def choose(self, sold: Sold, recorded: int, vcpus: float, memory_mib: float) -> int:
        fits = sold.fits(vcpus, memory_mib)
        if not fits.any():
            return NOWHERE
        assert self.load is not None
        taken = (self.overcommit * sold.hosts.n_cpus - sold.cpus) / sold.hosts.n_cpus
        return int(np.argmin(np.where(fits, self.load + 1e-3 * taken, np.inf)))

    def move(self, seen: Seen) -> tuple[Ints, Ints]:
        hosts, state = seen.hosts, seen.state
        demand, load = recent_cpu(seen, self.n_recent), self._load(seen)
        sold = Sold.of(hosts, seen.vms, state, self.overcommit)
        free, stuck = state.there & ~state.moving, np.zeros(hosts.n, dtype=bool)
        moved: dict[int, int] = {}
        while len(moved) < self.most_moves:
            source = int(np.argmax(np.where(stuck, -np.inf, load)))
            if stuck[source] or load[source] - load.mean() <= self.spread:
                break
            here = np.flatnonzero(free & (state.host == source) & (demand > 0))
            vm, target = self._choice(seen, here, demand, load, sold, source)
            if target == NOWHERE:
                stuck[source] = True
                continue
            load[source] -= demand[vm] / hosts.n_cpus[source]
            load[target] += demand[vm] / hosts.n_cpus[target]
            sold.put(target, float(seen.vms.vcpus[vm]), float(seen.vms.memory_mib[vm]))
            free[vm] = False
            moved[vm] = target
        return np.array(list(moved), dtype=np.intp), np.array(list(moved.values()), dtype=np.intp)

    def _choice(
        self, seen: Seen, here: Ints, demand: F64, load: F64, sold: Sold, source: int
    ) -> tuple[int, int]:
        """The VM that comes nearest to halving the difference to the least loaded host, of those
        that fit somewhere with less load than they leave behind; and where."""
        n_cpus = seen.hosts.n_cpus
        half = (load[source] - load.min()) * n_cpus[source] / 2.0
        for vm in here[np.argsort(np.abs(demand[here] - half), kind="stable")].tolist():
            fits = sold.fits(float(seen.vms.vcpus[vm]), float(seen.vms.memory_mib[vm]))
            fits &= load + demand[vm] / n_cpus < load[source]
            fits[source] = False
            if fits.any():
                return vm, int(np.argmin(np.where(fits, load, np.inf)))
        return NOWHERE, NOWHERE

    def _load(self, seen: Seen) -> F64:
        """(H,) of its CPUs, with those that arrive."""
        demand, state = recent_cpu(seen, self.n_recent), seen.state
        where = np.where(state.moving, state.target, state.host)
        who = np.flatnonzero(where != NOWHERE)
        return by_host(where[who], demand[who], seen.hosts.n) / seen.hosts.n_cpus


def recent_cpu(seen: Seen, n_slots: int) -> F64:
    """(V,) mean cores wanted in the last slots; 0 where nothing is known."""
    first = max(0, seen.past.n_slots - n_slots)
    total, count = np.zeros((2, len(seen.vms.ids)))
    for slot in range(first, seen.past.n_slots):
        cpu = seen.past.wanted(slot)[:, CPU_AXIS]
        known = np.isfinite(cpu)
        total[known] += cpu[known]
        count += known
    return np.asarray(total / np.maximum(count, 1))
