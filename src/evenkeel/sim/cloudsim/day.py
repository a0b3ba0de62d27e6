"""A day of the benchmark under a policy: looks, moves, energy and what VMs did not get."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64, Ints
from evenkeel.sim.cloudsim.meter import (
    ACTIVE_S,
    GIVEN,
    LOST_MOVING,
    SHORT_S,
    WANTED,
    WATT_S,
    Meter,
    new_meter,
)
from evenkeel.sim.cloudsim.policies import Policy, Seen
from evenkeel.sim.cloudsim.serving import add, end_moves, look, start_moves
from evenkeel.sim.cloudsim.world import (
    INTERVAL_S,
    RAM_MB_A_SECOND,
    State,
    World,
    check_moves,
    empty,
    share_at,
    ticks,
)

JOULES_A_KWH: Final = 3.6e6

Report = Callable[[int, int], None]
"""(ticks done, of how many)"""


@dataclass(frozen=True, slots=True)
class Tick:
    """How it stands at a tick: hosts that run, moves that begin, MIPS wanted, watts drawn since
    the tick before."""

    hosts_on: int
    moves: int
    wanted: float
    watts: float


@dataclass(frozen=True, slots=True)
class Day:
    """What came of it. Percents are of demand (unserved, pdm) and of the time hosts ran (slatah).

    Unserved demand is all that VMs did not get, `pdm` what of it they lost because they moved; a
    host violates (`slatah`) while it gives less than its VMs want, those that arrive counted in
    full. `bound_kwh`: the whole trace's demand on full G5 hosts; `bound_present_kwh`: of VMs while
    they were there, for a VM that wants nothing at a look ends for good.
    """

    energy_kwh: float
    migrations: int
    unserved_pct: float
    slatah_pct: float
    pdm_pct: float
    bound_kwh: float
    bound_present_kwh: float
    hosts_on: float
    vms_ended: int
    by_tick: tuple[Tick, ...]

    def metrics(self) -> dict[str, float]:
        """Flat, for the envelope."""
        names = [name for name in self.__slots__ if name != "by_tick"]
        return {name: float(getattr(self, name)) for name in names}


def simulate(
    world: World,
    policy: Policy,
    is_power_managed: bool = True,
    report: Report = lambda done, of: None,
    n_ticks: int | None = None,
) -> Day:
    """Run the day, or its first ticks.

    `is_power_managed` off: every host draws its most all the time (NPA).
    """
    run = _Run(world, policy)
    instants = ticks()[:n_ticks]
    for k, now_s in enumerate(instants):
        run.tick(k, now_s)
        report(k + 1, len(instants))
    return run.outcome(is_power_managed, instants[-1])


@dataclass(slots=True)
class _Run:
    """Mutable: the day so far."""

    world: World
    policy: Policy
    state: State = field(init=False)
    meter: Meter = field(init=False)
    looked_s: float = 0.0
    n_moves: int = 0
    n_ended: int = 0
    by_tick: list[Tick] = field(default_factory=list)

    def __post_init__(self) -> None:
        world = self.world
        self.state, self.meter = empty(world), new_meter(len(world.total), len(world.mips))
        for vm, host in enumerate(self.policy.place(_known(world, 0)).tolist()):
            add(self.state, host, vm)
            self.state.home[vm] = host

    def tick(self, k: int, now_s: float) -> None:
        world, state, meter = self.world, self.state, self.meter
        drawn, since_s = float(meter.sums[WATT_S]), self.looked_s
        self._look(now_s)
        vms, hosts = self.policy.decide(Seen(_known(world, k + 2), state, now_s))
        check_moves(vms, hosts, world, state)
        self.by_tick.append(
            Tick(
                hosts_on=int((state.used > 0).sum()),
                moves=len(vms),
                wanted=float(state.wanted[state.home >= 0].sum()),
                watts=(float(meter.sums[WATT_S]) - drawn) / (now_s - since_s),
            )
        )
        self.n_moves += len(vms)
        start_moves(world, state, meter, vms, hosts, now_s)
        for arrive_s, who in _arrivals(world, vms, now_s):
            self._look(arrive_s)
            end_moves(state, vms[who], hosts[who])
            self._look(arrive_s)

    def _look(self, now_s: float) -> None:
        self.state.wanted[:] = share_at(self.world, now_s) * self.world.mips
        span_s = now_s - self.looked_s
        self.n_ended += look(self.world, self.state, self.meter, now_s, span_s)
        self.looked_s = now_s

    def outcome(self, is_power_managed: bool, last_s: float) -> Day:
        world, sums = self.world, self.meter.sums
        watt_s = float(sums[WATT_S]) if is_power_managed else world.watts[:, -1].sum() * last_s
        joules_a_mip = float((world.watts[:, -1] / world.total).min())
        trace = float((world.share[:, :-1] * world.mips[:, None]).sum()) * INTERVAL_S
        wanted, active_s = max(float(sums[WANTED]), 1e-12), max(float(sums[ACTIVE_S]), 1e-12)
        return Day(
            energy_kwh=float(watt_s) / JOULES_A_KWH,
            migrations=self.n_moves,
            unserved_pct=100 * float(sums[WANTED] - sums[GIVEN]) / wanted,
            slatah_pct=100 * float(sums[SHORT_S]) / active_s,
            pdm_pct=100 * float(sums[LOST_MOVING]) / wanted,
            bound_kwh=trace * joules_a_mip / JOULES_A_KWH,
            bound_present_kwh=wanted * joules_a_mip / JOULES_A_KWH,
            hosts_on=float(np.mean([tick.hosts_on for tick in self.by_tick])),
            vms_ended=self.n_ended,
            by_tick=tuple(self.by_tick),
        )


def _known(world: World, n_samples: int) -> World:
    """The world with the samples of the past alone."""
    return world._replace(share=world.share[:, :n_samples])


def _arrivals(world: World, vms: Ints, now_s: float) -> Iterator[tuple[float, Ints]]:
    """Instants and who arrives then, positions in `vms`, in the order their moves began."""
    ends_s: F64 = now_s + world.ram[vms] / RAM_MB_A_SECOND
    for end_s in np.unique(ends_s):
        yield float(end_s), np.nonzero(ends_s == end_s)[0]
