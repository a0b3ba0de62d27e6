"""Learns the weights of the short forecaster (`forecast/short.py`) from series of ticks.

Pinball loss by Adam over random origins: of each kind, horizon and level the weights on a simplex,
and by how much to widen. The latter lands where split conformal on held-out origins would put it
(which was tried: it changed nothing but the rows left to learn from).
`evenkeel train --horizon short` calls this; agents only read what comes out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F32, Ints
from evenkeel.domain.panel import Panel
from evenkeel.domain.quantiles import LEVELS
from evenkeel.forecast.base import Forecast, Targets
from evenkeel.forecast.short import (
    BUILT_IN,
    HORIZONS,
    N_KINDS,
    N_TICKS,
    NEW_TICKS,
    Described,
    Weights,
    describe,
    forecast_ticks,
)

NAME: Final = "short"
BUILT_IN_NAME: Final = "short-built-in"
TARGETS: Final = Targets(HORIZONS)

ROWS: Final = 40_000
"""Windows that are learnt from, at most."""
NEW_SHARE: Final = 0.1
"""Of so many, what came before their last ticks is forgotten, as if the VMs were new."""
STEPS: Final = 1000
BATCH: Final = 512
LEARNING_RATE: Final = 0.05
SCALE_WEIGHT: Final = 0.5
"""A row counts as its spread to this power: neither by VM alone nor by amount alone."""
DECIMALS: Final = 4


@dataclass(frozen=True, slots=True, eq=False)
class FittedShort:
    """Implements `FittedForecaster` for `HORIZONS` ticks and no windows."""

    weights: Weights
    name: str = NAME

    def predict(self, panel: Panel, targets: Targets) -> Forecast:
        """Raises ValueError for a horizon that it does not know."""
        if targets.windows or not set(targets.horizons) <= set(HORIZONS):
            raise ValueError(f"the short forecaster knows slots {HORIZONS} ahead, and no windows")
        told = forecast_ticks(panel.values[:, -N_TICKS:], (self.weights,))
        chosen = [HORIZONS.index(horizon) for horizon in targets.horizons]
        return Forecast.of(panel, targets, told[:, chosen])

    def save(self) -> bytes:
        return self.weights.save()


class ShortForecaster:
    """Implements `Forecaster`; what is asked beforehand does not matter, horizons are fixed."""

    name = NAME

    def fit(self, panels: Sequence[Panel], targets: Targets, seed: int) -> FittedShort:
        """Raises ValueError where no stretch holds a window and a minute of ticks beyond it."""
        rng = np.random.default_rng(seed)
        values, came = _rows(panels, rng)
        mix, widen = _descend(describe(values), came, rng)
        return FittedShort(Weights(_rounded(mix), _rounded(widen), panels[0].step_s))

    def load(self, blob: bytes) -> FittedShort:
        """Raises ModelCorrupt."""
        return FittedShort(Weights.load(blob))


def built_in() -> FittedShort:
    """The rule that serves where nothing was learnt, to be judged against."""
    return FittedShort(BUILT_IN, BUILT_IN_NAME)


def _rows(panels: Sequence[Panel], rng: np.random.Generator) -> tuple[F32, F32]:
    """Windows (R, N_TICKS) and what came `HORIZONS` after them (R, H), in random order.

    Series that know nothing now are left out, and what is censored counts as not known.
    """
    sizes = [(p.n_slots - N_TICKS - HORIZONS[-1] + 1) * p.n_series for p in panels]
    n_all = sum(max(0, size) for size in sizes)
    if not n_all:
        raise ValueError(f"no stretch of {N_TICKS + HORIZONS[-1]} ticks to learn from")
    values, came = [], []
    for panel, size in zip(panels, sizes, strict=True):
        if size <= 0:
            continue
        count = max(1, round(min(n_all, ROWS) * size / n_all))
        series = rng.integers(panel.n_series, size=count)[:, None]
        origin = N_TICKS + rng.integers(size // panel.n_series, size=count)[:, None]
        values.append(panel.values[series, origin + np.arange(-N_TICKS, 0)])
        at = origin + np.array(HORIZONS) - 1
        truth = panel.values[series, at]
        if panel.censored is not None:
            truth = np.where(panel.censored[series, at], np.float32(np.nan), truth)
        came.append(truth)
    x, y = np.concatenate(values), np.concatenate(came)
    useful = ~np.isnan(x[:, -1]) & ~np.isnan(y).all(axis=1)
    order = rng.permutation(np.flatnonzero(useful))
    if not len(order):
        raise ValueError("nothing was known in the stretches to learn from")
    x, y = x[order], y[order]
    young = rng.random(len(x)) < NEW_SHARE
    age = rng.integers(1, NEW_TICKS, size=len(x))
    x[young[:, None] & (np.arange(N_TICKS, 0, -1) > age[:, None])] = np.nan
    return x, y


def _descend(seen: Described, came: F32, rng: np.random.Generator) -> tuple[F32, F32]:
    """Weights (kinds, H, parts, Q) and offsets in spreads (kinds, H, Q) of the least loss."""
    size = np.maximum(seen.spread, 1e-6).astype(np.float32)
    parts, y = seen.parts / size[:, None, None, None], (came - seen.last[:, None]) / size[:, None]
    count = size**SCALE_WEIGHT
    count /= count.mean() * BATCH
    logits = np.log(np.maximum(BUILT_IN.mix, 0.1))
    widen = np.zeros_like(BUILT_IN.widen)
    learners = (_Adam(logits, LEARNING_RATE), _Adam(widen, LEARNING_RATE / 3))
    horizon = np.arange(len(HORIZONS))
    for step in range(STEPS):
        rows = rng.integers(len(y), size=BATCH)
        kind, some = seen.kind[rows], parts[rows]
        mix = _softmax(logits)[kind, horizon]
        middle = (mix * some).sum(axis=2)
        gap = y[rows][..., None] - (middle + widen[kind, horizon])
        slope = np.where(gap > 0, -LEVELS, 1 - LEVELS) * count[rows][:, None, None]
        slope[np.isnan(gap)] = 0
        pull = mix * (some - middle[:, :, None]) * slope[:, :, None]
        rate = 1 - step / STEPS
        for learner, gradient in zip(learners, (pull, slope), strict=True):
            learner.step(_summed(gradient, kind), rate)
    return _softmax(logits), widen


def _softmax(logits: F32) -> F32:
    grown: F32 = np.exp(logits - logits.max(axis=2, keepdims=True))
    share: F32 = grown / grown.sum(axis=2, keepdims=True)
    return share


def _summed(gradient: F32, kind: Ints) -> F32:
    """Over the rows of each kind: (B, H, ...) to (kinds, H, ...)."""
    total = np.zeros((N_KINDS, *gradient.shape[1:]), np.float32)
    for each in np.unique(kind):
        mine = (kind == each).reshape(*kind.shape, *(1,) * (gradient.ndim - 2))
        total[each] = (gradient * mine).sum(axis=0)
    return total


class _Adam:
    """Kingma and Ba 2015; changes `values` in place."""

    def __init__(self, values: F32, rate: float) -> None:
        self._values, self._rate, self._n = values, rate, 0
        self._mean, self._square = np.zeros_like(values), np.zeros_like(values)

    def step(self, gradient: F32, share: float) -> None:
        self._n += 1
        self._mean += 0.1 * (gradient - self._mean)
        self._square += 0.01 * (gradient**2 - self._square)
        mean, square = self._mean / (1 - 0.9**self._n), self._square / (1 - 0.99**self._n)
        self._values -= self._rate * share * mean / (np.sqrt(square) + np.float32(1e-8))


def _rounded(values: F32) -> F32:
    """So that a model takes 15 KB."""
    return np.round(values.astype(np.float64), DECIMALS).astype(np.float32)
