"""From where VMs are to where somebody wants them: moves that can be done one after the other.

Where all wait for each other, as two full hosts that exchange VMs do, one is parked on a host with
room to spare; if there is none, it stays.
"""

from __future__ import annotations

import numpy as np

from evenkeel.domain.arrays import Bools, Ints
from evenkeel.placement.packing import Packing


def move_towards(packing: Packing, goal: Ints) -> Ints:
    """Move VMs until they are on `goal` (V,); those who stay short of it, as positions."""
    waits = np.flatnonzero((packing.host != goal) & packing.movable & (goal >= 0))
    parked = np.zeros(len(goal), dtype=bool)
    stays: list[int] = []
    while len(waits):
        went = _go(packing, waits, goal)
        waits = waits[packing.host[waits] != goal[waits]]
        if went or not len(waits):
            continue
        if not _park(packing, waits[~parked[waits]], goal, parked):
            # Whoever keeps the most others waiting could be any; the dearest to move stays.
            last = int(waits[np.argmax(packing.problem.costs.move[waits])])
            stays.append(last)
            waits = waits[waits != last]
    return np.array(sorted(stays), dtype=np.intp)


def _go(packing: Packing, waits: Ints, goal: Ints) -> bool:
    """Everybody who fits onto its goal; whether anybody went."""
    went = False
    able = _able(packing, waits, goal[waits])
    for vm in waits[able].tolist():
        one = np.array([vm])
        # Those before it took room.
        if went and not _able(packing, one, goal[one])[0]:
            continue
        if _barred(packing, vm, int(goal[vm])):
            continue
        packing.move(vm, int(goal[vm]))
        went = True
    return went


def _park(packing: Packing, waits: Ints, goal: Ints, parked: Bools) -> bool:
    """One of `waits`, the cheapest to move, on a host that nobody waits for; once each."""
    wanted = np.zeros(len(packing.n_vms), dtype=bool)
    wanted[goal[waits]] = True
    for spare in (packing.targets(), packing.fresh()):
        spare = spare[~wanted[spare]]
        if not len(spare) or not len(waits):
            continue
        for vm in waits[np.argsort(packing.problem.costs.move[waits], kind="stable")].tolist():
            able = packing.takes(vm, spare) & (spare != packing.host[vm])
            if able.any():
                packing.move(vm, int(spare[np.argmax(able)]))
                parked[vm] = True
                return True
    return False


def _able(packing: Packing, vms: Ints, goals: Ints) -> Bools:
    """(n,) whether each fits onto its own goal, which takes VMs."""
    open_to = packing.is_open[goals] & (packing.inflow[goals] < packing.problem.limits.inflow)
    return np.asarray(open_to & packing.fits_each(vms, goals))


def _barred(packing: Packing, vm: int, host: int) -> bool:
    forbidden = packing.forbidden(vm)
    return forbidden is not None and bool(forbidden[host])
