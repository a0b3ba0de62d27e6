"""What simulated VMs want, as functions of time.

A workload is a pure function of the fleet's time, so what a VM wants does not depend on how the
clock was moved. Units are those of the resource it is used for (cores, MiB, requests/s, Mbit/s).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Protocol

import numpy as np

from evenkeel.domain.arrays import F64

DAY_S: Final = 86_400.0
_CHUNK: Final = 512


class Workload(Protocol):
    def at(self, time_s: F64) -> F64:
        """Wanted amount at each of the times (seconds since the fleet started), >= 0."""
        ...


@dataclass(frozen=True, slots=True)
class Steady:
    level: float = 0.0

    def at(self, time_s: F64) -> F64:
        return np.full_like(time_s, self.level)


NOTHING: Final = Steady()
"""Wants nothing."""


@dataclass(frozen=True, slots=True)
class Diurnal:
    """A sine around `mean` that peaks `peak_s` into every period; never below zero."""

    mean: float
    amplitude: float
    peak_s: float = DAY_S / 2
    period_s: float = DAY_S

    def at(self, time_s: F64) -> F64:
        phase = 2 * np.pi * (time_s - self.peak_s) / self.period_s
        return np.maximum(0.0, self.mean + self.amplitude * np.cos(phase))


@dataclass(frozen=True, slots=True)
class SquareWave:
    """`high` for the first `duty` of every period, `low` for the rest."""

    low: float
    high: float
    period_s: float
    duty: float = 0.5
    phase_s: float = 0.0

    def at(self, time_s: F64) -> F64:
        position = np.mod(time_s + self.phase_s, self.period_s) / self.period_s
        return np.where(position < self.duty, self.high, self.low)


@dataclass(frozen=True, slots=True)
class Onset:
    """`before` until `at_s`, then `after`, and `before` again from `until_s` on."""

    before: Workload
    after: Workload
    at_s: float
    until_s: float = float("inf")

    def at(self, time_s: F64) -> F64:
        changed = (time_s >= self.at_s) & (time_s < self.until_s)
        return np.where(changed, self.after.at(time_s), self.before.at(time_s))


@dataclass(frozen=True, slots=True)
class Noisy:
    """`base` times lognormal noise of mean 1, drawn anew every `slot_s`.

    `spread` is the standard deviation of the noise's logarithm: 0.1 is a quiet server, 1 chaos.
    """

    base: Workload
    spread: float
    seed: int
    slot_s: float = 1.0

    def at(self, time_s: F64) -> F64:
        slot = np.floor(time_s / self.slot_s).astype(np.int64)
        chunk, offset = np.divmod(slot, _CHUNK)
        normal = np.empty_like(time_s)
        for number in np.unique(chunk).tolist():
            here = chunk == number
            normal[here] = _normal_chunk(self.seed, number)[offset[here]]
        return self.base.at(time_s) * np.exp(self.spread * normal - self.spread**2 / 2)


@lru_cache(maxsize=1024)
def _normal_chunk(seed: int, number: int) -> F64:
    """Standard normal noise of one stretch of slots; stretches are independent."""
    return np.random.default_rng([seed, abs(number), number < 0]).standard_normal(_CHUNK)
