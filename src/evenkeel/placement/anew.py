"""A fleet packed all anew, by first fit decreasing, with the moves that lead there.

Emptying one host after the other keeps most VMs where they are, and so keeps what does not fit well
together; where hosts hold few VMs, that shows. This moves nearly everybody.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from evenkeel.domain.arrays import Ints
from evenkeel.placement.fleet import NOWHERE
from evenkeel.placement.packing import Packing
from evenkeel.placement.plan import MovePlan
from evenkeel.placement.planned import planned
from evenkeel.placement.problem import Problem
from evenkeel.placement.towards import move_towards


def packed_anew(problem: Problem) -> Ints:
    """(V,) the largest first, each onto the first host that takes it, by cost for room; who may
    not move, or fits nowhere, is where it was."""
    vms, full = problem.fleet.vms, Packing(problem)
    hosts = np.argsort(full.efficiency(), kind="stable")
    hosts = hosts[full.is_open[hosts]]
    who = np.flatnonzero(full.movable)
    if not len(hosts):
        return vms.host.copy()
    who = who[np.argsort(-full.size(who, hosts), kind="stable")]
    rest = replace(vms, host=np.where(full.movable, NOWHERE, vms.host))
    packing = Packing(replace(problem, fleet=replace(problem.fleet, vms=rest)))
    for vm in who.tolist():
        able = packing.takes(vm, hosts)
        packing.place(vm, int(hosts[np.argmax(able)]) if able.any() else int(vms.host[vm]))
    return packing.host


def plan_anew(problem: Problem) -> MovePlan | None:
    """The moves that lead there; None: more than the plan may have, or hosts would be at risk or
    be emptied that are to be kept."""
    if problem.keep_on is not None and problem.keep_on.any():
        return None
    goal = packed_anew(problem)
    if int((goal != problem.fleet.vms.host).sum()) > problem.limits.moves:
        return None
    packing = Packing(problem)
    move_towards(packing, goal)
    plan = planned(packing, {})
    if len(plan.moves) > problem.limits.moves or plan.after.n_at_risk > plan.before.n_at_risk:
        return None
    return plan
