"""Hosts that are to be emptied are, as far as their VMs find a place: whether it pays or not."""

from __future__ import annotations

import numpy as np

from evenkeel.domain.arrays import Ints
from evenkeel.placement.fleet import NOWHERE
from evenkeel.placement.make_room import make_room
from evenkeel.placement.packing import Packing
from evenkeel.placement.plan import Why
from evenkeel.placement.problem import Problem


def evacuate(packing: Packing) -> dict[int, Why]:
    """Empty `Problem.drain`, the largest VMs first; who stays in part or whole, and why."""
    left: dict[int, Why] = {}
    drain, budget = packing.problem.drain, packing.problem.limits.moves
    if drain is None:
        return left
    for host in np.flatnonzero(drain & (packing.n_vms > 0)).tolist():
        vms = packing.on(host)
        if not packing.movable[vms].all():
            left[host] = Why.BOUND
        vms = vms[packing.movable[vms]]
        vms = vms[np.argsort(-packing.size(vms, np.array([host])), kind="stable")]
        for vm in vms.tolist():
            if len(packing.moves) >= budget:
                left[host] = Why.BUDGET
                break
            if not _send(packing, vm):
                left.setdefault(host, Why.NO_ROOM)
    return left


def n_left(problem: Problem, host: Ints) -> int:
    """VMs that are on hosts to be emptied, with everybody on `host` (V,)."""
    if problem.drain is None:
        return 0
    return int(problem.drain[host[host != NOWHERE]].sum())


def _send(packing: Packing, vm: int) -> bool:
    """To the cheapest host that takes it, the fullest of those alike; to an empty one, or with
    another one giving way, if need be."""
    targets = packing.targets()
    one = np.array([vm])
    for hosts in (targets, packing.fresh()):
        able = packing.takes(vm, hosts) if len(hosts) else np.zeros(0, dtype=bool)
        if able.any():
            price = packing.price(one, hosts)[0] + 1e-6 * (1.0 - packing.fill(hosts))
            packing.move(vm, int(hosts[np.argmin(np.where(able, price, np.inf))]))
            return True
    within = len(packing.moves) + 2 <= packing.problem.limits.moves
    return within and len(targets) > 0 and make_room(packing, vm, targets) is not None
