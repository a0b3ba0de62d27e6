"""On or off: what a vCPU that wants part of a core wants from moment to moment.

A vCPU is runnable or it is not. One that wants 40 % of a core is runnable 40 % of the time, in
spells, and meets whoever is runnable then: that is why two that together want less than a core
make each other wait (docs/designs/0002-capacity-physics.md). Spells are multiples of 50 ms, of
random length; over every second each vCPU is on for what it wants, to within one of them, and
over five seconds to within a hundredth of a core.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64

SPELL_S: Final = 0.05
_SECOND: Final = 20
"""Spells in which a vCPU is on for what it wants: a second."""
_CHUNK_S: Final = 30
_GOLDEN: Final = (math.sqrt(5) - 1) / 2


def in_spells(share: F64, time_s: F64, seed: int) -> F64:
    """1 where a vCPU is on, 0 where it is off.

    Parameters
    ----------
    share : (n_times, n_vcpus) of a core that each wants, in [0, 1]; 1 is always on.
    time_s : (n_times,) since the world began.
    seed : whose vCPUs they are; they wake independently of each other and of all others'.
    """
    slot = np.floor(time_s / SPELL_S + 1e-9).astype(np.int64)
    chunk, offset = np.divmod(slot, _CHUNK_S * _SECOND)
    threshold = np.empty_like(share)
    for number in np.unique(chunk).tolist():
        here = chunk == number
        threshold[here] = _thresholds(seed, number, share.shape[1])[offset[here]]
    return (threshold < share).astype(np.float64)


@lru_cache(maxsize=1024)
def _thresholds(seed: int, number: int, n_vcpus: int) -> F64:
    """(slots, n_vcpus) uniform in [0, 1), those of each second one in every twentieth.

    Where in its twentieth one lies goes by golden steps from second to second, which spreads any
    few of them evenly.
    """
    rng = np.random.default_rng([seed, abs(number), number < 0])
    size = (_CHUNK_S, _SECOND, n_vcpus)
    stratum = rng.random(size).argsort(axis=1)
    second = number * _CHUNK_S + np.arange(_CHUNK_S)[:, None, None]
    start = np.random.default_rng(seed).random((_SECOND, n_vcpus))
    within = (np.take_along_axis(start[None], stratum, axis=1) + _GOLDEN * second) % 1.0
    return ((stratum + within) / _SECOND).reshape(-1, n_vcpus)
