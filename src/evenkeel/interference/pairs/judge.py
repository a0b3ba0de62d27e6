"""How good predicted slowdowns are: errors, calibration of the score, and who is told apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64, Bools
from evenkeel.interference.pairs.base import Scale, loss

BIN_WIDTH: Final = 10.0
MIN_IN_BIN: Final = 10
"""A score bin of fewer co-runs is not asked for its gap."""
MATERIAL_LOSS: Final = 0.1
ALARM_LOSS: Final = 0.2
"""A score of 20, where policies alarm unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Bin:
    """Co-runs whose score (100 x predicted loss) lies in [low, high): mean loss, in points."""

    low: float
    high: float
    n: int
    predicted: float
    measured: float

    @property
    def gap(self) -> float:
        return abs(self.predicted - self.measured)


def reliability(lost: F64, came: F64) -> list[Bin]:
    """Mean predicted (`lost`) and measured loss of every score bin that has a co-run."""
    predicted, measured = 100 * lost, 100 * loss(came)
    which = np.floor(predicted / BIN_WIDTH).astype(int)
    out = []
    for at in sorted(set(which.tolist())):
        inside = which == at
        mean_said, mean_came = float(predicted[inside].mean()), float(measured[inside].mean())
        low = at * BIN_WIDTH
        out.append(Bin(low, low + BIN_WIDTH, int(inside.sum()), mean_said, mean_came))
    return out


def auc(score: F64, is_bad: Bools) -> float | None:
    """Chance that a bad one has the higher score (ties count half); None without both kinds."""
    n_bad = int(is_bad.sum())
    n_good = len(is_bad) - n_bad
    if not n_bad or not n_good:
        return None
    above = (score[is_bad][:, None] > score[~is_bad][None, :]).sum()
    ties = (score[is_bad][:, None] == score[~is_bad][None, :]).sum()
    return float(above + 0.5 * ties) / (n_bad * n_good)


def metrics(said: F64, lost: F64, came: F64) -> dict[str, float]:
    """Mean absolute errors of `said` slowdowns and rank of material losses; of the scores, which
    are the mean losses `lost`: share of co-runs without a material one that would alarm, bias and
    calibration in points."""
    out = {
        "mae": float(Scale.SLOWDOWN.errors(said, came).mean()),
        "mae.log": float(Scale.LOG.errors(said, came).mean()),
        "mae.loss": 100 * float(np.abs(loss(said) - loss(came)).mean()),
        "bias.loss": 100 * float((lost - loss(came)).mean()),
    }
    rank = auc(said, loss(came) > MATERIAL_LOSS)
    if rank is not None:
        out["auc.loss10"] = rank
    is_quiet = loss(came) <= MATERIAL_LOSS
    if is_quiet.any():
        out["false_alarms"] = float((lost[is_quiet] >= ALARM_LOSS).mean())
    bins = [b for b in reliability(lost, came) if b.n >= MIN_IN_BIN]
    if bins:
        out["calibration.worst"] = max(b.gap for b in bins)
        out["calibration.mean"] = sum(b.gap * b.n for b in bins) / sum(b.n for b in bins)
    return out
