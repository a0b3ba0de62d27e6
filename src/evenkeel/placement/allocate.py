"""Where does a VM go? Every host is asked, after simulated sharding there, in a fraction of a ms.

How: what a host would be for a VM depends on the host's sums and on the VM's load alone, and few
loads are asked for again and again (the sizes that are sold, times how such VMs behave). So for
each load in use the scores of all hosts are kept, and of a host that changed since they were last
looked at the score is reckoned anew: one host a placement, not ten thousand. A load never seen
before costs one pass over all hosts.

The choice: the least contention, in steps of `tolerance`; among those the tightest fit; among
nearly equal ones the fewest of the same kind. Pure: what is chosen is put by whoever asked.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from scipy.special import ndtri

from evenkeel.domain.arrays import F32, F64, Bools, Ints
from evenkeel.domain.ids import HostId, VmId
from evenkeel.domain.placement import Newcomer, Option, Outcome, Placed
from evenkeel.domain.shard import PerformanceClass
from evenkeel.placement import kernels
from evenkeel.placement.explain import refusal, why
from evenkeel.placement.kernels import I8, I32
from evenkeel.placement.rules import NOBODY_BARRED, Neighbours
from evenkeel.placement.slices import ALL_SLICES, BY_HOST, Load, Slices

N_OPTIONS: Final = 8
FEWEST_KINDS: Final = 16
MOST_SCORES: Final = 20_000_000
"""Kept of all kinds together, at 17 bytes each."""
AS_TIGHT: Final = 0.02
"""Fits that differ by less are equal, and the spread decides."""


@dataclass(frozen=True, slots=True)
class Taste:
    """`tolerance`: contention, in parts of a host, that is not told apart from none; `opening`:
    contention that is rather borne than a host opened on which nobody is; `aware`: contention
    counts at all (without it hosts are packed blindly, to compare with); `timed`: how far a host
    that is in use for longer with the VM falls behind among those that contend as little."""

    tolerance: float = 0.0005
    opening: float = 0.075
    timed: float = 0.3
    aware: bool = True


class Stay(NamedTuple):
    """When a VM comes and when it is expected to leave, in seconds from the same beginning."""

    now_s: float
    end_s: float


@dataclass(slots=True, eq=False)
class Standing:
    """Scores of all hosts for one load, and how many changes they have seen."""

    load: Load
    score: F64
    more: F32
    where: I32
    code: I8
    n_seen: int


@dataclass(frozen=True, slots=True, eq=False)
class Seat:
    """Where a VM was put: enough to take it off again."""

    vm: Newcomer
    load: Load
    host: int
    where: int


class Allocator:
    """Not thread-safe: whoever shares it locks.

    Parameters
    ----------
    slices, neighbours : of the same hosts in the same order
    taste : what is preferred
    """

    def __init__(self, slices: Slices, neighbours: Neighbours, taste: Taste | None = None) -> None:
        self.slices = slices
        self.neighbours = neighbours
        self.taste = taste or Taste()
        self.seats: dict[VmId, Seat] = {}
        self.pending: set[VmId] = set()
        """Those of them whose claim is on its way; whoever claims keeps it."""
        self.journal: list[Seat | VmId] | None = None
        """What was put and who was removed, where somebody wants to know."""
        self._place = {host: h for h, host in enumerate(slices.layout.hosts.ids)}
        self._z = float(ndtri(1.0 - slices.chance.epsilon))
        self._kinds: OrderedDict[tuple[bytes, bool], Standing] = OrderedDict()
        self._places = np.empty(N_OPTIONS, dtype=np.intp)

    def forget(self) -> None:
        """Drop the scores that are kept."""
        self._kinds.clear()

    def decide(
        self,
        vm: Newcomer,
        load: Load | None = None,
        n_options: int = N_OPTIONS,
        stay: Stay | None = None,
    ) -> Outcome:
        """The best hosts, or why there is none. Nothing is put. Raises HostNotKnown."""
        load = load or Load.of(vm)
        barred = self.neighbours.barred(vm)
        best, n_fit, standing = self._best(load, barred, stay)
        if not len(best):
            return refusal(self.slices, vm, load, standing.code, self.neighbours.bars(vm), self._z)
        best = self._ordered(vm, best, standing)
        options = tuple(self._option(vm, int(h), standing) for h in best[:n_options])
        n_hosts = self.slices.layout.n_hosts
        return Placed(vm.vm, options, n_fit, n_hosts, why(options, n_fit, n_hosts))

    def scores(self, vm: Newcomer) -> tuple[F64, F32]:
        """(H,) score (inf: it does not fit) and contention of each host, rules left aside."""
        standing = self._standing(Load.of(vm), whole=False)
        return standing.score, standing.more

    def first(self, load: Load, stay: Stay | None = None) -> int:
        """The best host for a load by its score alone; -1: none."""
        best, _, _ = self._best(load, NOBODY_BARRED, stay)
        return int(best[0]) if len(best) else -1

    def position(self, host: HostId) -> int | None:
        """None: there is no such host."""
        return self._place.get(host)

    def put(
        self, vm: Newcomer, load: Load, host: int, where: int, until_s: float = math.inf
    ) -> None:
        """The VM is there from now on."""
        self.slices.put(host, where, load, until_s=until_s)
        if vm.performance is PerformanceClass.PINNED:
            self.slices.take_cores(host, where, vm.vm, vm.n_vcpus)
        self.neighbours.put(host, vm)
        seat = self.seats[vm.vm] = Seat(vm, load, host, where)
        if self.journal is not None:
            self.journal.append(seat)

    def put_at(self, vm: Newcomer, load: Load, option: Option, until_s: float = math.inf) -> int:
        """The same, as it was decided; the host's position."""
        host = self._place[option.host]
        first = int(self.slices.layout.first[host])
        where = ALL_SLICES if option.cell < 0 else first + option.cell
        self.put(vm, load, host, where, until_s)
        return host

    def remove(self, vm: VmId) -> None:
        """The VM is there no longer; nothing happens if it was not."""
        seat = self.seats.pop(vm, None)
        if seat is None:
            return
        self.slices.put(seat.host, seat.where, seat.load, -1.0)
        if seat.vm.performance is PerformanceClass.PINNED:
            self.slices.give_cores(seat.host, vm)
        self.neighbours.put(seat.host, seat.vm, -1)
        if self.journal is not None:
            self.journal.append(vm)

    def _best(self, load: Load, barred: Bools, stay: Stay | None) -> tuple[Ints, int, Standing]:
        """On one slice where that is possible anywhere, else spread over all of a host's."""
        timed, (now_s, end_s) = (self.taste.timed, stay) if stay else (0.0, Stay(0.0, 0.0))
        for whole in (False, True):
            standing = self._standing(load, whole)
            n_fit = kernels.least(
                standing.score, barred, self.slices.last_s, end_s, now_s, timed, self._places
            )
            if n_fit or len(self.slices.layout.first) > len(self.slices.layout.capacity):
                break
        return self._places[self._places >= 0], n_fit, standing

    def _standing(self, load: Load, whole: bool) -> Standing:
        key, now = (load.key, whole), self.slices.n_changes
        standing = self._kinds.get(key)
        if standing is None:
            n = self.slices.layout.n_hosts
            standing = Standing(
                load,
                np.empty(n),
                np.empty(n, dtype=np.float32),
                np.empty(n, dtype=np.int32),
                np.empty(n, dtype=np.int8),
                now,
            )
            self._kinds[key] = standing
            if len(self._kinds) > max(FEWEST_KINDS, MOST_SCORES // max(n, 1)):
                self._kinds.popitem(last=False)
            self._reckon(standing, np.arange(n), whole)
            return standing
        self._kinds.move_to_end(key)
        if standing.n_seen < now:
            hosts = self.slices.changed_since(standing.n_seen)
            standing.n_seen = now
            self._reckon(standing, hosts, whole)
        return standing

    def _reckon(self, standing: Standing, hosts: Ints, whole: bool) -> None:
        slices, load = self.slices, standing.load
        kernels.score_hosts(
            hosts,
            slices.layout.first,
            slices.is_open,
            slices.n_vms,
            BY_HOST,
            whole,
            load.sums,
            load.take,
            load.kinds,
            slices.chance.correlation,
            self._z,
            slices.layout.capacity,
            slices.reserved,
            slices.sums,
            slices.lost,
            self.taste.tolerance,
            self.taste.opening,
            self.taste.aware,
            standing.score,
            standing.more,
            standing.where,
            standing.code,
        )

    def _ordered(self, vm: Newcomer, best: Ints, standing: Standing) -> Ints:
        """Best first, where nearly equal ones are ordered by how they spread the VM's kind."""
        score = standing.score[best]
        alike = int(np.searchsorted(score, score[0] + AS_TIGHT, side="right"))
        if alike < 2:
            return best
        crowd = self.neighbours.crowd(vm, best[:alike])
        if not crowd.any():
            return best
        order = np.argsort(crowd, kind="stable")
        return np.concatenate([best[:alike][order], best[alike:]])

    def _option(self, vm: Newcomer, host: int, standing: Standing) -> Option:
        layout, where = self.slices.layout, int(standing.where[host])
        first, end = int(layout.first[host]), int(layout.first[host + 1])
        if where == ALL_SLICES:
            cores = tuple(cpu for row in range(first, end) for cpu in self.slices.cores(row))
        else:
            cores = self.slices.cores(where)
        if vm.performance is PerformanceClass.PINNED and len(cores) >= vm.n_vcpus:
            cores = cores[: vm.n_vcpus]
        return Option(
            host=layout.hosts.ids[host],
            cell=ALL_SLICES if where == ALL_SLICES else where - first,
            cpus=cores,
            contention=round(float(standing.more[host]), 6),
            free=round(float(standing.score[host] % 1.0) ** 0.5, 4),
        )
