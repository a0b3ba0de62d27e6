"""Is a plan that was given still good advice, or is it time for another one?

Advice that changes at every look is no advice. So what was said stands until it is done, until it
cannot be done any more, until a host is helped that it does not help, or until another plan saves
clearly more and some time has passed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

import numpy as np

from evenkeel.domain.arrays import Ints
from evenkeel.domain.ids import HostId, VmId
from evenkeel.placement.check import check
from evenkeel.placement.company import Beside
from evenkeel.placement.consolidate import rebalance
from evenkeel.placement.evacuate import n_left
from evenkeel.placement.fleet import Move
from evenkeel.placement.order import waves
from evenkeel.placement.plan import MovePlan, outlook
from evenkeel.placement.problem import Problem

ROUNDS: Final = 16


@dataclass(frozen=True, slots=True)
class Patience:
    """`cooldown_s`: so long a plan stands at least, if it can be done and helps as many hosts;
    `more`: after that, what another one has to save on top, as a share; `least`: and in all, in
    the unit of `Costs`."""

    cooldown_s: float = 1800.0
    more: float = 0.25
    least: float = 1.0


class Turn(StrEnum):
    KEPT = "kept"
    NOTHING = "nothing"
    """Nothing was worth doing, and nothing is."""
    FIRST = "first"
    DONE = "done"
    """All of the former plan is done, or was overtaken: its VMs are elsewhere, or gone."""
    IMPOSSIBLE = "impossible"
    """Much of the former plan cannot be done any more."""
    RELIEF = "relief"
    """The new plan helps hosts that the former one does not: at risk, or to be emptied."""
    AMENDED = "amended"
    """The former plan stands, and has some moves more, for such hosts."""
    WORTHLESS = "worthless"
    """The former plan no longer pays, nor helps any host."""
    MORE = "more"
    """It saves clearly more."""


@dataclass(frozen=True, slots=True)
class NamedMove:
    """By name: positions are another fleet's at the next look."""

    vm: VmId
    source: HostId
    target: HostId


def named(problem: Problem, plan: MovePlan) -> tuple[NamedMove, ...]:
    vms, hosts = problem.fleet.vms.ids, problem.fleet.hosts.ids
    return tuple(NamedMove(vms[m.vm], hosts[m.source], hosts[m.target]) for m in plan.moves)


def rest_of(problem: Problem, moves: Sequence[NamedMove]) -> MovePlan:
    """What of these moves is still to be done, for the fleet as it is now: of VMs that are where
    they were, in the same order."""
    fleet = problem.fleet
    vm_at = {vm: i for i, vm in enumerate(fleet.vms.ids)}
    host_at = {host: h for h, host in enumerate(fleet.hosts.ids)}
    host, left = fleet.vms.host.copy(), []
    for move in moves:
        vm, target = vm_at.get(move.vm), host_at.get(move.target)
        source = host_at.get(move.source)
        if vm is not None and target is not None and source is not None and host[vm] == source:
            left.append(Move(vm, source, target))
            host[vm] = target
    return _plan(problem, left)


def still(problem: Problem, plan: MovePlan, alarm: float) -> MovePlan:
    """What of a plan can still be done, with hosts taken as full only from odds of `alarm` on:
    plans fill hosts to the accepted risk, and what VMs want is a little different at every look.
    Empty, if it does not come to an end."""
    loose = _at(problem, alarm)
    for _ in range(ROUNDS):
        refusals = check(loose, plan)
        if not refusals:
            return plan
        # Of those that go to one host the last one: there may be room for the others.
        last = {plan.moves[r.move].target: r.move for r in refusals if r.move is not None}
        gone = {plan.moves[move].vm for move in last.values()}
        if not gone:
            break
        plan = _plan(problem, [move for move in plan.moves if move.vm not in gone])
    return _plan(problem, [])


def amended(problem: Problem, former: MovePlan, alarm: float) -> MovePlan | None:
    """The former plan, and after it what relieves hosts that would be at risk, or are to be
    emptied: one host more does not turn all of a plan over. None: that cannot be done."""
    vms = problem.fleet.vms
    exempt = vms.exempt.copy()
    exempt[[move.vm for move in former.moves]] = True
    after = replace(vms, host=former.host, exempt=exempt)
    relief = rebalance(replace(problem, fleet=replace(problem.fleet, vms=after)), alarm)
    if not relief.moves:
        return None
    plan = _plan(problem, [*former.moves, *relief.moves])
    return None if check(_at(problem, alarm), plan) else plan


def helps_as_much(problem: Problem, plan: MovePlan, other: MovePlan, alarm: float) -> bool:
    """Whether a plan leaves no more hosts to help than another one."""
    loose = _at(problem, alarm)
    return _to_help(loose, plan.host) <= _to_help(loose, other.host)


def _plan(problem: Problem, left: list[Move]) -> MovePlan:
    fleet = problem.fleet
    host = fleet.vms.host.copy()
    for move in left:
        host[move.vm] = move.target
    beside = Beside(problem.company, fleet.vms.tenant, fleet.hosts.fault_domain)
    wave = waves(left, problem.limits.at_once, beside.in_order)
    order = np.argsort(wave, kind="stable")
    left = [left[i] for i in order.tolist()]
    carried = problem.promises.carried if problem.promises else {}
    return MovePlan(
        moves=tuple(left),
        wave=wave[order],
        host=host,
        before=outlook(problem, fleet.vms.host),
        after=outlook(problem, host),
        move_cost=float(problem.costs.move[[move.vm for move in left]].sum()),
        left={},
        lots={m.vm: tuple(x.id for x in carried[m.vm]) for m in left if m.vm in carried},
    )


def turn(
    problem: Problem,
    rest: MovePlan | None,
    former: MovePlan,
    fresh: MovePlan,
    alarm: float,
    age_s: float,
    patience: Patience,
) -> Turn:
    """Whether the former plan stands against a `fresh` one, and why.

    Parameters
    ----------
    rest : what of it was not done (`rest_of`); None: there was none
    former : what of that can `still` be done
    alarm : odds of a shortfall from which a host is at risk
    age_s : for how long it has stood
    """
    if rest is None:
        return Turn.FIRST if fresh.moves else Turn.NOTHING
    if not rest.moves:
        return Turn.DONE
    loose, was = _at(problem, alarm), problem.fleet.vms.host
    before, could, can, new = (
        _to_help(loose, host) for host in (was, rest.host, former.host, fresh.host)
    )
    hours = problem.limits.payback_h
    worth = (1.0 - patience.more) * rest.saved(hours)
    if not former.moves or can > could or former.saved(hours) < min(worth, rest.saved(hours)):
        return Turn.IMPOSSIBLE
    if new < can:
        return Turn.RELIEF
    if age_s < patience.cooldown_s:
        return Turn.KEPT
    had, has = former.saved(hours), fresh.saved(hours)
    if had <= 0 and can >= before:
        return Turn.WORTHLESS
    if has > had + max(patience.more * abs(had), patience.least):
        return Turn.MORE
    return Turn.KEPT


def _at(problem: Problem, epsilon: float) -> Problem:
    return replace(problem, chance=replace(problem.chance, epsilon=epsilon))


def _to_help(problem: Problem, host: Ints) -> tuple[int, int]:
    """How much there is to help: VMs on hosts that are to be emptied, hosts at risk."""
    return n_left(problem, host), outlook(problem, host).n_at_risk
