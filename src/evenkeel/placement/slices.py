"""What every slice of every host holds, kept up to date by adding and taking off: O(1) a VM.

A slice is a host's NUMA cell (or the whole host, where it has one cell): a core set and a part of
the memory; network and disk belong to all slices of a host alike. `allocate` asks it, whoever
places or removes VMs tells it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64, Bools, Ints
from evenkeel.domain.placement import Newcomer
from evenkeel.domain.resources import CPU_AXIS, MEMORY_AXIS, N_RESOURCES
from evenkeel.domain.shard import PerformanceClass
from evenkeel.placement import kernels
from evenkeel.placement.fleet import Chance, Hosts
from evenkeel.placement.kernels import DEVIATION, GRAIN, LEFTOVER, MEAN, N_SUMS, PROMISED, VARIANCE

BY_HOST: Final = np.array([r not in (CPU_AXIS, MEMORY_AXIS) for r in range(N_RESOURCES)])
ALL_SLICES: Final = -1
MOST_KEPT: Final = 1024


@dataclass(frozen=True, slots=True, eq=False)
class Load:
    """What a VM puts on a slice: `sums` (R, 4), `take` (R,) set aside for it alone, `kinds` (R,)
    which sums it counts in. `key` is the same for loads that are alike."""

    sums: F64
    take: F64
    kinds: Ints
    key: bytes = field(init=False)

    def __post_init__(self) -> None:
        key = self.sums.tobytes() + self.take.tobytes() + self.kinds.tobytes()
        object.__setattr__(self, "key", key)

    @classmethod
    def of(cls, vm: Newcomer) -> Load:
        """A pinned VM has its cores and memory to itself; a best-effort one is promised memory."""
        return cls._of(vm.n_vcpus, vm.memory_mib, vm.mean, vm.deviation, vm.performance)

    @classmethod
    @lru_cache(maxsize=4096)
    def _of(
        cls,
        n_vcpus: int,
        memory_mib: float,
        means: tuple[float, ...],
        deviations: tuple[float, ...],
        performance: PerformanceClass,
    ) -> Load:
        """VMs alike share theirs: nobody writes into it."""
        mean, deviation = np.array(means), np.array(deviations)
        sums, take = np.zeros((N_RESOURCES, N_SUMS)), np.zeros(N_RESOURCES)
        kinds = np.full(N_RESOURCES, PROMISED, dtype=np.intp)
        if performance is PerformanceClass.PINNED:
            take[CPU_AXIS], take[MEMORY_AXIS] = n_vcpus, memory_mib
            mean[[CPU_AXIS, MEMORY_AXIS]] = deviation[[CPU_AXIS, MEMORY_AXIS]] = 0.0
        elif performance is PerformanceClass.BEST_EFFORT:
            kinds[np.arange(N_RESOURCES) != MEMORY_AXIS] = LEFTOVER
        sums[:, MEAN], sums[:, VARIANCE], sums[:, DEVIATION] = mean, deviation**2, deviation
        # Each of n vCPUs runs or does not: within a slot their number is binomial.
        wanted = mean[CPU_AXIS]
        sums[CPU_AXIS, GRAIN] = wanted * max(1.0 - wanted / n_vcpus, 0.0)
        return cls(sums, take, kinds)


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """H hosts in S slices: `first` (H + 1,), `capacity` (S, R), `cpus` of each slice (empty: not
    known). Network and disk stand in every slice of a host in full."""

    hosts: Hosts
    first: Ints
    capacity: F64
    cpus: tuple[tuple[int, ...], ...]

    @classmethod
    def of(
        cls,
        hosts: Hosts,
        cells: Sequence[Sequence[tuple[tuple[int, ...], float]]] | None = None,
    ) -> Layout:
        """`cells`: of each host (core set, memory in MiB); None: every host is one slice."""
        if cells is None:
            each = tuple(() for _ in hosts.ids)
            return cls(hosts, np.arange(len(hosts.ids) + 1), hosts.capacity.copy(), each)
        count = np.array([max(len(of), 1) for of in cells], dtype=np.intp)
        capacity = np.repeat(hosts.capacity, count, axis=0)
        row, cpus = 0, []
        for of in cells:
            for core_set, memory_mib in of:
                if len(of) > 1:
                    capacity[row, CPU_AXIS] = len(core_set)
                    capacity[row, MEMORY_AXIS] = memory_mib
                cpus.append(core_set)
                row += 1
            if not of:
                cpus.append(())
                row += 1
        return cls(hosts, np.concatenate([[0], np.cumsum(count)]), capacity, tuple(cpus))

    @property
    def n_hosts(self) -> int:
        return len(self.first) - 1


class Slices:
    """Not thread-safe: whoever shares it locks.

    Parameters
    ----------
    layout : what there is
    chance : the accepted risk of a shortfall
    """

    def __init__(self, layout: Layout, chance: Chance) -> None:
        shape = layout.capacity.shape
        self.layout = layout
        self.chance = chance
        self.is_open: Bools = layout.hosts.is_open.copy()
        self.reserved = np.zeros(shape)
        self.sums = np.zeros((*shape, 2, N_SUMS))
        self.lost = np.zeros(shape)
        self.n_vms = np.zeros(layout.n_hosts, dtype=np.intp)
        self.last_s = np.zeros(layout.n_hosts)
        """When the last VM leaves a host; infinite where one is not expected to."""
        self.n_changes = 0
        self._changed: list[int] = []
        self._parts: dict[int, F64] = {1: np.ones((1, N_RESOURCES))}
        self._cores: dict[int, dict[str, tuple[int, ...]]] = {}

    def put(
        self, host: int, where: int, load: Load, sign: float = 1.0, until_s: float = math.inf
    ) -> None:
        """One VM more on a slice (`ALL_SLICES`: in equal parts on all), or less with sign -1."""
        begin, end = int(self.layout.first[host]), int(self.layout.first[host + 1])
        rows = np.arange(begin, end)
        parts = self._shares(begin, end, where)
        kernels.change(
            rows,
            parts,
            sign,
            load.sums,
            load.take,
            load.kinds,
            self.chance.correlation,
            self.layout.capacity,
            self.reserved,
            self.sums,
            self.lost,
        )
        self.n_vms[host] += int(sign)
        if sign > 0:
            self.last_s[host] = max(self.last_s[host], until_s)
        elif not self.n_vms[host]:
            self.last_s[host] = 0.0
        self._note(host)

    def _shares(self, begin: int, end: int, where: int) -> F64:
        """(slices of the host, R) the part of a VM that each carries."""
        n = end - begin
        if n == 1:
            return self._parts[1]
        parts = np.zeros((n, N_RESOURCES))
        parts[:, BY_HOST] = 1.0
        if where == ALL_SLICES:
            parts[:, ~BY_HOST] = 1.0 / n
        else:
            parts[where - begin, ~BY_HOST] = 1.0
        return parts

    def open(self, host: int, is_open: bool) -> None:
        """Maintenance begins or ends."""
        self.is_open[host] = is_open
        self._note(host)

    def changed_since(self, n_changes: int) -> Ints:
        """Hosts that changed after the first `n_changes`, each once; all of them if need be."""
        n_new = self.n_changes - n_changes
        if n_new > min(len(self._changed), self.layout.n_hosts):
            return np.arange(self.layout.n_hosts)
        return np.array(list(set(self._changed[len(self._changed) - n_new :])), dtype=np.intp)

    def _note(self, host: int) -> None:
        self.n_changes += 1
        self._changed.append(host)
        if len(self._changed) > 2 * self.layout.n_hosts + MOST_KEPT:
            del self._changed[: self.layout.n_hosts]

    def take_cores(self, host: int, where: int, vm: str, n: int) -> tuple[int, ...]:
        """The cores that a pinned VM gets for itself, lowest first; empty where nobody knows."""
        first = self.layout.first
        rows = range(int(first[host]), int(first[host + 1])) if where == ALL_SLICES else (where,)
        free = [cpu for row in rows for cpu in self.cores(row)]
        cores = tuple(free[:n])
        if len(cores) == n:
            for row in rows:
                mine = tuple(cpu for cpu in cores if cpu in self.layout.cpus[row])
                self._cores.setdefault(row, {})[vm] = mine
        return cores

    def give_cores(self, host: int, vm: str) -> None:
        for row in range(int(self.layout.first[host]), int(self.layout.first[host + 1])):
            self._cores.get(row, {}).pop(vm, None)

    def cores(self, row: int) -> tuple[int, ...]:
        """The core set of a slice without the cores that pinned VMs have for themselves."""
        taken = self._cores.get(row)
        if not taken:
            return self.layout.cpus[row]
        gone = {cpu for cores in taken.values() for cpu in cores}
        return tuple(cpu for cpu in self.layout.cpus[row] if cpu not in gone)
