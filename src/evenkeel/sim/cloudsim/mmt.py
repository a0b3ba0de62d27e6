"""The opponents: DVFS, and THR-MMT and LR-MMT (Beloglazov and Buyya 2012, doi:10.1002/cpe.1867).

Each tick: from hosts that are over-utilised VMs leave, least memory first, until they no longer
are; they go, most CPU first, where power grows least. Then hosts are emptied, least used first,
where all their VMs find another place. Over-utilised is, by threshold, a host whose VMs want more
than a share of its CPU; by local regression, one whose last ten looks, continued by a straight
line, reach 1 with a safety factor (its tricube weights cancel out in 3.0.3: a plain regression).

What CloudSim 3.0.3 does beside this is kept, because its figures come of it: power growth is taken
from the look before the plan; a host that is to get VMs may yet be emptied, whereby a VM moves
twice at once; one whose emptying failed takes no VMs either; hosts that are off take VMs of
over-utilised hosts only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from evenkeel.domain.arrays import F64, Bools, Ints
from evenkeel.jit import compiled
from evenkeel.sim.cloudsim.meter import watts
from evenkeel.sim.cloudsim.serving import cpu_share
from evenkeel.sim.cloudsim.world import State, World

LENGTH: Final = 10
KEPT: Final = 30
FALLBACK: Final = 0.7
POSITIONS: Final = np.arange(1.0, LENGTH + 1)
_CENTRED: Final = POSITIONS - POSITIONS.mean()
NEXT: Final = 1 / LENGTH + (LENGTH + 1 - POSITIONS.mean()) * _CENTRED / (_CENTRED**2).sum()
"""Weights of ten values, oldest first, that give a straight line's next value: moves take less than
an interval."""


@dataclass(frozen=True, slots=True)
class Rule:
    """`threshold` of a host's CPU; `safety` of the regression, 0: threshold alone."""

    threshold: float
    safety: float = 0.0


THR: Final = Rule(0.8)
LR: Final = Rule(FALLBACK, 1.2)


class Draft(NamedTuple):
    """The plan's own state: VMs where they are to be, and sums over them, (H,).

    `given`, `asked` MIPS; `ahead` MIPS by regression, `known` how many looks of it are not nothing;
    `ram` MB.
    """

    n_on: Ints
    on: Ints
    free: F64
    given: F64
    asked: F64
    ahead: F64
    known: Ints
    ram: F64


class Wants(NamedTuple):
    """Of VMs (V,): MIPS `now`, `ahead` by regression, `known` looks; and the rule's numbers."""

    now: F64
    ahead: F64
    known: Ints
    threshold: float
    safety: float


@compiled
def is_over(total: float, asked: float, ahead: float, known: int, wants: Wants) -> bool:
    """Whether a host of `total` MIPS is over-utilised."""
    if wants.safety > 0 and known >= LENGTH:
        return ahead / total * wants.safety >= 1
    return asked / total > wants.threshold


@compiled
def put(draft: Draft, world: World, wants: Wants, host: int, vm: int) -> None:
    """A VM comes, where it fits."""
    draft.on[host, draft.n_on[host]] = vm
    draft.n_on[host] += 1
    draft.free[host] -= wants.now[vm]
    draft.given[host] += wants.now[vm]
    draft.asked[host] += wants.now[vm]
    draft.ahead[host] += wants.ahead[vm]
    draft.known[host] = max(draft.known[host], wants.known[vm])
    draft.ram[host] += world.ram[vm]


@compiled
def sum_up(draft: Draft, world: World, wants: Wants, host: int) -> None:
    """All sums of a host anew, after VMs went."""
    free, asked, given, ahead, known, ram = world.total[host], 0.0, 0.0, 0.0, 0, 0.0
    is_short, core = False, world.core[host]
    for at in range(draft.n_on[host]):
        vm = draft.on[host, at]
        taken = min(wants.now[vm], core)
        asked += wants.now[vm]
        given += taken
        ahead += wants.ahead[vm]
        known = max(known, wants.known[vm])
        ram += world.ram[vm]
        if free >= taken:
            free -= taken
        else:
            free, is_short = 0.0, True
    if is_short:
        scale, given = world.total[host] / given, 0.0
        for at in range(draft.n_on[host]):
            given += np.floor(min(wants.now[draft.on[host, at]], core) * scale)
    draft.free[host], draft.given[host], draft.asked[host] = free, given, asked
    draft.ahead[host], draft.known[host], draft.ram[host] = ahead, known, ram


@compiled
def take(draft: Draft, world: World, wants: Wants, host: int, vm: int) -> None:
    """A VM goes; the others keep their order."""
    n, at = draft.n_on[host], 0
    while draft.on[host, at] != vm:
        at += 1
    draft.on[host, at : n - 1] = draft.on[host, at + 1 : n]
    draft.n_on[host] = n - 1
    sum_up(draft, world, wants, host)


@compiled
def cheapest(draft: Draft, world: World, wants: Wants, power: F64, closed: Bools, vm: int) -> int:
    """The host whose power grows least with this VM, from what it was at the look; -1: none."""
    best, least = -1, np.inf
    asks = wants.now[vm]
    for host in range(len(world.total)):
        if closed[host] or asks > world.core[host] or asks > draft.free[host]:
            continue
        if draft.ram[host] + world.ram[vm] > world.room[host] or draft.n_on[host] >= 400:
            continue
        if draft.given[host] != 0 and is_over(
            world.total[host],
            draft.asked[host] + asks,
            draft.ahead[host] + wants.ahead[vm],
            max(draft.known[host], wants.known[vm]),
            wants,
        ):
            continue
        grown = watts(world.watts[host], (draft.given[host] + asks) / world.total[host])
        if grown - power[host] < least:
            best, least = host, grown - power[host]
    return best


@compiled
def relieve(
    draft: Draft, world: World, wants: Wants, is_moving: Bools, overfull: Bools
) -> list[int]:
    """VMs that leave over-utilised hosts, least memory first, the first of equal ones."""
    out = [-1 for _ in range(0)]
    for host in range(len(world.total)):
        while overfull[host]:
            chosen = -1
            for at in range(draft.n_on[host]):
                vm = draft.on[host, at]
                if not is_moving[vm] and (chosen < 0 or world.ram[vm] < world.ram[chosen]):
                    chosen = vm
            if chosen < 0:
                break
            out.append(chosen)
            take(draft, world, wants, host, chosen)
            if not is_over(
                world.total[host], draft.asked[host], draft.ahead[host], draft.known[host], wants
            ):
                break
    return out


@compiled
def most_first(vms: Ints, wants: Wants) -> Ints:
    """By what they want now, equal ones as they came."""
    return vms[np.argsort(-wants.now[vms], kind="mergesort")]


@compiled
def plan(world: World, state: State, draft: Draft, wants: Wants) -> tuple[list[int], list[int]]:
    """VMs and the hosts they move to, in order."""
    n_hosts = len(world.total)
    moved = [-1 for _ in range(0)]
    to = [-1 for _ in range(0)]
    power, busy = np.zeros(n_hosts), np.zeros(n_hosts)
    over = np.zeros(n_hosts, dtype=np.bool_)
    for host in range(n_hosts):
        sum_up(draft, world, wants, host)
        busy[host] = cpu_share(state.used[host], world.total[host])
        power[host] = watts(world.watts[host], busy[host])
        over[host] = is_over(
            world.total[host], draft.asked[host], draft.ahead[host], draft.known[host], wants
        )
    leaving = relieve(draft, world, wants, state.is_moving, over)
    for vm in most_first(np.array(leaving, dtype=np.intp), wants):
        host = cheapest(draft, world, wants, power, over, vm)
        if host >= 0:
            put(draft, world, wants, host, vm)
            moved.append(vm)
            to.append(host)
    closed, is_done = over | (busy == 0), over | (busy == 0)
    while True:
        least, source = 1.0, -1
        for host in range(n_hosts):
            if not is_done[host] and 0 < busy[host] < least and draft.n_on[host] > 0:
                least, source = busy[host], host
        if source < 0:
            return moved, to
        closed[source] = is_done[source] = True
        empty_out(world, draft, wants, power, closed, is_done, source, moved, to)


@compiled
def empty_out(
    world: World,
    draft: Draft,
    wants: Wants,
    power: F64,
    closed: Bools,
    is_done: Bools,
    source: int,
    moved: list[int],
    to: list[int],
) -> None:
    """All VMs of a host move, or none; appends to `moved`, `to`. Hosts that get one are done."""
    vms = most_first(draft.on[source, : draft.n_on[source]].copy(), wants)
    targets = np.full(len(vms), -1)
    for k in range(len(vms)):
        targets[k] = cheapest(draft, world, wants, power, closed, vms[k])
        if targets[k] < 0:
            for former in range(k - 1, -1, -1):
                take(draft, world, wants, targets[former], vms[former])
            return
        put(draft, world, wants, targets[k], vms[k])
    for k in range(len(vms)):
        moved.append(vms[k])
        to.append(targets[k])
        is_done[targets[k]] = True


def decide(world: World, state: State, rule: Rule, recent: F64) -> tuple[Ints, Ints]:
    """VMs and targets, (M,) each. `recent` (V, n) shares at the last ticks, the newest first."""
    n_hosts, n = len(world.total), recent.shape[1]
    is_some = recent != 0
    known = np.where(is_some.any(axis=1), n - is_some[:, ::-1].argmax(axis=1), 1) if n else 0
    ahead = np.zeros(len(world.mips))
    if n >= LENGTH:
        ahead = recent[:, :LENGTH] @ NEXT[::-1] * world.mips
    draft = Draft(
        n_on=state.n_on.copy(),
        on=state.on.copy(),
        free=np.zeros(n_hosts),
        given=np.zeros(n_hosts),
        asked=np.zeros(n_hosts),
        ahead=np.zeros(n_hosts),
        known=np.zeros(n_hosts, dtype=np.intp),
        ram=np.zeros(n_hosts),
    )
    looks = np.broadcast_to(known, ahead.shape).astype(np.intp)
    wants = Wants(state.wanted, ahead, looks, rule.threshold, rule.safety)
    moved, to = plan(world, state, draft, wants)
    return np.array(moved, dtype=np.intp), np.array(to, dtype=np.intp)
