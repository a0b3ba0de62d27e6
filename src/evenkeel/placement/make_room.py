"""Local search: one VM goes elsewhere so that another, which fits nowhere, takes its place."""

from __future__ import annotations

from typing import Final

import numpy as np

from evenkeel.domain.arrays import Ints
from evenkeel.placement.packing import Packing

LOOKS: Final = 32
"""How many that could give way are tried against all targets."""


def make_room(packing: Packing, vm: int, targets: Ints) -> tuple[int, int] | None:
    """Two moves: somebody on a target gives way, and `vm` moves in. The two hosts that got a guest;
    None, with nothing changed, if there is no such pair."""
    limits = packing.problem.limits
    source = packing.host[vm]
    others = np.flatnonzero(packing.movable & np.isin(packing.host, targets))
    # Who moved in this plan already stays: two moves of one VM are seldom worth it.
    others = others[~packing.has_moved(others)]
    others = others[packing.inflow[packing.host[others]] < limits.inflow]
    forbidden = packing.forbidden(vm)
    if forbidden is not None:
        others = others[~forbidden[packing.host[others]]]
    if not len(others):
        return None
    others = others[packing.fits_without(vm, others)]
    cheap = others[np.argsort(packing.problem.costs.move[others], kind="stable")[:LOOKS]]
    if not len(cheap):
        return None
    fits = packing.fits(cheap, targets) & (targets != packing.host[cheap][:, None])
    fits &= (packing.inflow[targets] < limits.inflow) & (targets != source)
    for i, other in enumerate(cheap.tolist()):
        able = fits[i]
        forbidden = packing.forbidden(other)
        if forbidden is not None:
            able = able & ~forbidden[targets]
        if able.any():
            into = int(packing.host[other])
            packing.move(other, int(targets[int(np.argmax(able))]))
            forbidden = packing.forbidden(vm)
            if forbidden is not None and forbidden[into]:  # it went with the one it came for
                packing.undo(len(packing.moves) - 1)
                continue
            packing.move(vm, into)
            return into, int(packing.host[other])
    return None
