"""A day of the benchmark under a policy: looks, moves, energy and what VMs did not get."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np

from evenkeel.domain.arrays import F64, Ints
from evenkeel.sim.cloudsim import mmt
from evenkeel.sim.cloudsim.first import first_hosts
from evenkeel.sim.cloudsim.meter import (
    ACTIVE_S,
    GIVEN,
    LOST_MOVING,
    SHORT_S,
    WANTED,
    WATT_S,
    new_meter,
)
from evenkeel.sim.cloudsim.serving import add, end_moves, look, start_moves
from evenkeel.sim.cloudsim.world import (
    RAM_MB_A_SECOND,
    WATTS,
    State,
    World,
    check_moves,
    empty,
    is_recorded,
    share_at,
    ticks,
)

JOULES_A_KWH: Final = 3.6e6


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What a policy knows at a tick: the world but for its shares, where VMs are, and what each of
    them wanted at every tick so far, `wanted` (V, n) MIPS, the newest last."""

    world: World
    state: State
    wanted: F64


class Policy(Protocol):
    """Decides who goes where."""

    def place(self, world: World) -> Ints:
        """(V,) hosts at the start."""

    def decide(self, seen: Seen) -> tuple[Ints, Ints]:
        """(M,) VMs and the hosts they move to."""


@dataclass(slots=True)
class Fixed:
    """VMs stay on the first host that had room: DVFS, and NPA without power management."""

    def place(self, world: World) -> Ints:
        return first_hosts(world, by_power=False)

    def decide(self, seen: Seen) -> tuple[Ints, Ints]:
        nobody = np.zeros(0, dtype=np.intp)
        return nobody, nobody


@dataclass(slots=True)
class Mmt:
    """THR-MMT or LR-MMT."""

    rule: mmt.Rule
    is_kept: list[bool] = field(default_factory=list)

    def place(self, world: World) -> Ints:
        return first_hosts(world, by_power=True)

    def decide(self, seen: Seen) -> tuple[Ints, Ints]:
        n = seen.wanted.shape[1]
        kept = np.array([is_recorded(now_s) for now_s in ticks()[:n]])
        shares = seen.wanted[:, kept] / seen.world.mips[:, None]
        return mmt.decide(seen.world, seen.state, self.rule, shares)


@dataclass(frozen=True, slots=True)
class Tick:
    """How it stands after a tick: hosts that run, moves that begin, MIPS wanted, watts."""

    hosts_on: int
    moves: int
    wanted: float
    watts: float


@dataclass(frozen=True, slots=True)
class Day:
    """What came of it. Percents are of demand (unserved, pdm) and of the time hosts ran (slatah)."""

    energy_kwh: float
    migrations: int
    unserved_pct: float
    slatah_pct: float
    pdm_pct: float
    bound_kwh: float
    hosts_on: float
    """On average."""
    vms_ended: int
    by_tick: tuple[Tick, ...]

    def metrics(self) -> dict[str, float]:
        """Flat, for the envelope."""
        names = ("energy_kwh", "migrations", "unserved_pct", "slatah_pct", "pdm_pct", "bound_kwh")
        found = {name: float(getattr(self, name)) for name in names}
        return found | {"hosts_on": self.hosts_on, "vms_ended": float(self.vms_ended)}


def simulate(
    world: World, policy: Policy, power_managed: bool = True, report: Callable[[int, int], None] = lambda *_: None
) -> Day:
    """Run the day. Not `power_managed`: every host draws its most all the time (NPA)."""
    state, meter = empty(world), new_meter(len(world.total), len(world.mips))
    for vm, host in enumerate(policy.place(world)):
        add(state, int(host), vm)
        state.home[vm] = host
    looked_s, n_moves, n_ended = 0.0, 0, 0
    known: list[F64] = []
    by_tick: list[Tick] = []

    def look_now(now_s: float) -> None:
        nonlocal looked_s, n_ended
        state.wanted[:] = share_at(world, now_s) * world.mips
        n_ended += look(world, state, meter, now_s, now_s - looked_s)
        looked_s = now_s

    instants = ticks()
    for k, now_s in enumerate(instants):
        before = float(meter.sums[WATT_S])
        look_now(now_s)
        known.append(state.wanted.copy())
        vms, hosts = policy.decide(Seen(world, state, np.stack(known, axis=1)))
        check_moves(list(zip(vms.tolist(), hosts.tolist(), strict=True)), world, state)
        by_tick.append(
            Tick(int((state.used > 0).sum()), len(vms), float(state.wanted[state.home >= 0].sum()), float(meter.sums[WATT_S]) - before)
        )
        n_moves += len(vms)
        start_moves(world, state, meter, vms, hosts, now_s)
        for arrives_s, who in arrivals(world, vms, now_s):
            look_now(arrives_s)
            end_moves(state, vms[who], hosts[who])
            look_now(arrives_s)
        report(k + 1, len(instants))
    sums = meter.sums
    managed = float(sums[WATT_S])
    most = float(world.watts[:, -1].sum()) * instants[-1]
    best = min(watts[-1] / total for watts, total in zip(WATTS, (3720.0, 5320.0), strict=True))
    return Day(
        energy_kwh=(managed if power_managed else most) / JOULES_A_KWH,
        migrations=n_moves,
        unserved_pct=100 * float(1 - sums[GIVEN] / sums[WANTED]),
        slatah_pct=100 * float(sums[SHORT_S] / sums[ACTIVE_S]),
        pdm_pct=100 * float(sums[LOST_MOVING] / sums[WANTED]),
        bound_kwh=float(sums[WANTED]) * best / JOULES_A_KWH,
        hosts_on=float(np.mean([tick.hosts_on for tick in by_tick])),
        vms_ended=n_ended,
        by_tick=tuple(by_tick),
    )


def arrivals(world: World, vms: Ints, now_s: float) -> Iterable[tuple[float, Ints]]:
    """Instants and who arrives then, positions in `vms`, in the order their moves began."""
    ends_s = now_s + world.ram[vms] / RAM_MB_A_SECOND
    for end_s in np.unique(ends_s):
        yield float(end_s), np.nonzero(ends_s == end_s)[0]
