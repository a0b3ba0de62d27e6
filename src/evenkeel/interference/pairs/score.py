"""Scores that come true: losses as they came where alike ones were said.

A model says of each of its own co-runs what it would have said, had that which will be unseen not
been there. Around every loss that can be said, what came of them is averaged (Nadaraya 1964, Watson
1964), with some co-runs more that came as they were said: who knows little changes little.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64, Ints
from evenkeel.domain.corun import CoRuns
from evenkeel.interference.pairs.base import Facing, Said, loss
from evenkeel.interference.pairs.folds import apart

SAID: Final = np.linspace(0.0, 1.0, 101)
WIDTH: Final = 0.05
"""Losses are alike within half a score bin; measured in docs/designs/0011."""
AS_SAID: Final = 20
"""So many co-runs count as having come as they were said."""


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """`comes` (101,): the mean loss where `SAID` is said; never falling."""

    comes: F64

    @classmethod
    def of(
        cls, co_runs: CoRuns, facing: Facing, say: Callable[[Sequence[Ints]], Said]
    ) -> Calibration:
        """`say` what would have been said to each group of rows, had it been left out."""
        groups = apart(co_runs, facing)
        came = [loss(co_runs.slowdown[group]) for group in groups]
        return cls.learn(say(groups).lost, np.concatenate([np.empty(0), *came]))

    @classmethod
    def learn(cls, said: F64, came: F64) -> Calibration:
        """From losses (N,) said of co-runs that were left out, and those that came. N may be 0."""
        near = np.exp(-0.5 * ((SAID[:, None] - said[None, :]) / WIDTH) ** 2)
        off = near @ (came - said) / (near.sum(axis=1) + AS_SAID)
        return cls(np.maximum.accumulate(np.clip(SAID + off, 0.0, 1.0)))

    def __call__(self, said: Said) -> Said:
        return replace(said, lost=np.interp(said.lost, SAID, self.comes))
