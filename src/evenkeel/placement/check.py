"""An independent look at a plan of moves, before it is shown or run.

Shares no code with the planners: it replays the moves wave by wave from the problem alone, adds up
everybody on a host anew, and asks for the odds of a shortfall, where planners ask for room.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64, Ints
from evenkeel.placement.check_company import Broken, CompanyCheck
from evenkeel.placement.check_promises import PromisesCheck
from evenkeel.placement.fleet import Move
from evenkeel.placement.plan import MovePlan
from evenkeel.placement.problem import Problem
from evenkeel.placement.shortfall import Totals, shortfall_odds

ROUNDING: Final = 1e-6


class RefusalCode(StrEnum):
    UNKNOWN = "unknown"
    """A VM, a host or a wave that does not exist, or a VM that is not where the plan says."""
    EXEMPT = "exempt"
    COOLDOWN = "cooldown"
    CLOSED = "closed"
    APART = "apart"
    RULE = "rule"
    """Another rule of placement that held would not."""
    CAPACITY = "capacity"
    RESERVATION = "reservation"
    """It would fit, were it not for what is reserved there."""
    LOTS = "lots"
    """Its lots are not taken along, or the target has promised too much to take them over."""
    BUDGET = "budget"
    INFLOW = "inflow"
    AT_ONCE = "at_once"


@dataclass(frozen=True, slots=True)
class Refusal:
    """`move`: its place in the plan; None: the plan as a whole."""

    code: RefusalCode
    move: int | None
    why: str


def check(problem: Problem, plan: MovePlan) -> tuple[Refusal, ...]:
    """All that is wrong with a plan; nothing: it may be done, in its order and its waves."""
    unknown = _unknown(problem, plan)
    if unknown:
        return tuple(unknown)
    refusals = [*_limits(problem, plan), *_forbidden(problem, plan)]
    host, company = problem.fleet.vms.host.copy(), CompanyCheck(problem)
    promises = PromisesCheck(problem)
    refusals += [
        Refusal(RefusalCode.LOTS, i, said)
        for i, said in promises.left_behind(plan.moves, plan.lots)
    ]
    for wave in range(int(plan.wave.max(initial=-1)) + 1):
        now = np.flatnonzero(plan.wave == wave).tolist()
        refusals += _wave(problem, company, plan, host, now)
        refusals += [
            Refusal(RefusalCode.LOTS, i, said)
            for i, said in promises.wave(host, [(i, plan.moves[i]) for i in now])
        ]
        for i in now:
            host[plan.moves[i].vm] = plan.moves[i].target
    if not np.array_equal(host, plan.host):
        said = "the moves do not lead to where the plan says its VMs are afterwards"
        refusals.append(Refusal(RefusalCode.UNKNOWN, None, said))
    return tuple(refusals)


def _unknown(problem: Problem, plan: MovePlan) -> list[Refusal]:
    n_hosts, n_vms = len(problem.fleet.hosts.ids), len(problem.fleet.vms.ids)
    out = []
    if plan.wave.shape != (len(plan.moves),) or (plan.wave < 0).any():
        out.append(Refusal(RefusalCode.UNKNOWN, None, "every move has a wave, from 0"))
    if (np.diff(plan.wave) < 0).any():
        out.append(Refusal(RefusalCode.UNKNOWN, None, "moves are listed wave after wave"))
    for i, move in enumerate(plan.moves):
        if not 0 <= move.vm < n_vms:
            out.append(Refusal(RefusalCode.UNKNOWN, i, f"there is no VM at {move.vm}"))
        elif not (0 <= move.source < n_hosts and 0 <= move.target < n_hosts):
            out.append(Refusal(RefusalCode.UNKNOWN, i, "there is no such host"))
        elif move.source == move.target:
            out.append(Refusal(RefusalCode.UNKNOWN, i, "it leads to where the VM is"))
    return out


def _limits(problem: Problem, plan: MovePlan) -> list[Refusal]:
    limits, out = problem.limits, []
    if len(plan.moves) > limits.moves:
        said = f"{len(plan.moves)} moves, and {limits.moves} are allowed"
        out.append(Refusal(RefusalCode.BUDGET, None, said))
    came: dict[int, int] = {}
    busy: dict[tuple[int, int], int] = {}
    for i, (move, wave) in enumerate(zip(plan.moves, plan.wave.tolist(), strict=True)):
        came[move.target] = came.get(move.target, 0) + 1
        if came[move.target] > limits.inflow:
            said = f"{_host(problem, move.target)} takes {limits.inflow} VMs in a plan at most"
            out.append(Refusal(RefusalCode.INFLOW, i, said))
        for end in (move.source, move.target):
            busy[end, wave] = busy.get((end, wave), 0) + 1
            if busy[end, wave] > limits.at_once:
                said = f"{_host(problem, end)} is part of {limits.at_once} moves at once at most"
                out.append(Refusal(RefusalCode.AT_ONCE, i, said))
    return out


def _forbidden(problem: Problem, plan: MovePlan) -> list[Refusal]:
    vms, hosts, out = problem.fleet.vms, problem.fleet.hosts, []
    for i, move in enumerate(plan.moves):
        if vms.exempt[move.vm]:
            said = f"{vms.ids[move.vm]} must stay where it is"
            out.append(Refusal(RefusalCode.EXEMPT, i, said))
        if problem.since_moved_s is not None:
            ago = float(problem.since_moved_s[move.vm])
            if ago < problem.limits.cooldown_s:
                said = f"{vms.ids[move.vm]} was moved {ago:.0f} s ago"
                out.append(Refusal(RefusalCode.COOLDOWN, i, said))
        drained = problem.drain is not None and problem.drain[move.target]
        if drained or not hosts.is_open[move.target]:
            said = f"{_host(problem, move.target)} takes no VMs"
            out.append(Refusal(RefusalCode.CLOSED, i, said))
    return out


def _wave(
    problem: Problem, company: CompanyCheck, plan: MovePlan, host: Ints, now: list[int]
) -> list[Refusal]:
    """`host` (V,) before the wave; while it lasts, who moves is on both of its hosts."""
    out: list[Refusal] = []
    moving: set[int] = set()
    for i in now:
        move = plan.moves[i]
        if move.vm in moving:
            said = f"{problem.fleet.vms.ids[move.vm]} moves twice at the same time"
            out.append(Refusal(RefusalCode.UNKNOWN, i, said))
        moving.add(move.vm)
        if host[move.vm] != move.source:
            said = f"{problem.fleet.vms.ids[move.vm]} is not on {_host(problem, move.source)} then"
            out.append(Refusal(RefusalCode.UNKNOWN, i, said))
    arriving = [(i, plan.moves[i]) for i in now]
    for i, broken in company.wave(host, arriving):
        said = f"{problem.fleet.vms.ids[plan.moves[i].vm]} {_SAY[broken]}"
        code = RefusalCode.APART if broken is Broken.APART else RefusalCode.RULE
        out.append(Refusal(code, i, said))
    by_target: dict[int, list[tuple[int, Move]]] = {}
    for i, move in arriving:
        by_target.setdefault(move.target, []).append((i, move))
    for target, comers in by_target.items():
        there = np.union1d(np.flatnonzero(host == target), [move.vm for _, move in comers])
        short = _short(problem, there, target)
        if short is not None:
            code, said = short
            out.extend(Refusal(code, i, said) for i, _ in comers)
    return out


def _short(problem: Problem, there: Ints, target: int) -> tuple[RefusalCode, str] | None:
    """Whether `target` runs short with the VMs `there`, of what, and why."""
    vms, chance = problem.fleet.vms, problem.chance
    mean, deviation = vms.mean[there], vms.deviation[there]
    total = Totals(mean.sum(axis=0), (deviation**2).sum(axis=0), deviation.sum(axis=0))
    capacity = problem.fleet.hosts.capacity[target]
    free = capacity if problem.reserved is None else capacity - problem.reserved[target]
    odds = _odds(total, np.maximum(free, 0.0), chance.correlation)
    column = int(np.argmax(odds))
    if odds[column] <= chance.epsilon * (1 + ROUNDING) + 1e-12:
        return None
    alone = _odds(total, capacity, chance.correlation)[column]
    code = RefusalCode.CAPACITY if alone > chance.epsilon else RefusalCode.RESERVATION
    per_slot = len(capacity) // problem.n_slots
    return code, (
        f"{_host(problem, target)} would run short of resource {column % per_slot} in slot "
        f"{column // per_slot} with odds of {odds[column]:.2g}, and {chance.epsilon:g} is accepted"
    )


def _odds(total: Totals, free: F64, correlation: F64) -> F64:
    odds = shortfall_odds(total, free, correlation)
    return np.asarray(np.where(total.mean > free * (1 + ROUNDING), 1.0, odds))


_SAY: Final = {
    Broken.APART: "would be with one it keeps apart from",
    Broken.TOGETHER: "moves, and one that has to be near another of a group is no longer",
    Broken.ALONE: "would be with VMs of another tenant, one of them to be alone",
    Broken.BARRED: "must not be on that host",
}


def _host(problem: Problem, host: int) -> str:
    return str(problem.fleet.hosts.ids[host])
