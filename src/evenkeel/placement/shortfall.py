"""How much a host has to hold so that its VMs together run short with a small chance only.

Three sums say all that is needed of the VMs on a host: of their mean demand, of its variance and of
its standard deviation. With a common correlation rho between any two of them the total has

    mean = sum m_i,    variance = (1 - rho) sum s_i^2 + rho (sum s_i)^2,

and it is taken as gamma: demand is not negative and its upper tail is the longer one. The quantile
is Wilson and Hilferty's (1931, doi:10.1073/pnas.17.12.684). Sums of peaks, the usual way, are what
this says with a correlation of 1; VMs come and go by adding to the sums.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from scipy.special import ndtr, ndtri

from evenkeel.domain.arrays import F64

SQRT_2PI: Final = float(np.sqrt(2.0 * np.pi))


@dataclass(frozen=True, slots=True, eq=False)
class Totals:
    """Sums over VMs of one shape: of `mean`, of `variance`, of `deviation` (standard), in the
    resource's unit (the variance squared). One VM by itself is a sum of one."""

    mean: F64
    variance: F64
    deviation: F64

    @classmethod
    def of(cls, mean: F64, deviation: F64) -> Totals:
        """Of VMs one by one."""
        return cls(mean, deviation**2, deviation)

    def __add__(self, other: Totals) -> Totals:
        return Totals(
            self.mean + other.mean,
            self.variance + other.variance,
            self.deviation + other.deviation,
        )

    def __sub__(self, other: Totals) -> Totals:
        """Without `other`, which is part of it; rounding never leaves less than nothing."""
        return Totals(
            np.maximum(self.mean - other.mean, 0.0),
            np.maximum(self.variance - other.variance, 0.0),
            np.maximum(self.deviation - other.deviation, 0.0),
        )

    def __getitem__(self, at: Any) -> Totals:
        return Totals(self.mean[at], self.variance[at], self.deviation[at])


def needed(totals: Totals, correlation: F64 | float, epsilon: float) -> F64:
    """What has to be there for a chance of at most `epsilon` of running short, in (0, 0.5).

    Never less than the mean, and never less for a larger variance: the formula turns down where
    the deviation is many times the mean, so there its largest value stands.
    """
    z = float(ndtri(1.0 - epsilon))
    return np.asarray(totals.mean * over_mean(_flatness(totals, correlation), z))


def over_mean(flatness: F64, z: float) -> F64:
    """What is needed at a normal's quantile z > 0, in means; flatness: variance / (9 mean^2)."""
    flat = np.minimum(flatness, z * z / 4.0)
    return np.asarray((1.0 - flat + z * np.sqrt(flat)) ** 3)


def shortfall_odds(totals: Totals, capacity: F64 | float, correlation: F64 | float) -> F64:
    """Chance that the total is above `capacity`, by the same distribution."""
    flat = _flatness(totals, correlation)
    wanted = totals.mean > 0
    reach = np.divide(capacity, totals.mean, out=np.ones_like(totals.mean), where=wanted)
    spread = np.sqrt(flat)
    away = np.cbrt(reach) - (1.0 - flat)
    z = np.divide(away, spread, out=np.where(away >= 0, np.inf, -np.inf), where=spread > 0)
    return np.asarray(np.where(wanted, ndtr(-z), 0.0), dtype=np.float64)


def expected_lost(totals: Totals, room: F64, correlation: F64 | float) -> F64:
    """E[(X - room)+] of a normal X with these sums: what all together would not get, in the
    resource's unit; by it placement chooses among hosts too (`kernels.expected_lost`)."""
    variance = (1.0 - correlation) * totals.variance + correlation * totals.deviation**2
    spread = np.sqrt(variance)
    over = totals.mean - room
    # Without a spread it is out of reach, or all of it is short.
    z = np.divide(over, spread, out=np.where(over > 0, np.inf, -np.inf), where=spread > 0)
    density = np.exp(-0.5 * z * z) / SQRT_2PI
    short = np.where(np.isfinite(over), over, 0.0)
    return np.asarray(spread * density + short * ndtr(z))


def _flatness(totals: Totals, correlation: F64 | float) -> F64:
    """1 / (9 k) with k the shape of the gamma distribution: variance / (9 mean^2)."""
    variance = (1.0 - correlation) * totals.variance + correlation * totals.deviation**2
    square = totals.mean**2
    return np.asarray(
        np.divide(variance, 9.0 * square, out=np.zeros_like(square), where=square > 0)
    )
