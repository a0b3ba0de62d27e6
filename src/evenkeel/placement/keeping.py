"""Is a plan that was given still good advice, or is it time for another one?

Advice that changes at every look is no advice. So what was said stands until it is done, until it
cannot be done any more, until a host is helped that it does not help, or until another plan saves
clearly more and some time has passed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from evenkeel.domain.ids import HostId, VmId
from evenkeel.placement.check import check
from evenkeel.placement.company import Beside
from evenkeel.placement.evacuate import n_left
from evenkeel.placement.fleet import Move
from evenkeel.placement.order import waves
from evenkeel.placement.plan import MovePlan, outlook
from evenkeel.placement.problem import Problem


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
    """The former plan cannot be done any more."""
    RELIEF = "relief"
    """The new plan helps hosts that the former one does not: at risk, or to be emptied."""
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
    problem: Problem, former: MovePlan | None, fresh: MovePlan, age_s: float, patience: Patience
) -> Turn:
    """Whether the `former` plan (as `rest_of` it; None: there was none) stands against a `fresh`
    one, and why. `age_s`: for how long it has stood."""
    if former is None:
        return Turn.FIRST if fresh.moves else Turn.NOTHING
    if not former.moves:
        return Turn.DONE
    if check(problem, former):
        return Turn.IMPOSSIBLE
    helped = [(n_left(problem, plan.host), plan.after.n_at_risk) for plan in (former, fresh)]
    if helped[1] < helped[0]:
        return Turn.RELIEF
    if age_s < patience.cooldown_s:
        return Turn.KEPT
    hours = problem.limits.payback_h
    had, has = former.saved(hours), fresh.saved(hours)
    before = (n_left(problem, problem.fleet.vms.host), former.before.n_at_risk)
    if had <= 0 and helped[0] >= before:
        return Turn.WORTHLESS
    if has > had + max(patience.more * abs(had), patience.least):
        return Turn.MORE
    return Turn.KEPT
