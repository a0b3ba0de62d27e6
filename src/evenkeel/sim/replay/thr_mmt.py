"""The consolidation literature's rule (Beloglazov and Buyya 2012, doi:10.1002/cpe.1867) on these
hosts: relieve above a threshold of CPU, VMs with the least memory first; empty the least loaded.

VMs go where the power drawn grows least. By the newest slot alone, as there. Memory is sold once,
by size: that study's simulator lets it go unnoticed after the start, these hosts do not.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from evenkeel.domain.arrays import F64, Bools, Ints
from evenkeel.domain.recording import NOWHERE
from evenkeel.jit import compiled
from evenkeel.sim.replay.opponents import BestFit, recent_cpu
from evenkeel.sim.replay.policy import Seen
from evenkeel.sim.replay.power import SHAPE, TENTHS
from evenkeel.sim.replay.world import Hosts, by_host

ROUNDING = 1e-9


class ThrMmt(BestFit):
    """Arrivals go as best-fit has them."""

    def move(self, seen: Seen) -> tuple[Ints, Ints]:
        paper = _Paper.of(seen)
        paper.relieve()
        paper.empty()
        vms = np.array(sorted(paper.moved), dtype=np.intp)
        return vms, np.array([paper.moved[int(vm)] for vm in vms], dtype=np.intp)


@dataclass(slots=True, eq=False)
class _Paper:
    """The fleet on scratch paper. `cpu` (V,) cores wanted; `load` (H,) cores and `memory` (H,) MiB
    by host; `where` (V,); `free` (V,): may be moved; `grew` (H,): took somebody in this slot."""

    hosts: Hosts
    cpu: F64
    size: F64
    where: Ints
    free: Bools
    load: F64
    memory: F64
    grew: Bools
    threshold: float = 0.8
    moved: dict[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, seen: Seen) -> _Paper:
        state, hosts = seen.state, seen.hosts
        cpu = recent_cpu(seen, 1)
        where = np.where(state.moving, state.target, state.host)
        who = np.flatnonzero(where != NOWHERE)
        leaving = np.flatnonzero(state.moving)
        memory = by_host(where[who], seen.vms.memory_mib[who], hosts.n)
        memory += by_host(state.host[leaving], seen.vms.memory_mib[leaving], hosts.n)
        return cls(
            hosts=hosts,
            cpu=cpu,
            size=seen.vms.memory_mib,
            where=where,
            free=state.there & ~state.moving,
            load=by_host(where[who], cpu[who], hosts.n),
            memory=memory,
            grew=np.zeros(hosts.n, dtype=bool),
        )

    def on(self, host: int) -> Ints:
        return np.flatnonzero((self.where == host) & self.free)

    def relieve(self) -> None:
        limit = self.threshold * self.hosts.n_cpus
        over = self.load > limit + ROUNDING
        chosen: list[int] = []
        for host in np.flatnonzero(over).tolist():
            here = self.on(host)
            load = float(self.load[host])
            for vm in here[np.argsort(self.size[here], kind="stable")].tolist():
                if load <= limit[host] + ROUNDING:
                    break
                load -= float(self.cpu[vm])
                chosen.append(vm)
        for vm in sorted(chosen, key=lambda vm: (-self.cpu[vm], vm)):
            host = self.cheapest(vm, ~over)
            if host != NOWHERE:
                self.go(vm, host)

    def empty(self) -> None:
        """The least loaded host first, while all of its VMs go elsewhere; who took VMs stays on."""
        limit = self.threshold * self.hosts.n_cpus
        is_on = np.bincount(self.where[self.where != NOWHERE], minlength=self.hosts.n) > 0
        is_on &= self.load <= limit + ROUNDING
        tried = self.grew.copy()
        while True:
            able = np.flatnonzero(is_on & ~tried)
            if not len(able):
                return
            source = int(able[np.argmin(self.load[able] / self.hosts.n_cpus[able])])
            tried[source] = True
            here = self.on(source)
            if len(here) != int((self.where == source).sum()):
                continue
            before = self.load.copy(), self.memory.copy(), self.where.copy(), self.grew.copy()
            moved, others = dict(self.moved), is_on.copy()
            others[source] = False
            for vm in here[np.argsort(-self.cpu[here], kind="stable")].tolist():
                host = self.cheapest(vm, others)
                if host == NOWHERE:
                    self.load, self.memory, self.where, self.grew = before
                    self.moved = moved
                    break
                self.go(vm, host)
            else:
                is_on[source] = False
                tried |= self.grew

    def cheapest(self, vm: int, able: Bools) -> int:
        """Where the watts grow least; NOWHERE: it fits nowhere."""
        hosts = self.hosts
        return int(
            _cheapest(
                able,
                self.load,
                self.memory,
                self.threshold * hosts.n_cpus + ROUNDING - self.cpu[vm],
                hosts.memory_mib + ROUNDING - self.size[vm],
                hosts.n_cpus,
                hosts.idle_w,
                hosts.busy_w,
                float(self.cpu[vm]),
                int(self.where[vm]),
            )
        )

    def go(self, vm: int, host: int) -> None:
        """Memory is held on both ends until the move is over."""
        self.load[self.where[vm]] -= self.cpu[vm]
        self.load[host] += self.cpu[vm]
        self.memory[host] += self.size[vm]
        self.grew[host] = True
        self.where[vm] = host
        self.free[vm] = False
        self.moved[vm] = host


@compiled
def _cheapest(
    able: Bools,
    load: F64,
    memory: F64,
    most_load: F64,
    most_memory: F64,
    n_cpus: F64,
    idle_w: F64,
    busy_w: F64,
    cpu: float,
    home: int,
) -> int:
    """All (H,): a host takes the VM of `cpu` cores while it has at most these."""
    best, least = NOWHERE, np.inf
    for host in range(len(load)):
        if not able[host] or host == home:
            continue
        if load[host] > most_load[host] or memory[host] > most_memory[host]:
            continue
        spread = busy_w[host] - idle_w[host]
        grown = spread * np.interp((load[host] + cpu) / n_cpus[host], TENTHS, SHAPE)
        if memory[host] > 0:
            grown -= spread * np.interp(load[host] / n_cpus[host], TENTHS, SHAPE)
        else:
            grown += idle_w[host]
        if grown < least:
            best, least = host, grown
    return best
