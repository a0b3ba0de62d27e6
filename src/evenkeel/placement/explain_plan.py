"""A plan in a few sentences: what it brings, and what it does to those who stay together."""

from __future__ import annotations

from typing import Final

from evenkeel.placement.plan import MovePlan
from evenkeel.placement.problem import Problem

NO_DIFFERENCE: Final = 1e-5
"""Of a host's work."""


def explain(problem: Problem, plan: MovePlan) -> str:
    """Costs in the unit of `Costs`; where every host in use costs 1, that is hosts."""
    before, after, hours = plan.before, plan.after, problem.limits.payback_h
    if not plan.moves:
        return f"Nothing is worth moving. {_contention(plan)}"
    n_moves = len(plan.moves)
    said = ["1 move" if n_moves == 1 else f"{n_moves} moves"]
    if after.n_in_use != before.n_in_use:
        said.append(f"hosts in use {before.n_in_use} -> {after.n_in_use}")
    if after.n_at_risk != before.n_at_risk:
        said.append(f"at risk {before.n_at_risk} -> {after.n_at_risk}")
    worse = (after.lost - before.lost) * problem.costs.lost * hours
    running = (before.running_per_h - after.running_per_h) * hours
    pays = f"In {hours:g} h it saves {running:.4g} host hours, and its moves cost "
    pays += f"{plan.move_cost:.3g}"
    if worse > 0:
        pays += f"; the work that is lost more counts as {worse:.3g}"
        pays += "" if plan.saved(hours) > 0 else ", which does not pay: it is for hosts at risk"
    return f"{', '.join(said)}. {pays}. {_contention(plan)}"


def _contention(plan: MovePlan) -> str:
    before, after = plan.before.lost, plan.after.lost
    now = f"{100 * before:.2f} % of a host's work is expected to be lost to contention"
    if not plan.moves:
        return f"{now}."
    if abs(after - before) < NO_DIFFERENCE:
        return f"{now}, before and after."
    way = "more" if after > before else "less"
    return f"{now} before, and {100 * after:.2f} % after: {way}."
