"""Time passes: a slot in stretches that end as moves do, on all hosts at once.

`run` says who is where; here is what they get of it, and it is metered.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64, Ints
from evenkeel.domain.recording import NOWHERE, VmTable
from evenkeel.domain.resources import CPU_AXIS
from evenkeel.sim.replay import moves
from evenkeel.sim.replay.corun import Residual
from evenkeel.sim.replay.meter import Meter
from evenkeel.sim.replay.overlap import beyond_pools, overlap_loss
from evenkeel.sim.replay.policy import InPlace
from evenkeel.sim.replay.power import draw
from evenkeel.sim.replay.serve import Served, serve
from evenkeel.sim.replay.world import Hosts, State, by_host

STRETCHES: Final = 10
"""Of a slot at most: ends of moves are rounded up to such a part of it."""
TINY: Final = 1e-9


@dataclass(slots=True, eq=False)
class World:
    """What does not depend on who is where. `kind` (V,) of work in the co-run table; `held` (V,)
    MiB that each VM keeps in memory."""

    hosts: Hosts
    vms: VmTable
    kind: Ints
    corun: Residual
    in_place: InPlace | None
    held: F64 = field(init=False)

    def __post_init__(self) -> None:
        self.held = self.vms.memory_mib.copy()

    def hold(self, memory: F64) -> None:
        """(V,) memory in use in a slot; NaN: not known, so as before, at first its whole size."""
        known = np.isfinite(memory)
        self.held = np.where(known, np.minimum(memory, self.vms.memory_mib), self.held)

    def notes(self) -> tuple[str, ...]:
        """What is assumed."""
        n, known = len(self.vms.ids), sum(kind in self.corun.kinds for kind in self.vms.kind)
        beside = (
            f"How much VMs slow each other beyond cores follows measured pairs of "
            f"{len(self.corun.kinds)} kinds of work; the kinds of {n - known} of {n} VMs are drawn "
            "by seed."
        )
        if self.corun.is_none:
            beside = "VMs slow each other by what they share alone: there is no table of co-runs."
        return (
            "Demand is its mean over a slot; within one each vCPU runs or does not, by itself. "
            "What a VM did not get it does not ask for again.",
            f"A move sends memory over {moves.LINK_SHARE:.0%} of the uplink, what is written "
            f"meanwhile ({moves.DIRTY_MIB_S:g} MiB/s a busy core) again, and costs the VM "
            f"{moves.CPU_COST:.0%} of its CPU. Hosts without VMs are off.",
            beside,
        )


@dataclass(slots=True, eq=False)
class Stretch:
    """One slot."""

    world: World
    state: State
    meter: Meter
    slot: int
    start_s: float
    slot_s: float

    def pass_all(self, vms: Ints, wanted: F64) -> None:
        """`vms` (n,) are there and want `wanted` (n, R)."""
        grain, done = self.slot_s / STRETCHES, 0
        while done < STRETCHES:
            moving = np.flatnonzero(self.state.moving)
            if not len(moving):
                self._stretch(vms, wanted, done, STRETCHES - done, moving, None)
                return
            cpu = np.zeros(len(self.state.host))
            cpu[vms] = wanted[:, CPU_AXIS]
            pace = moves.pace(
                self.world.hosts, self.state.host[moving], self.state.target[moving], cpu[moving]
            )
            ends_s = self.state.left_mib[moving] / pace.gains
            n = max(1, int(np.ceil(ends_s.min() / grain - TINY)))
            n = min(n, STRETCHES - done)
            self._stretch(vms, wanted, done, n, moving, pace)
            self._advance(moving, pace, ends_s, n * grain)
            done += n

    def _advance(self, moving: Ints, pace: moves.Pace, ends_s: F64, span_s: float) -> None:
        state = self.state
        self.meter.sent_mib += float((pace.sends * np.minimum(ends_s, span_s)).sum())
        state.left_mib[moving] = np.maximum(state.left_mib[moving] - pace.gains * span_s, 0.0)
        through = moving[ends_s <= span_s * (1 + TINY)]
        state.host[through] = state.target[through]
        state.target[through] = NOWHERE
        state.left_mib[through] = 0.0

    def _stretch(
        self, vms: Ints, wanted: F64, done: int, n: int, moving: Ints, pace: moves.Pace | None
    ) -> None:
        world, state, hosts = self.world, self.state, self.world.hosts
        span_s = n * self.slot_s / STRETCHES
        at = state.host[vms]
        arriving, sending = np.zeros(hosts.n), np.zeros(hosts.n)
        busy_moving = np.zeros(len(state.host))
        if pace is not None:
            arriving = by_host(state.target[moving], world.held[moving], hosts.n)
            part = np.minimum(state.left_mib[moving] / pace.gains / span_s, 1.0)
            busy_moving[moving] = part
            sending = pace.mbit
        pools = serve(hosts, at, wanted, world.held[vms], arriving, sending)
        cpu, pool = wanted[:, CPU_AXIS], pools.got[:, CPU_AXIS]
        overlap = overlap_loss(at, cpu, world.vms.vcpus[vms], hosts.n_cpus)
        extra = beyond_pools(at, cpu, pool, overlap, hosts.n)
        served = pools
        if world.in_place is not None:
            served = self._in_place(world.in_place, vms, at, wanted, pools, done, span_s)
        got = served.got.copy()
        kept = got[:, CPU_AXIS]
        beside = world.corun.beside(at, world.kind[vms], kept, hosts.n_cpus, overlap)
        steps = (extra, beside, moves.CPU_COST * busy_moving[vms])
        lost = [float((cpu - kept).sum())]
        for share in steps:
            lost.append(float((kept * share).sum()))
            kept = kept * (1.0 - share)
        got[:, CPU_AXIS] = kept
        self.meter.by_cause += np.array(lost) * span_s
        self.meter.add(vms, wanted, got, span_s)
        is_on = (np.bincount(at, minlength=hosts.n) > 0) | (arriving > 0)
        watts = draw(hosts.idle_w, hosts.busy_w, np.minimum(served.busy / hosts.n_cpus, 1.0))
        self.meter.add_hosts(
            self.slot,
            int(is_on.sum()),
            int(served.short.sum()),
            float(watts[is_on].sum()),
            span_s,
        )

    def _in_place(
        self,
        agents: InPlace,
        vms: Ints,
        at: Ints,
        wanted: F64,
        pools: Served,
        done: int,
        span_s: float,
    ) -> Served:
        """Hosts that are short, or where something is open, by their own agents."""
        hosts, meter = self.world.hosts, self.meter
        got, start_s = pools.got.copy(), self.start_s + done * self.slot_s / STRETCHES
        for host in range(hosts.n):
            if not (pools.short[host] or agents.is_open(host)):
                continue
            here = np.flatnonzero(at == host)
            given = agents.slot(host, vms[here], wanted[here], start_s, span_s)
            got[here] = np.minimum(given.got, wanted[here])
            meter.n_actions += given.n_actions
            meter.n_rolled_back += given.n_rolled_back
            meter.by_slot["mitigations"][self.slot] += given.n_actions
        return Served.of(hosts.n, at, wanted, got)
