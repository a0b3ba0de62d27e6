"""Moves in an order that can be done: detours taken out, and what may go at the same time.

A sequence can be done when each VM fits onto its target while its former host still counts it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from evenkeel.domain.arrays import Ints
from evenkeel.placement.fleet import Move


def direct(moves: Sequence[Move], keep: Collection[int] = ()) -> list[Move]:
    """Without stopovers: A to X, later X to Y becomes A to Y at the later place.

    Not where somebody took the room on A meanwhile, and not for VMs in `keep`. What could be done
    before still can: X had one guest less, and A, where nobody came, had the one it had before.
    """
    kept: list[Move | None] = []
    last_of: dict[int, int] = {}
    entered: dict[int, int] = {}
    for at, move in enumerate(moves):
        before = last_of.get(move.vm)
        if before is not None and move.vm not in keep:
            former = kept[before]
            assert former is not None
            if entered.get(former.source, -1) < before:
                kept[before] = None
                move = Move(move.vm, former.source, move.target)
        last_of[move.vm] = at
        entered[move.target] = at
        kept.append(move)
    return [move for move in kept if move is not None and move.source != move.target]


def waves(
    moves: Sequence[Move], at_once: int, groups: Mapping[int, Sequence[int]] | None = None
) -> Ints:
    """(n,) the earliest wave of each move of a sequence that can be done.

    A move waits for those before it in the list that leave its target, which may make its room, and
    for those of the same VM. Then whoever is on a host in a wave was there or on the way there in
    the sequence too, and has the same room. No host takes part in more than `at_once` a wave. VMs
    of a group (`groups`: by VM) move in the order of the list, one after the other.
    """
    out = np.zeros(len(moves), dtype=np.intp)
    free_from: Counter[int] = Counter()
    vm_from: Counter[int] = Counter()
    group_from: Counter[int] = Counter()
    busy: Counter[tuple[int, int]] = Counter()
    full_to: Counter[int] = Counter()
    """Waves of a host before this one are full: no need to look at them again."""
    for i, move in enumerate(moves):
        ends = (move.source, move.target)
        wave = max(free_from[move.target], vm_from[move.vm], full_to[ends[0]], full_to[ends[1]])
        mates = groups.get(move.vm, ()) if groups else ()
        wave = max([wave, *(group_from[group] for group in mates)])
        while any(busy[end, wave] >= at_once for end in ends):
            wave += 1
        for end in ends:
            busy[end, wave] += 1
            while busy[end, full_to[end]] >= at_once:
                full_to[end] += 1
        free_from[move.source] = max(free_from[move.source], wave + 1)
        vm_from[move.vm] = wave + 1
        for group in mates:
            group_from[group] = wave + 1
        out[i] = wave
    return out
