"""The best consolidation that is affordable, and how far it may be from the best there is."""

from __future__ import annotations

from dataclasses import dataclass

from evenkeel.placement.bound import Bound, bound
from evenkeel.placement.consolidate import consolidate
from evenkeel.placement.evacuate import n_left
from evenkeel.placement.exact import affordable, best_packing
from evenkeel.placement.packing import Packing
from evenkeel.placement.plan import MovePlan, outlook
from evenkeel.placement.planned import planned
from evenkeel.placement.problem import Problem
from evenkeel.placement.towards import move_towards


@dataclass(frozen=True, slots=True, eq=False)
class Proposal:
    """`gap`: by what share the fleet's running costs are above a floor under all packings, after
    the plan; `from_best`: by what share running and moving over the payback time are above the
    best there is, where that is known (0: nothing is better)."""

    plan: MovePlan
    floor: Bound
    gap: float
    from_best: float | None


def propose(problem: Problem) -> Proposal:
    """By local search, and by integer programming beside it where the fleet is small.
    Raises InvalidRequest."""
    plan, floor, from_best = consolidate(problem), bound(problem), None
    hours = problem.limits.payback_h
    goal = best_packing(problem) if affordable(problem) else None
    if goal is not None:
        packing = Packing(problem)
        move_towards(packing, goal)
        other = planned(packing, {})
        if (
            len(other.moves) <= problem.limits.moves
            and other.after.n_at_risk <= plan.after.n_at_risk
            and n_left(problem, other.host) <= n_left(problem, plan.host)
            and other.saved(hours) > plan.saved(hours) + 1e-9
        ):
            plan = other
        moved = problem.costs.move[goal != problem.fleet.vms.host].sum()
        best = outlook(problem, goal).running_per_h * hours + float(moved)
        ours = plan.after.running_per_h * hours + plan.move_cost
        from_best = max(ours / best - 1.0, 0.0) if best > 0 else 0.0
    return Proposal(plan, floor, floor.gap(plan.after.running_per_h), from_best)
