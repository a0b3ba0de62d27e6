"""Whether a challenger beats the champion: rolling origins over the end of a panel.

The score is WQL, the weighted quantile loss: twice the pinball loss, summed over everything that
was forecast and divided by the sum of what came. Lower is better; 0 is perfect.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F32, F64
from evenkeel.domain.panel import Panel
from evenkeel.domain.quantiles import MEDIAN, QUANTILES, pinball
from evenkeel.forecast.base import FittedForecaster, Forecaster, Targets

MARGIN: Final = 0.005
"""A challenger wins when its WQL is lower by at least this share: less is luck."""
MIN_JUDGED: Final = 100
"""Nor does one win on less than so many forecast numbers."""
N_ORIGINS: Final = 12
_COVERED: Final = tuple(QUANTILES.index(q) for q in (0.9, 0.95, 0.99))


@dataclass(frozen=True, slots=True)
class Score:
    """Of one forecaster over all origins, series and horizons that were known afterwards."""

    wql: float
    mae: float
    coverage: dict[float, float]
    n: int

    def as_metrics(self) -> dict[str, float]:
        covered = {f"coverage.{level:g}": share for level, share in self.coverage.items()}
        return {"wql": self.wql, "mae": self.mae, "n": float(self.n)} | covered

    def beats(self, other: Score) -> bool:
        return self.n >= MIN_JUDGED and self.wql < other.wql * (1 - MARGIN)


@dataclass(frozen=True, slots=True, eq=False)
class Contest:
    """`fitted` is the challenger; it learnt from the slots before `learnt_until`."""

    fitted: FittedForecaster
    learnt_until: int
    ours: Score
    theirs: Score
    n_origins: int


def hold(
    challenger: Forecaster, champion: FittedForecaster, panel: Panel, targets: Targets, seed: int
) -> Contest:
    """Fit on the first three quarters, judge both on the rest.

    Raises ValueError when the panel is too short.
    """
    first, origins = split(panel, targets)
    fitted = challenger.fit(stretches(panel.until(first)), targets, seed)
    ours = score(fitted, panel, targets, origins)
    theirs = score(champion, panel, targets, origins)
    return Contest(fitted, first, ours, theirs, len(origins))


def split(panel: Panel, targets: Targets, n_origins: int = N_ORIGINS) -> tuple[int, list[int]]:
    """(slots to learn from, origins to be judged at), so that no truth judged is learnt from.

    The last quarter of the panel is judged, less of it when that is shorter than the horizons.
    Raises ValueError when the panel is too short for a single origin.
    """
    furthest = max(targets.horizons)
    first = max(2, min(int(panel.n_slots * 0.75), panel.n_slots - furthest))
    last = panel.n_slots - furthest
    if last < first or panel.n_slots < 2 * furthest:
        raise ValueError(
            f"{panel.n_slots} slots are too few to validate a forecast of {furthest} slots"
        )
    origins = np.unique(np.linspace(first, last, n_origins).round().astype(int))
    return first, [int(origin) for origin in origins]


def score(fitted: FittedForecaster, panel: Panel, targets: Targets, origins: list[int]) -> Score:
    """Forecast from every origin, knowing only what lies before it, and compare with what came.

    Slots that are not known, and censored ones (only a lower bound is known), are left out.
    """
    single = Targets(targets.horizons)
    losses: list[F64] = []
    truths: list[F64] = []
    errors: list[F64] = []
    inside: list[F64] = []
    for origin in origins:
        values = fitted.predict(panel.until(origin), single).values
        for k, horizon in enumerate(single.horizons):
            at = origin + horizon - 1
            truth: F32 = panel.values[:, at]
            known = ~np.isnan(truth)
            if panel.censored is not None:
                known &= ~panel.censored[:, at]
            y = truth[known].astype(np.float64)
            predicted = values[known, k]
            losses.append(pinball(y, predicted).mean(axis=1))
            truths.append(np.abs(y))
            errors.append(np.abs(y - predicted[:, MEDIAN]))
            inside.append((y[:, None] <= predicted[:, _COVERED]).astype(np.float64))
    loss, truth_sum = np.concatenate(losses), float(np.concatenate(truths).sum())
    if not len(loss):
        raise ValueError("nothing was known in the slots to be judged")
    covered = np.concatenate(inside).mean(axis=0).tolist()
    return Score(
        wql=2 * float(loss.sum()) / max(truth_sum, 1e-12),
        mae=float(np.concatenate(errors).mean()),
        coverage={QUANTILES[k]: share for k, share in zip(_COVERED, covered, strict=True)},
        n=len(loss),
    )


def stretches(panel: Panel, hole: int = 12) -> list[Panel]:
    """The panel cut at holes: `hole` or more slots in which nothing was known of any VM."""
    known = np.flatnonzero(~np.isnan(panel.values).all(axis=0))
    if not len(known):
        return []
    cuts = np.flatnonzero(np.diff(known) > hole)
    firsts = [int(known[0]), *(int(known[k + 1]) for k in cuts)]
    lasts = [*(int(known[k]) for k in cuts), int(known[-1])]
    return [panel.between(a, b + 1) for a, b in zip(firsts, lasts, strict=True)]
