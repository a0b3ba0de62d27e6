"""Plans of moves: hosts at risk of a shortfall are relieved, hosts that need not run are emptied.

Both work on the same `Packing`, one host after the other, and answer a `MovePlan`; a plan without
moves is an answer. `check.py` looks at every plan and shares none of this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64, Ints
from evenkeel.placement.anew import plan_anew
from evenkeel.placement.evacuate import evacuate, n_left
from evenkeel.placement.fleet import NOWHERE
from evenkeel.placement.losses import noticed
from evenkeel.placement.make_room import make_room
from evenkeel.placement.packing import Packing
from evenkeel.placement.plan import MovePlan, Why
from evenkeel.placement.planned import cost_of, planned, settled
from evenkeel.placement.problem import NO_LIMIT, Problem
from evenkeel.placement.relieve import relieve

ROOM_PRICES: Final = (0.0, 0.5, 0.9)
"""What room is held to be worth when hosts are chosen, of what it costs on the most efficient: at
0 those go first that need the fewest moves, near 1 those that are the least efficient."""
ROOM_PRICE: Final = 0.9
NEARLY_ALL: Final = 1.1
"""Times its room: what a host needs that an empty one can stand in for, with some help."""
LEAST_ADDED: Final = 0.8
"""Of its mean demand, what a VM adds at least to what a host needs: chances even out."""
MOST_TARGETS: Final = 256
"""Hosts that are held against each VM of a host; more than these one by one, when they must be."""
MOST_ROOMS: Final = 16
"""How often somebody may make room while a host is emptied."""
FEW_ROOMS: Final = 2
"""The same with an empty host to go to."""
OPENS_LAST: Final = 1e12
FAVOUR_KEPT: Final = 0.1
"""How much of what a host would save if it were emptied counts against filling it up."""


def rebalance(problem: Problem, alarm: float | None = None) -> MovePlan:
    """Relieve hosts at risk with few and cheap moves.

    `alarm`: the probability of a shortfall from which a host is relieved (default: the accepted
    one); targets are held to the accepted one. Raises InvalidRequest.
    """
    packing = Packing(problem.checked())
    left = evacuate(packing)
    return planned(packing, relieve(packing, _level(problem, alarm)) | left)


def consolidate(
    problem: Problem, tries: int = NO_LIMIT, room_prices: Sequence[float] = ROOM_PRICES
) -> MovePlan:
    """Empty hosts where that pays; give up after so many that could not be.

    One plan for each of `room_prices`, and of those the one that saves most within the payback
    time. Packing all anew is the answer if it is better though its moves cost twice as much: it
    has many for a little. Raises InvalidRequest.
    """
    problem.checked()
    plans = []
    for room_price in room_prices:
        packing = Packing(problem)
        left = drain_all(packing, tries, room_price, evacuate(packing))
        replace_all(packing, left, room_price)
        plans.append(planned(packing, left))
    hours = problem.limits.payback_h
    best = max(plans, key=lambda plan: (-n_left(problem, plan.host), plan.saved(hours)))
    anew = plan_anew(problem) if tries == NO_LIMIT else None
    if (
        anew is None
        or n_left(problem, anew.host) > n_left(problem, best.host)
        or anew.saved(hours) - anew.move_cost <= best.saved(hours) - best.move_cost
    ):
        return best
    return anew


def replan(problem: Problem, alarm: float | None = None, tries: int = NO_LIMIT) -> MovePlan:
    """First the one, then the other. Raises InvalidRequest."""
    packing = Packing(problem.checked())
    stay = evacuate(packing)
    at_risk = relieve(packing, _level(problem, alarm))
    return planned(packing, drain_all(packing, tries, left=stay) | at_risk)


def drain_all(
    packing: Packing,
    tries: int = NO_LIMIT,
    room_price: float = ROOM_PRICE,
    left: Mapping[int, Why] | None = None,
) -> dict[int, Why]:
    """Empty one host after the other, the cheapest for what it saves first; who stays, and why.
    Hosts that are `left` already are not tried."""
    left = dict(left or {})
    failed, emptied = 0, True
    while emptied:
        emptied = False
        for source in _in_turn(packing, left, room_price):
            why = _drain(packing, source, room_price)
            if why is None:
                # What is left is worth another look: there is less of it, and its order changed.
                emptied = True
                break
            left[source] = why
            failed += 1
            if failed >= tries:
                return left
    return left


def replace_all(packing: Packing, left: dict[int, Why], room_price: float) -> None:
    """Empty hosts with the help of an empty one that costs less, where that pays; those that are
    left no longer are taken out of `left`."""
    tried = [host for host, why in left.items() if why is not Why.BOUND]
    if not tried:
        return
    costs, could_save = packing.problem.costs.in_use, _most_saved(packing)
    for source in sorted(tried, key=lambda host: (-costs[host], host)):
        need = packing.need(np.array([source]))[0]
        for fresh in packing.fresh().tolist():
            # The others are as full as they could be made: it has to hold nearly all.
            able = (need <= NEARLY_ALL * packing.room[fresh]).all()
            pays = costs[fresh] < could_save[source]
            if able and pays and _drain(packing, source, room_price, fresh) is None:
                del left[source]
                break


def worth_emptying(packing: Packing, room_price: float) -> F64:
    """(H,) what is saved an hour if a host is emptied, less `room_price` times what as much room
    costs on the most efficient hosts: little for those who give much room for what they cost."""
    costs = packing.problem.costs
    value = costs.in_use.copy()
    if costs.per_load is not None:
        value += (costs.per_load * packing.totals.mean).sum(axis=1)
    efficiency = packing.efficiency()
    cheapest = efficiency.min(initial=np.inf)
    if np.isfinite(cheapest):
        value -= room_price * cheapest * packing.holds()
    # However good, it is not worth nothing: a host off is a host off.
    return np.asarray(np.maximum(value, 0.01 * costs.in_use + 1e-12))


def _in_turn(packing: Packing, left: dict[int, Why], room_price: float) -> list[int]:
    """The hosts to try; those that cannot be emptied, or never pay, are noted in `left`."""
    problem, n_hosts = packing.problem, len(packing.n_vms)
    waits = packing.n_vms > 0
    waits[list(left)] = False
    if not waits.any():
        return []
    here = packing.host != NOWHERE
    at = packing.host[here]
    bound = np.bincount(at[~packing.movable[here]], minlength=n_hosts) > 0
    if problem.keep_on is not None:
        bound |= problem.keep_on
    unpaid = np.where(packing.has_moved(np.flatnonzero(here)), 0.0, problem.costs.move[here])
    price = np.bincount(at, weights=unpaid, minlength=n_hosts)
    never = price >= problem.limits.payback_h * _most_saved(packing)
    for hosts, why in ((bound, Why.BOUND), (never, Why.DOES_NOT_PAY)):
        left.update(dict.fromkeys(np.flatnonzero(waits & hosts).tolist(), why))
        waits &= ~hosts
    candidates = np.flatnonzero(waits)
    value = worth_emptying(packing, room_price)[candidates]
    in_turn: list[int] = candidates[np.lexsort((-value, price[candidates] / value))].tolist()
    return in_turn


def _most_saved(packing: Packing) -> F64:
    """(H,) an hour by emptying a host, if its VMs cost as little as they can elsewhere."""
    costs, totals = packing.problem.costs, packing.totals.mean
    saved = costs.in_use.copy()
    if costs.per_load is not None:
        in_use = packing.n_vms > 0
        saved += ((costs.per_load - costs.per_load[in_use].min(axis=0)) * totals).sum(axis=1)
    if costs.lost:
        saved += costs.lost * noticed(packing.lost())
    return np.asarray(saved)


def _drain(
    packing: Packing, source: int, room_price: float, fresh: int | None = None
) -> Why | None:
    """Empty `source`, if need be onto the empty host `fresh` too; or leave all as it was, and say
    why."""
    problem, mark = packing.problem, len(packing.moves)
    vms = packing.on(source)
    targets = packing.targets()
    targets = targets[targets != source]
    if fresh is not None:
        targets = np.append(targets, fresh)
    if not len(targets) or not _slack(packing, source, targets):
        return Why.NO_ROOM
    before = packing.running()
    most_rooms = MOST_ROOMS if fresh is None else FEW_ROOMS
    if not _spread(packing, vms, targets, room_price, most_rooms):
        packing.undo(mark)
        return Why.NO_ROOM
    saved = (before - packing.running()) * problem.limits.payback_h
    why = _refused(packing, mark, saved)
    if why is not None:
        packing.undo(mark)
    return why


def _refused(packing: Packing, mark: int, saved: float) -> Why | None:
    """Whether the moves since there were `mark` cost more than is `saved`, or are too many."""
    if saved <= 0:
        return Why.DOES_NOT_PAY
    moves = settled(packing, len(packing.moves))
    if saved <= cost_of(packing, moves) - cost_of(packing, settled(packing, mark)):
        return Why.DOES_NOT_PAY
    return Why.BUDGET if len(moves) > packing.problem.limits.moves else None


def _slack(packing: Packing, source: int, targets: Ints) -> bool:
    """Whether it is worth looking: all targets together lack no room for what `source` wants."""
    free = np.maximum(packing.room[targets] - packing.need(targets), 0.0).sum(axis=0)
    return bool((LEAST_ADDED * packing.totals.mean[source] <= free).all())


def _spread(packing: Packing, vms: Ints, targets: Ints, room_price: float, most_rooms: int) -> bool:
    """Move all `vms` to `targets`, the largest first. False: somebody fits nowhere, and some were
    moved already."""
    size = packing.size(vms, targets)
    order = np.argsort(-size, kind="stable")
    vms, share = vms[order], size[order]
    targets, others = _likely(packing, targets, float(share[-1]), room_price)
    kept = worth_emptying(packing, room_price)[targets]
    score = packing.price(vms, targets) + FAVOUR_KEPT * share[:, None] * kept
    score += OPENS_LAST * (packing.n_vms[targets] == 0)
    allowed = packing.fits(vms, targets)
    weighs = packing.problem.costs.lost > 0
    contention = packing.contention(vms, targets) if weighs else score
    for i, vm in enumerate(vms.tolist()):
        able = allowed[i] & (packing.inflow[targets] < packing.problem.limits.inflow)
        forbidden = packing.forbidden(vm)
        if forbidden is not None:
            able &= ~forbidden[targets]
        if able.any():
            at = int(np.argmin(np.where(able, score[i], np.inf)))
            packing.move(vm, int(targets[at]))
            changed = np.array([at])
        elif (other := _elsewhere(packing, vm, others)) is not None:
            packing.move(vm, other)
            continue
        else:
            most_rooms -= 1
            hosts = make_room(packing, vm, targets) if most_rooms >= 0 else None
            if hosts is None:
                return False
            changed = np.flatnonzero(np.isin(targets, hosts))
        rest = vms[i + 1 :]
        allowed[i + 1 :, changed] = packing.fits(rest, targets[changed])
        if weighs:  # whoever came makes it dearer for the others
            now = packing.contention(rest, targets[changed])
            score[i + 1 :, changed] += now - contention[i + 1 :, changed]
            contention[i + 1 :, changed] = now
    return True


def _likely(
    packing: Packing, targets: Ints, smallest: float, room_price: float
) -> tuple[Ints, Ints]:
    """So many of `targets` as are held against every VM: with room for the smallest, and kept
    for sure; and the others."""
    if len(targets) <= MOST_TARGETS:
        return targets, targets[:0]
    full = 1.0 - packing.fill(targets) < smallest
    order = np.lexsort((worth_emptying(packing, room_price)[targets], full))
    return np.sort(targets[order[:MOST_TARGETS]]), targets[order[MOST_TARGETS:]]


def _elsewhere(packing: Packing, vm: int, hosts: Ints) -> int | None:
    """The first of `hosts` that takes it."""
    if not len(hosts):
        return None
    able = packing.takes(vm, hosts) & (packing.inflow[hosts] < packing.problem.limits.inflow)
    return int(hosts[np.argmax(able)]) if able.any() else None


def _level(problem: Problem, alarm: float | None) -> float:
    return problem.chance.epsilon if alarm is None else alarm
