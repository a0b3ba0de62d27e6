"""What slots foresee of the next minute: jumps that only the clock, or the calendar, can tell.

An agent's short models go by the last minutes, the controller's slots by days. Where the slot of
the asked moment differs clearly from the slot that runs now, the difference is added to the agent's
quantiles, level by level; else these stand alone. Going by differences, a VM that is off its slots
by a constant is still foreseen, and a burst that a slot foresaw in vain ends with its slot.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F32
from evenkeel.domain.quantiles import MEDIAN, N_QUANTILES, tidy
from evenkeel.domain.resources import AXIS, N_RESOURCES, SPECS
from evenkeel.domain.sample import NearSlots

CLEAR: Final = 0.5
"""A jump is clear when it exceeds this share of the running slot's own spread ..."""
_HALF_SHARDS: Final = np.array([SPECS[r].shard / 2 for r in AXIS], dtype=np.float32)
"""... and half a shard."""


def foreseen(
    quantiles: F32, near: NearSlots, ids: Sequence[str], now_s: float, horizons_s: Sequence[float]
) -> F32:
    """`quantiles` (N, R, H, Q) of the short models, moved by what the slots foresee."""
    out = quantiles.copy()
    for h, ahead_s in enumerate(horizons_s):
        jump = jumps(near, ids, now_s, ahead_s)
        moved = np.any(jump != 0, axis=-1) & ~np.isnan(quantiles[:, :, h]).any(axis=-1)
        out[moved, h] = tidy(quantiles[moved, h] + jump[moved])
    return out


def jumps(near: NearSlots, ids: Sequence[str], now_s: float, ahead_s: float) -> F32:
    """(N, R, Q): slot of `now_s + ahead_s` less slot of `now_s`; 0 where none is foreseen."""
    out: F32 = np.zeros((len(ids), N_RESOURCES, N_QUANTILES), np.float32)
    now, then = near.slot(now_s), near.slot(now_s + ahead_s)
    if then == now or now < 0:
        return out
    for i, vm in enumerate(ids):
        slots = near.of.get(vm)
        if slots is not None and then < slots.shape[1]:
            out[i] = _clear(slots[:, now], slots[:, then])
    return out


def _clear(running: F32, coming: F32) -> F32:
    """(R, Q) difference, 0 where it is no clear jump, or not known."""
    difference = coming - running
    spread = np.abs(running - running[:, MEDIAN : MEDIAN + 1]).mean(axis=1)
    size = np.abs(difference).mean(axis=1)
    is_clear = (size > CLEAR * spread) & (size > _HALF_SHARDS)  # false where NaN
    return np.where(is_clear[:, None], difference, np.float32(0.0))
