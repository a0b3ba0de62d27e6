"""Champion against challenger: rolling origins over the end of a panel.

The score is WQL, the weighted quantile loss: twice the pinball loss, summed over everything that
was forecast and divided by the sum of what came. Lower is better; 0 is perfect. Who wins is decided
by `drift.decide_promotion`, which asks the VMs one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64, Ints
from evenkeel.domain.model import Validation
from evenkeel.domain.panel import Panel
from evenkeel.forecast.base import FittedForecaster, Forecaster, Targets
from evenkeel.forecast.drift import PromotionVerdict, decide_promotion
from evenkeel.forecast.metrics import Judged, Observed, summary
from evenkeel.forecast.validation import came_true, validate

N_ORIGINS: Final = 12
REFIT_SLACK: Final = 1.1
"""A refitted model may lose at most so much more than the judged one on what both were shown."""
_COVERED: Final = (0.9, 0.95, 0.99)


@dataclass(frozen=True, slots=True, eq=False)
class Score:
    """Of one forecaster over all origins, series and horizons that were known afterwards.

    `losses` (M,) are of single forecasts, `series` (M,) says of which row of the panel.
    """

    wql: float
    mae: float
    coverage: dict[float, float]
    losses: F64
    series: Ints

    def as_metrics(self) -> dict[str, float]:
        covered = {f"coverage.{level:g}": share for level, share in self.coverage.items()}
        return {"wql": self.wql, "mae": self.mae, "n": float(len(self.losses))} | covered


@dataclass(frozen=True, slots=True, eq=False)
class Contest:
    """`fitted` is what should be kept: the judged challenger, or its refit on all data if it won.

    It learnt from the slots before `learnt_until`. `validation` is the judged one's.
    """

    fitted: FittedForecaster
    learnt_until: int
    ours: Score
    theirs: Score
    verdict: PromotionVerdict
    validation: Validation
    n_origins: int


def hold(
    challenger: Forecaster,
    champion: FittedForecaster,
    panel: Panel,
    targets: Targets,
    seed: int,
    n_origins: int = N_ORIGINS,
) -> Contest:
    """Fit on the first three quarters, judge both on the rest; a winner then learns that too.

    Raises ValueError when the panel is too short.
    """
    first, origins = split(panel, targets, n_origins)
    fitted = challenger.fit(stretches(panel.until(first)), targets, seed)
    ours = score(fitted, panel, targets, origins)
    theirs = score(champion, panel, targets, origins)
    verdict = decide_promotion(theirs.losses, ours.losses, ours.series, np.random.default_rng(seed))
    validation = validate(fitted, panel, targets, first)
    if verdict.promote:
        refitted = challenger.fit(stretches(panel), targets, seed)
        if score(refitted, panel, targets, origins).wql <= REFIT_SLACK * ours.wql:
            fitted, first = refitted, panel.n_slots
    return Contest(fitted, first, ours, theirs, verdict, validation, len(origins))


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


def score(
    fitted: FittedForecaster, panel: Panel, targets: Targets, origins: Sequence[int]
) -> Score:
    """Forecast from every origin, knowing only what lies before it, and compare with what came.

    Slots that are not known, and censored ones (only a lower bound is known), are left out.
    """
    single = Targets(targets.horizons)
    said = np.concatenate([fitted.predict(panel.until(o), single).values for o in origins])
    came = np.concatenate([came_true(panel, o, single.horizons) for o in origins])
    series = np.tile(np.arange(panel.n_series), len(origins)).repeat(came.shape[1])
    known = ~np.isnan(came)
    if not known.any():
        raise ValueError("nothing was known in the slots to be judged")
    y = came[known][:, None]
    judged = Judged.of(Observed(y, np.empty((len(y), 0), np.float32)), said[known][:, None])
    found = summary(judged, ("all",))
    losses = judged.loss[:, 0].mean(axis=-1, dtype=np.float64)
    return Score(
        # Where nothing was wanted there is no ratio.
        wql=found.get("wql.all", 2 * float(losses.sum()) / 1e-12),
        mae=found["mae.all"],
        coverage={level: found[f"coverage.{level:g}"] for level in _COVERED},
        losses=losses,
        series=series[known.ravel()],
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
