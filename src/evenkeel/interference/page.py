"""Page's test, two-sided, on many series at once, and the spread that its gaps are measured in.

`interference.pair_watch` calls it with the minutes of a host's pairs; see there for the formula.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64, Bools, Ints
from evenkeel.domain.reliability import N_BINS
from evenkeel.domain.resources import N_RESOURCES

CLIP: Final = 5.0
"""One minute counts as this many spreads at most: a single collision alarms nobody."""
THRESHOLD: Final = 18.0
PRIOR_SPREAD: Final = 0.05
PRIOR_MINUTES: Final = 30.0
MOST_MINUTES: Final = 3000.0
"""How much the spread remembers: beyond, the past fades."""


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """Page's sums and what they rest on, (2, P): too much first, too little second.

    `since_s` is when a sum left zero; since then `minutes` minutes, in which `predicted` and
    `measured` add up the loss.
    """

    page: F64
    since_s: F64
    minutes: F64
    predicted: F64
    measured: F64


@dataclass(frozen=True, slots=True, eq=False)
class Spread:
    """Mean square of a minute's gap by resource and bin of prediction, (R, N_BINS)."""

    square: F64 = field(default_factory=lambda: np.full((N_RESOURCES, N_BINS), PRIOR_SPREAD**2))
    minutes: F64 = field(default_factory=lambda: np.full((N_RESOURCES, N_BINS), PRIOR_MINUTES))

    def learn(self, axis: Ints, bins: Ints, gap: F64) -> Spread:
        """Add gaps, each at most three spreads wide: a pair that is wrong stays so."""
        width = 3.0 * np.sqrt(self.square[axis, bins])
        where, shape = axis * N_BINS + bins, self.square.shape
        n = np.bincount(where, minlength=self.square.size).reshape(shape)
        squares = np.minimum(np.abs(gap), width) ** 2
        total = np.bincount(where, squares, minlength=self.square.size).reshape(shape)
        return Spread(
            square=(self.square * self.minutes + total) / (self.minutes + n),
            minutes=np.minimum(self.minutes + n, MOST_MINUTES),
        )


def step(sums: Sums, score: F64, allowance: F64, known: Bools) -> Sums:
    """Page's step with standardised gaps; unknown ones change nothing.

    Sums stop at twice THRESHOLD, so that a long deviation does not take as long to be forgotten.
    """
    clipped = np.clip(score, -CLIP, CLIP)
    moved = sums.page + np.stack([clipped, -clipped]) - allowance
    page = np.clip(moved, 0.0, 2 * THRESHOLD)
    return replace(sums, page=np.where(known, page, sums.page))


def explained(
    sums: Sums, earlier: Sums, predicted: F64, measured: F64, known: Bools, began_s: float
) -> Sums:
    """Carry along what each sum rests on; a sum that is at zero rests on nothing."""
    alive = sums.page > 0
    fresh = alive & (earlier.page <= 0)
    adds = alive & known
    return replace(
        sums,
        since_s=np.where(fresh, began_s, earlier.since_s) * alive,
        minutes=(earlier.minutes + adds) * alive,
        predicted=(earlier.predicted + predicted * adds) * alive,
        measured=(earlier.measured + measured * adds) * alive,
    )


def each(sums: Sums, change: Callable[[F64], F64]) -> Sums:
    return Sums(
        change(sums.page),
        change(sums.since_s),
        change(sums.minutes),
        change(sums.predicted),
        change(sums.measured),
    )
