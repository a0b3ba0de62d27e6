"""The contract of every model of pairs: `PairModel -> FittedPairModel -> Said`.

A model learns from co-runs that were measured; what it learnt answers for any co-run with the same
features, also of workloads it never saw. It never looks at `slowdown` of what it is asked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Final, Protocol

import numpy as np

from evenkeel.domain.arrays import F64, Ints
from evenkeel.domain.bundle import from_text, pack, text, unpack
from evenkeel.domain.corun import CoRuns
from evenkeel.domain.errors import ModelCorrupt

FORMAT: Final = 3
LEAST: Final = 0.5
MOST: Final = 200.0
"""Slowdowns beyond these were never measured anywhere; nothing is predicted there."""

Arrays = dict[str, np.ndarray[Any, Any]]
_ERF: Final = np.vectorize(math.erf, otypes=[np.float64])


class Facing(StrEnum):
    """What the co-runs that will be asked have that training has not: inner folds are cut alike."""

    WORKLOAD = "unseen-workload"
    PAIR = "unseen-pair"
    CAMPAIGN = "unseen-campaign"


class Scale(StrEnum):
    """On what errors are measured, and so what choices are made by."""

    SLOWDOWN = "slowdown"
    LOG = "log"

    def errors(self, said: F64, came: F64) -> F64:
        if self is Scale.LOG:
            return np.asarray(np.abs(np.log(said) - np.log(came)))
        return np.asarray(np.abs(said - came))


@dataclass(frozen=True, slots=True, eq=False)
class Said:
    """`expected` (N,) slowdown, the middle one; `spread` (N,) its standard deviation, NaN where it
    is not known; `lost` (N,) mean share of wanted work not done, which the score is of.
    """

    expected: F64
    spread: F64
    lost: F64

    @classmethod
    def of(cls, expected: F64, spread: F64 | None = None) -> Said:
        """Bounded to what slowdowns can be; never NaN. `lost` is what the two make of it."""
        bounded = np.clip(np.nan_to_num(expected, nan=1.0), LEAST, MOST)
        spread = np.full(len(bounded), np.nan) if spread is None else spread
        return cls(bounded, spread, mean_loss(bounded, spread))

    @classmethod
    def of_log(cls, mean: F64, variance: F64) -> Said:
        """From mean and variance of the log slowdown, (N,) each."""
        expected = np.exp(mean)
        return cls.of(expected, expected * np.sqrt(variance))

    @classmethod
    def joined(cls, parts: Sequence[Said]) -> Said:
        """What was said to each part, in order."""
        return cls(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)))


class FittedPairModel(Protocol):
    """What a model learnt. Immutable: the same co-runs give the same bytes."""

    @property
    def name(self) -> str: ...

    def predict(self, co_runs: CoRuns) -> Said:
        """Raises ValueError when `co_runs` have other features than those learnt from."""
        ...

    def save(self) -> bytes:
        """Everything that `PairModel.load` needs to say the same bytes again."""
        ...


class PairModel(Protocol):
    """A way to learn. `seed` decides every random choice."""

    @property
    def name(self) -> str: ...

    def fit(self, co_runs: CoRuns, seed: int) -> FittedPairModel:
        """Raises ValueError when there is nothing to learn from."""
        ...

    def load(self, blob: bytes) -> FittedPairModel:
        """Raises ModelCorrupt for what this model did not save, or another version of it did."""
        ...


def loss(slowdown: F64) -> F64:
    """(N,) share of wanted work not done: 1 - 1 / slowdown, 0 for one that got faster."""
    return np.asarray(np.maximum(1.0 - 1.0 / slowdown, 0.0))


def mean_loss(expected: F64, spread: F64) -> F64:
    """(N,) mean loss of log-normal slowdowns; without a spread the loss of `expected`.

    A loss is bounded by 1, so its mean is below that of the middle slowdown. With log slowdown
    x ~ N(m, s), the mean of max(1 - exp(-x), 0) is F(m / s) - exp(s s / 2 - m) F(m / s - s),
    F the normal distribution.
    """
    is_known = np.isfinite(spread) & (spread > 0)
    middle = np.log(expected)
    wide = np.clip(np.where(is_known, spread, 0.0) / expected, 1e-6, 3.0)
    some = _below(middle / wide)
    less = np.exp(wide**2 / 2 - middle) * _below(middle / wide - wide)
    return np.where(is_known, np.clip(some - less, 0.0, 1.0), loss(expected))


def identities(who: Sequence[str], names: Sequence[str]) -> Ints:
    """(N,) the place of each of `who` among `names`, -1 for one that is not there."""
    at = {name: i for i, name in enumerate(names)}
    return np.array([at.get(name, -1) for name in who], dtype=np.intp)


def _below(z: F64) -> F64:
    """(N,) share of a standard normal distribution below `z`."""
    return np.asarray(0.5 * (1.0 + _ERF(z / math.sqrt(2.0))), dtype=np.float64)


def learnable(co_runs: CoRuns) -> CoRuns:
    """The rows whose slowdown is known; ValueError when there is none."""
    known = ~np.isnan(co_runs.slowdown)
    if not known.any():
        raise ValueError("no co-run with a known slowdown to learn from")
    return co_runs if known.all() else co_runs.take(known)


def sealed(name: str, arrays: Arrays) -> bytes:
    """`arrays` as bytes that say which model they are of."""
    return pack(**arrays, made_by=from_text(f"{name}/{FORMAT}"))


def opened(name: str, blob: bytes) -> Arrays:
    """What `sealed` got. Raises ModelCorrupt for damage, another model's or another version's."""
    arrays = unpack(blob)
    made_by = text(arrays.pop("made_by")) if "made_by" in arrays else "nobody known"
    if made_by != f"{name}/{FORMAT}":
        raise ModelCorrupt(f"this model was saved by {made_by}, not by {name}/{FORMAT}")
    return arrays
