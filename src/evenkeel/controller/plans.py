"""Plans of moves for the live fleet, as advice: nothing is executed.

Every plan passes the independent checker before anybody sees it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from evenkeel.controller.outlook import LiveFleet, LiveOutlook
from evenkeel.domain.errors import EvenkeelError, InvalidRequest
from evenkeel.domain.resources import MEMORY_AXIS
from evenkeel.placement.allocate import Taste
from evenkeel.placement.best import Proposal, propose
from evenkeel.placement.bound import bound
from evenkeel.placement.check import RefusalCode, check
from evenkeel.placement.consolidate import rebalance
from evenkeel.placement.explain_plan import explain
from evenkeel.placement.plan import MovePlan
from evenkeel.placement.problem import Costs, Limits, Problem

TRIES: Final = 5
LOST_H: Final = 1.0 / Taste().opening
"""As placement has it: a host is opened to keep so much of a host's work from being lost."""


class PlanRefused(EvenkeelError):
    """The checker refused what the planner made: a defect, and nothing is shown."""

    code = "plan_refused"
    http_status = 500
    default_hint = "Please report this with the message; no plan was shown, and nothing was done."


@dataclass(frozen=True, slots=True)
class Wanted:
    """`epsilon`: the accepted risk, None as claims have it. `move_h`: hours of one host in use that
    moving a VM of 16 GiB is held to cost, half of it whatever the VM's size. `lost_h`: hours of a
    host in use that an hour's work of a whole host is worth, lost to contention."""

    limits: Limits
    move_h: float = 0.1
    lost_h: float = LOST_H
    epsilon: float | None = None
    alarm: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Told:
    """A plan for the fleet as it was laid out, and what it may be short of the best."""

    fleet: LiveFleet
    plan: MovePlan
    proposal: Proposal
    why: str


class Plans:
    """Thread-safe."""

    def __init__(self, outlook: LiveOutlook) -> None:
        self._outlook = outlook

    def consolidate(self, wanted: Wanted) -> Told:
        """Hosts that could be emptied. Raises InvalidRequest, StoreUnavailable, PlanRefused."""
        return self._told(wanted, propose)

    def rebalance(self, wanted: Wanted) -> Told:
        """Relief for hosts at risk. Raises InvalidRequest, StoreUnavailable, PlanRefused."""

        def relieved(problem: Problem) -> Proposal:
            plan, floor = rebalance(problem, wanted.alarm), bound(problem)
            return Proposal(plan, floor, floor.gap(plan.after.running_per_h), None)

        return self._told(wanted, relieved)

    def _told(self, wanted: Wanted, planner: Callable[[Problem], Proposal]) -> Told:
        fleet, problem = self.laid_out(wanted)
        proposal = settled(problem, planner)
        return Told(fleet, proposal.plan, proposal, explain(problem, proposal.plan))

    def laid_out(self, wanted: Wanted) -> tuple[LiveFleet, Problem]:
        """The fleet, and what planners are asked. Raises InvalidRequest, StoreUnavailable."""
        if not 0 <= wanted.move_h < np.inf:
            raise InvalidRequest("the cost of a move is a number of hours, not below 0")
        if wanted.alarm is not None and not 0 < wanted.alarm < 0.5:
            raise InvalidRequest("an alarm is a probability above 0 and below 0.5")
        fleet = self._outlook.lay_out(wanted.limits.cooldown_s)
        problem, vms = fleet.problem, fleet.problem.fleet.vms
        gib = vms.mean[:, MEMORY_AXIS] / 1024.0
        move = wanted.move_h * (0.5 + 0.5 * gib / 16.0)
        costs = Costs(problem.costs.in_use, move, lost=wanted.lost_h)
        chance = problem.chance
        if wanted.epsilon is not None:
            chance = replace(chance, epsilon=wanted.epsilon)
        return fleet, replace(problem, costs=costs, limits=wanted.limits, chance=chance)


def settled(problem: Problem, planner: Callable[[Problem], Proposal]) -> Proposal:
    """What the planner says and the checker passes. Raises InvalidRequest, PlanRefused.

    Planners see the calendar in slots, the checker every instant: a VM whose lots turn out to fit
    nowhere stays, and the others are planned for anew.
    """
    for _ in range(TRIES):
        proposal = planner(problem)
        refusals = check(problem, proposal.plan)
        if not refusals:
            return proposal
        vms = {
            proposal.plan.moves[r.move].vm
            for r in refusals
            if r.code is RefusalCode.LOTS and r.move is not None
        }
        if not vms or len(refusals) > sum(r.code is RefusalCode.LOTS for r in refusals):
            break
        exempt = problem.fleet.vms.exempt.copy()
        exempt[list(vms)] = True
        stay = replace(problem.fleet.vms, exempt=exempt)
        problem = replace(problem, fleet=replace(problem.fleet, vms=stay))
    raise PlanRefused(f"{refusals[0].code}: {refusals[0].why}")
