"""What each VM lost because of whom in one tick, beside what had been predicted of the pair."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64, Ints, positions
from evenkeel.domain.ids import VmId
from evenkeel.domain.resources import N_RESOURCES
from evenkeel.domain.sample import HostTick
from evenkeel.interference.contention import ContentionMap
from evenkeel.interference.reliability import material_loss

FLOOR: Final = 0.02
"""Least loss, predicted or measured, that makes a pair worth a look."""
Losses = tuple[F64, F64]
"""(predicted, measured) on one resource, each (n, n + 2): of each victim because of whom."""


def attributed(before: ContentionMap, tick: HostTick, after: ContentionMap) -> Iterator[Losses]:
    """Resource by resource the share of its demand that each victim loses to each; NaN: not known.

    Predicted is the score of the map before the tick; measured is the tick's material loss in the
    proportions of both maps' scores (the new one has seen who woke up, the old one who was there),
    or nobody's where neither names anyone. What a victim costs itself is nobody's concern here.
    """
    n = len(tick.vms)
    vms = tuple(vm.id for vm in tick.vms)
    losses = material_loss(tick)
    for r in range(N_RESOURCES):
        earlier, later = _score_for(vms, before, r), _score_for(vms, after, r)
        loss = losses[r]
        blame = np.nan_to_num(earlier) + np.nan_to_num(later)
        total = blame.sum(axis=1)
        measured = blame * (loss / np.where(total > 0, total, 1.0))[:, None]
        measured[:, n + 1] = np.where(total > 0, 0.0, loss)
        measured[np.isnan(loss)] = np.nan
        measured[:, :n][:, np.isnan(tick.demand[:, r])] = np.nan
        predicted = earlier / 100
        predicted[:, n + 1] = np.where(np.isnan(earlier).any(axis=1), np.nan, 0.0)
        yield predicted, measured


def material(losses: Sequence[Losses]) -> Ints:
    """Codes of the pairs that cost something in this tick, or were predicted to."""
    found = []
    for r, (predicted, measured) in enumerate(losses):
        # Comparisons with NaN are false, which is what is wanted of the unknown.
        costs = (predicted >= FLOOR) | (measured >= FLOOR)
        found.append(np.flatnonzero(costs) + r * predicted.size)
    return np.concatenate(found)


def _score_for(vms: tuple[VmId, ...], contention: ContentionMap, axis: int) -> F64:
    """The map's scores (N, N + 2) for these VMs; NaN for a victim that it did not have.

    An aggressor that it did not have was predicted to cost nothing.
    """
    old = tuple(vm.id for vm in contention.vms)
    if old == vms:
        same: F64 = contention.score[axis]
        return same
    n, m = len(vms), len(old)
    row = positions(vms, old)
    who = np.concatenate([row, [m, m + 1]]).astype(np.intp)
    out = np.full((n, n + 2), np.nan)
    rows, columns = np.flatnonzero(row >= 0), np.flatnonzero(who >= 0)
    out[rows] = 0.0
    if len(rows):
        part = contention.score[axis, row[rows]][:, who[columns]]
        out[rows[:, None], columns[None, :]] = part
    return out
