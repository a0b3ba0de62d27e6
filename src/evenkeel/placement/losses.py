"""Work that all on a host are expected to lose to contention, in hosts: what placement minimises.

Of each resource the expected shortfall in parts of what the host has, added up over resources and
averaged over the slots ahead (see `shortfall.expected_lost`).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy.special import ndtr

from evenkeel.domain.arrays import F64, Ints
from evenkeel.placement.allocate import Taste
from evenkeel.placement.problem import Problem
from evenkeel.placement.shortfall import SQRT_2PI, Totals, expected_lost

TINY: Final = 1e-12
NOTICED: Final = Taste().tolerance


class Losses:
    """Of one problem. Resources of which nobody knows how much there is lose nothing."""

    def __init__(self, problem: Problem) -> None:
        n_wanted = problem.n_wanted()
        capacity = problem.fleet.hosts.capacity[:, :n_wanted]
        is_known = np.isfinite(capacity) & (capacity > 0)
        self._columns = np.flatnonzero(is_known.any(axis=0))
        self._room = problem.room()[:, self._columns]
        # Shares of a host, of one slot: a column that a host lacks weighs nothing there.
        n_slots = problem.n_slots - problem.n_promised
        parts = np.divide(1.0, capacity, out=np.zeros_like(capacity), where=is_known)
        self._part = parts[:, self._columns] / n_slots
        self._correlation = problem.chance.correlation[self._columns]

    def of(self, totals: Totals, hosts: Ints) -> F64:
        """(...) with sums (..., K) on `hosts` (...)."""
        short = expected_lost(totals[..., self._columns], self._room[hosts], self._correlation)
        return np.asarray((short * self._part[hosts]).sum(axis=-1))

    def more(self, each: Totals, there: Totals, hosts: Ints) -> F64:
        """(n, m) about how much more is lost with each of n VMs on each of m hosts.

        By the slope of the loss where a host has one of these VMs on average more: a product of
        matrices, where the loss itself would take ten times as long as all else of a plan.
        """
        each, there = each[:, self._columns], there[:, self._columns]
        usual = Totals(*(x.mean(axis=0) for x in (each.mean, each.variance, each.deviation)))
        total, rho = there + usual, self._correlation
        spread = np.sqrt((1.0 - rho) * total.variance + rho * total.deviation**2)
        spread = np.maximum(spread, TINY)
        z = (total.mean - self._room[hosts]) / spread
        part = self._part[hosts]
        wider = np.exp(-0.5 * z * z) / SQRT_2PI / spread * part
        by_mean = each.mean @ (ndtr(z) * part).T
        by_variance = each.variance @ (0.5 * (1.0 - rho) * wider).T
        return np.asarray(
            by_mean + by_variance + each.deviation @ (rho * total.deviation * wider).T
        )


def noticed(lost: F64) -> F64:
    """In the steps in which placement tells contention from none: nobody is moved for less."""
    return np.asarray(NOTICED * np.floor(lost / NOTICED))
