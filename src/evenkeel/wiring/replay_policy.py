"""Evenkeel in a replay: the deciders of a live fleet, asked in the replay's words.

Arrivals go where `placement.allocate` has them, moves are those of `controller.repacking`, each
plan held against `placement.check`. It sees what was measured in slots that are over.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from evenkeel.controller.repacking import Past, Repacking, common_correlation, problem_of, repack
from evenkeel.domain.arrays import F64, Ints
from evenkeel.domain.ids import NO_TENANT, HostId, TenantId, VmId
from evenkeel.domain.placement import Newcomer, Placed
from evenkeel.domain.recording import NOWHERE
from evenkeel.domain.resources import CPU_AXIS, MEMORY_AXIS, N_RESOURCES
from evenkeel.forecast.steady import steady
from evenkeel.placement import fleet
from evenkeel.placement.allocate import Allocator
from evenkeel.placement.batch import place_all
from evenkeel.placement.check import check
from evenkeel.placement.problem import Limits, Problem
from evenkeel.placement.rules import Neighbours
from evenkeel.placement.slices import Layout, Load, Slices
from evenkeel.sim.replay.policy import InPlace, Seen
from evenkeel.sim.replay.sold import OVERCOMMIT
from evenkeel.sim.replay.world import Hosts, State, by_host
from evenkeel.wiring.replay_past import Window

COOLDOWN_S: Final = 3600.0
PAYBACK_H: Final = 24.0
MOVE_H: Final = 0.1
"""These three as `evenkeel plan consolidate` has them; the last: hours of a host in use that a move
of `MOVE_GIB` costs, half of it whatever the size."""
MOVE_GIB: Final = 16.0
INFLOW: Final = 8
"""VMs that one host takes in a plan."""
HOW: Final = Repacking(epsilon=0.03, alarm=0.08, is_grainy=True, jump_slots=2)
"""Chosen on one PlanetLab day (20110306): lower odds save little, higher ones cost work."""
ANEW_S: Final = 3600.0
"""Live fleets are laid out anew each minute, on a thread of its own; here that would be most of the
time spent."""
UNSURE: Final = 0.5
"""Standard deviation of a demand of which nothing is known, in parts of what is assumed."""
LEAST_WATTS: Final = 1e-9


@dataclass(slots=True, eq=False)
class Evenkeel:
    """One object a run; of a fleet of which nothing was seen it assumes that VMs want half of the
    CPU that sizes leave them that are sold `overcommit` times."""

    name: str = "evenkeel"
    in_place: InPlace | None = None
    overcommit: float = OVERCOMMIT
    how: Repacking = HOW
    window: Window = field(default_factory=Window)
    standing: Allocator | None = None
    standing_at: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.intp))
    """(V,) host of each VM in it."""
    laid_out: int = 0

    def place(self, seen: Seen, vms: Ints) -> Ints:
        self.window.see(seen)
        allocator = self._standing(seen)
        mean, deviation = self._expected(seen, vms)
        newcomers = [
            self._newcomer(seen, vm, m, d)
            for vm, m, d in zip(vms.tolist(), mean.tolist(), deviation.tolist(), strict=True)
        ]
        position = {host: h for h, host in enumerate(seen.hosts.ids)}
        out = np.array(
            [
                position[outcome.chosen.host] if isinstance(outcome, Placed) else NOWHERE
                for outcome in place_all(allocator, newcomers)
            ],
            dtype=np.intp,
        )
        self.standing_at[vms] = out
        return out

    def move(self, seen: Seen) -> tuple[Ints, Ints]:
        self.window.see(seen)
        there = np.flatnonzero(seen.state.there)
        if not len(there):
            return there, there
        problem = self._problem(seen, there)
        plan = repack(problem, seen.slot, self.how)
        refusals = check(problem, plan)
        assert not refusals, refusals
        vms = there[[move.vm for move in plan.moves]]
        targets = np.array([move.target for move in plan.moves], dtype=np.intp)
        return _all_at_once(seen.hosts, seen.state, self._memory(seen), vms, targets)

    def _problem(self, seen: Seen, there: Ints) -> Problem:
        """Who moves counts where it goes; what it leaves is free when it has left."""
        hosts, state = seen.hosts, seen.state
        where = np.where(state.moving, state.target, state.host)[there]
        memory = self._memory(seen)
        past = Past(
            demand=self.window.of(there, CPU_AXIS),
            size=seen.vms.vcpus[there],
            memory=memory[there],
            firm=self._firm(there, memory),
        )
        vms = fleet.Vms(
            ids=tuple(VmId(seen.vms.ids[vm]) for vm in there.tolist()),
            host=where,
            mean=np.zeros((len(there), 1)),
            deviation=np.zeros((len(there), 1)),
            tenant=np.zeros(len(there), dtype=np.intp),
            exempt=state.moving[there],
        )
        problem = problem_of(
            hosts_of(hosts),
            vms,
            past,
            idle_watts=np.maximum(hosts.idle_w, LEAST_WATTS),
            watts_per_cpu=(hosts.busy_w - hosts.idle_w) / hosts.n_cpus,
            how=self._how(there),
        )
        reserved = np.zeros((hosts.n, N_RESOURCES))
        leaving = np.flatnonzero(state.moving)
        reserved[:, MEMORY_AXIS] = by_host(state.host[leaving], memory[leaving], hosts.n)
        moved = state.moved_slot[there]
        rested = np.where(moved < 0, np.inf, (seen.slot - moved) * seen.slot_s)
        in_use = max(float(hosts.idle_w.mean()), LEAST_WATTS)
        move = MOVE_H * in_use * (0.5 + 0.5 * memory[there] / 1024.0 / MOVE_GIB)
        return replace(
            problem,
            costs=replace(problem.costs, move=move),
            limits=Limits(payback_h=PAYBACK_H, inflow=INFLOW, cooldown_s=COOLDOWN_S),
            since_moved_s=rested,
            reserved=reserved if len(leaving) else None,
        )

    def _how(self, vms: Ints) -> Repacking:
        """With demand that moves together as it was seen to."""
        together = common_correlation(self.window.of(vms, CPU_AXIS))
        return replace(self.how, correlation=max(self.how.correlation, together))

    def _memory(self, seen: Seen) -> F64:
        """(V,) the most that each held lately; its size where that is not known."""
        return np.fmin(self.window.most(MEMORY_AXIS, seen.vms.memory_mib), seen.vms.memory_mib)

    def _firm(self, there: Ints, memory: F64) -> F64:
        """(n, R - 1) memory, network and disk in the axis' order: held in full."""
        columns = [memory[there]]
        for axis in range(MEMORY_AXIS + 1, N_RESOURCES):
            values = self.window.of(there, axis)
            known = np.isfinite(values)
            n = np.maximum(known.sum(axis=1), 1)
            filled = np.where(known, values, 0.0)
            mean = filled.sum(axis=1) / n
            spread = np.sqrt(np.maximum((filled**2).sum(axis=1) / n - mean**2, 0.0))
            columns.append(mean + 2.0 * spread)
        return np.column_stack(columns)

    def _standing(self, seen: Seen) -> Allocator:
        """Everybody where it is, with what it is expected to want: anew once an hour, in between
        kept up with who came, left and moved."""
        state = seen.state
        where = np.where(state.moving, state.target, state.host)
        if self.standing is None or seen.slot - self.laid_out >= ANEW_S / seen.slot_s:
            self.standing = self._empty(seen)
            self.standing_at = np.full(len(where), NOWHERE, dtype=np.intp)
            self.laid_out = seen.slot
        out, others = self.standing, np.flatnonzero(where != self.standing_at)
        for vm in others[self.standing_at[others] != NOWHERE].tolist():
            out.remove(VmId(seen.vms.ids[vm]))
        comers = others[where[others] != NOWHERE]
        mean, deviation = self._wants(seen, comers)
        rows = zip(comers.tolist(), mean.tolist(), deviation.tolist(), strict=True)
        for vm, m, d in rows:
            resident = self._newcomer(seen, vm, m, d)
            out.put(resident, Load.of(resident), int(where[vm]), int(where[vm]))
        self.standing_at[others] = where[others]
        return out

    def _empty(self, seen: Seen) -> Allocator:
        """Hosts with nobody on them."""
        hosts, how = hosts_of(seen.hosts), self._how(np.flatnonzero(seen.state.there))
        chance = fleet.Chance(how.epsilon, np.full(N_RESOURCES, how.correlation))
        slices = Slices(Layout.of(hosts), chance)
        return Allocator(slices, Neighbours(hosts.ids, hosts.fault_domain))

    def _wants(self, seen: Seen, vms: Ints) -> tuple[F64, F64]:
        """(n, R) of VMs that are there; who was not seen yet wants what is expected of one."""
        mean, deviation = self._expected(seen, vms)
        known = self.window.is_known(vms)
        who = vms[known]
        if len(who):
            size = seen.vms.vcpus[who]
            level, spread = steady(self.window.of(who, CPU_AXIS), size, self.how.memory)
            memory = self._memory(seen)
            mean[known] = np.column_stack([level, self._firm(who, memory)])
            deviation[known] = 0.0
            deviation[known, CPU_AXIS] = spread
        mean[:, CPU_AXIS] = np.minimum(mean[:, CPU_AXIS], seen.vms.vcpus[vms])
        return mean, deviation

    def _expected(self, seen: Seen, vms: Ints) -> tuple[F64, F64]:
        """(n, R) of VMs never seen: their memory, and of the rest what others of their size want;
        while there are no others, what is assumed of the fleet."""
        share, spread = np.zeros(N_RESOURCES), np.zeros(N_RESOURCES)
        share[CPU_AXIS] = 0.5 / self.overcommit
        spread[CPU_AXIS] = UNSURE * share[CPU_AXIS]
        others = self.window.rows()
        if len(others):
            for axis in range(N_RESOURCES):
                values = self.window.of(others, axis) / seen.vms.vcpus[others, None]
                if np.isfinite(values).any():
                    share[axis], spread[axis] = np.nanmean(values), np.nanstd(values)
        mean = seen.vms.vcpus[vms, None] * share
        deviation = seen.vms.vcpus[vms, None] * spread
        mean[:, MEMORY_AXIS], deviation[:, MEMORY_AXIS] = seen.vms.memory_mib[vms], 0.0
        return mean, deviation

    def _newcomer(self, seen: Seen, vm: int, mean: list[float], deviation: list[float]) -> Newcomer:
        tenant = seen.vms.tenant[vm]
        return Newcomer(
            vm=VmId(seen.vms.ids[vm]),
            n_vcpus=max(1, int(np.ceil(seen.vms.vcpus[vm]))),
            memory_mib=float(seen.vms.memory_mib[vm]),
            mean=tuple(mean),
            deviation=tuple(deviation),
            tenant=TenantId(tenant) if tenant else NO_TENANT,
        )


def hosts_of(hosts: Hosts) -> fleet.Hosts:
    """All of them open: nothing is in maintenance."""
    return fleet.Hosts(
        ids=tuple(HostId(name) for name in hosts.ids),
        capacity=hosts.capacity,
        is_open=np.ones(hosts.n, dtype=np.bool_),
        fault_domain=hosts.fault_domain,
    )


def _all_at_once(
    hosts: Hosts, state: State, memory: F64, vms: Ints, targets: Ints
) -> tuple[Ints, Ints]:
    """Those moves for which there is memory before anybody has left; a later slot plans the
    others anew."""
    held = np.zeros(hosts.n)
    for where in (state.host, state.target):
        who = np.flatnonzero(where != NOWHERE)
        held += by_host(where[who], memory[who], hosts.n)
    able, moved = [], set()
    for k, (vm, host) in enumerate(zip(vms.tolist(), targets.tolist(), strict=True)):
        if vm not in moved and held[host] + memory[vm] <= hosts.memory_mib[host]:
            held[host] += memory[vm]
            moved.add(vm)
            able.append(k)
    return vms[able], targets[able]
