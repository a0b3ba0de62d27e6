"""Many VMs at once: in which order, and all of them or none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evenkeel.domain.arrays import F64
from evenkeel.domain.placement import Newcomer, Outcome, Placed, Relation, not_twice
from evenkeel.placement.allocate import Allocator
from evenkeel.placement.kernels import MEAN
from evenkeel.placement.slices import Load


def in_order(newcomers: Sequence[Newcomer], capacity: F64) -> list[int]:
    """Positions, the hardest to place first: the largest by the resource it needs most of, of hosts
    that have `capacity` (R,); whoever must be with somebody comes after those who need not."""
    known = np.isfinite(capacity) & (capacity > 0)
    size = np.array(
        [
            float(np.max((load.sums[:, MEAN] + load.take)[known] / capacity[known], initial=0.0))
            for load in map(Load.of, newcomers)
        ]
    )
    follows = np.array(
        [any(rule.relation is Relation.TOGETHER for rule in vm.rules) for vm in newcomers]
    )
    return [int(i) for i in np.lexsort((-size, follows))]


def place_all(
    allocator: Allocator, newcomers: Sequence[Newcomer], *, all_or_nothing: bool = False
) -> list[Outcome]:
    """Decide and put, one after the other; answers are in the order of the question.

    With `all_or_nothing` and any refusal nothing stays put, and those that would have been placed
    are answered as placed: see whether all are. Raises PlacementInvalid, HostNotKnown.
    """
    not_twice(newcomers)
    out: dict[int, Outcome] = {}
    typical = np.median(allocator.slices.layout.capacity, axis=0, keepdims=False)
    for i in in_order(newcomers, np.asarray(typical)):
        vm, load = newcomers[i], Load.of(newcomers[i])
        outcome = out[i] = allocator.decide(vm, load)
        if isinstance(outcome, Placed):
            allocator.put_at(vm, load, outcome.chosen)
        elif all_or_nothing:
            break
    if all_or_nothing and not all(isinstance(outcome, Placed) for outcome in out.values()):
        for i, outcome in out.items():
            if isinstance(outcome, Placed):
                allocator.remove(newcomers[i].vm)
    return [out[i] for i in sorted(out)]
