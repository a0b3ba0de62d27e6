"""What is on the scratch paper as a plan to hand out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from evenkeel.placement.fleet import Move
from evenkeel.placement.order import direct, waves
from evenkeel.placement.packing import Packing
from evenkeel.placement.plan import MovePlan, Why, outlook


def planned(packing: Packing, left: Mapping[int, Why]) -> MovePlan:
    """Its moves without detours, in waves, and the outlook before and after."""
    problem, promises = packing.problem, packing.problem.promises
    moves = settled(packing, len(packing.moves))
    wave = waves(moves, problem.limits.at_once, packing.beside.in_order)
    order = np.argsort(wave, kind="stable")
    moves = [moves[i] for i in order.tolist()]
    return MovePlan(
        moves=tuple(moves),
        wave=wave[order],
        host=packing.host,
        before=outlook(problem, problem.fleet.vms.host),
        after=outlook(problem, packing.host),
        move_cost=cost_of(packing, moves),
        left=left,
        lots={
            move.vm: tuple(lot.id for lot in promises.carried.get(move.vm, ()))
            for move in moves
            if promises is not None and move.vm in promises.carried
        },
    )


def settled(packing: Packing, n_moves: int) -> list[Move]:
    """The first so many moves without stopovers. Those whose order counts have them: a stopover may
    be what made way for another, or kept it company."""
    return direct(packing.moves[:n_moves], keep=packing.beside.in_order)


def cost_of(packing: Packing, moves: Sequence[Move]) -> float:
    """Of all moves, once each."""
    return float(packing.problem.costs.move[[move.vm for move in moves]].sum())
