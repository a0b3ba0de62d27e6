"""Hosts at risk of a shortfall give VMs away until they are not: few moves, and cheap ones."""

from __future__ import annotations

from typing import Final

import numpy as np

from evenkeel.domain.arrays import Bools, Ints
from evenkeel.placement.packing import Packing
from evenkeel.placement.plan import Why

LOOKS: Final = 16
"""VMs that are held against all targets at a time."""


def relieve(packing: Packing, alarm: float) -> dict[int, Why]:
    """Relieve each host whose odds of a shortfall are above `alarm`, the worst first; those that
    stay at risk, and why."""
    left: dict[int, Why] = {}
    in_use = np.flatnonzero(packing.n_vms > 0)
    short = packing.short(in_use, alarm)
    for host in in_use[np.argsort(-short, kind="stable")][: int((short > 0).sum())].tolist():
        why = _relieve(packing, host, alarm)
        if why is not None:
            left[host] = why
    return left


def _relieve(packing: Packing, host: int, alarm: float) -> Why | None:
    budget = packing.problem.limits.moves
    while True:
        short = float(packing.short(np.array([host]), alarm)[0])
        if not short > 0:
            return None
        vms = packing.on(host)
        vms = vms[packing.movable[vms] & ~packing.has_moved(vms)]
        if not len(vms):
            return Why.BOUND
        if len(packing.moves) >= budget:
            return Why.BUDGET
        after = packing.short_without(vms, host, alarm)
        helps = after < short
        if not helps.any():
            return Why.NO_ROOM
        vms, after = vms[helps], after[helps]
        cost = packing.problem.costs.move[vms] + 1e-12
        # Those who settle it alone, cheapest and then smallest first; then by relief for the cost.
        settles = after <= 0
        size = packing.size(vms, np.array([host]))
        order = np.lexsort((size, np.where(settles, cost, -(short - after) / cost), ~settles))
        if not _give(packing, vms[order], settles[order], host):
            return Why.NO_ROOM


def _give(packing: Packing, vms: Ints, settles: Bools, host: int) -> bool:
    """Move one of `vms` away from `host`: an early one, to where it is cheapest; hosts that are
    empty come last."""
    for is_fresh in (False, True):
        targets = packing.fresh() if is_fresh else packing.targets()
        targets = targets[targets != host]
        for first in range(0, len(vms) if len(targets) else 0, LOOKS):
            some = vms[first : first + LOOKS]
            able = packing.fits(some, targets)
            for i, vm in enumerate(some.tolist()):
                forbidden = packing.forbidden(vm)
                if forbidden is not None:
                    able[i] &= ~forbidden[targets]
            rows = able.any(axis=1)
            if not rows.any():
                continue
            # Of those who settle it the cheapest together with its new place; else the first.
            best = int(np.argmax(rows))
            settle = settles[first : first + LOOKS]
            rows &= settle if settle[best] else np.arange(len(some)) == best
            _move_one(packing, some[rows], targets, able[rows], is_fresh)
            return True
    return False


def _move_one(packing: Packing, vms: Ints, targets: Ints, able: Bools, is_fresh: bool) -> None:
    costs, hours = packing.problem.costs, packing.problem.limits.payback_h
    price = packing.price(vms, targets) * hours + costs.move[vms][:, None]
    if is_fresh:
        # They come with the most efficient kind first; what else they would take counts little.
        price = price + 1e-9 * np.arange(len(targets))
        able = able & (np.cumsum(able, axis=1) == 1)
    else:
        price = price + 1e-6 * (1.0 - packing.fill(targets))
    vm, target = np.unravel_index(int(np.argmin(np.where(able, price, np.inf))), able.shape)
    packing.move(int(vms[vm]), int(targets[target]))
