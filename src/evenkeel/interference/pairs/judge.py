"""How good predicted slowdowns are: errors, calibration of the score, and who is told apart."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64, Bools, Ints
from evenkeel.interference.pairs.base import Scale, loss

BIN_WIDTH: Final = 10.0
MIN_IN_BIN: Final = 10
"""A score bin of fewer co-runs is not asked for its gap."""
MATERIAL_LOSS: Final = 0.1
ALARM_LOSS: Final = 0.2
"""A score of 20, where policies alarm unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Bin:
    """Co-runs whose score (100 x predicted loss) lies in [low, high): mean loss, in points.

    `error`: the standard error of `measured - predicted`, None where all of it is of one group.
    """

    low: float
    high: float
    n: int
    predicted: float
    measured: float
    error: float | None

    @property
    def gap(self) -> float:
        return abs(self.predicted - self.measured)


def reliability(lost: F64, came: F64, group: Sequence[Hashable] | None = None) -> list[Bin]:
    """Mean predicted (`lost`) and measured loss of every score bin that has a co-run.

    Co-runs of one `group` (N,), as a workload that was left out, err together; None: each alone.
    """
    predicted, measured = 100 * lost, 100 * loss(came)
    names = range(len(lost)) if group is None else group
    _, of = np.unique(np.array([str(name) for name in names]), return_inverse=True)
    which = np.floor(predicted / BIN_WIDTH).astype(int)
    out = []
    for at in np.unique(which).tolist():
        inside = which == at
        said, found, n = predicted[inside], measured[inside], int(inside.sum())
        low = at * BIN_WIDTH
        error = _error_of_mean(found - said, of[inside])
        out.append(Bin(low, low + BIN_WIDTH, n, float(said.mean()), float(found.mean()), error))
    return out


def _error_of_mean(off: F64, group: Ints) -> float | None:
    """Standard error of the mean of what errs together group by group (the linearised ratio:
    Cochran 1977, ch. 6)."""
    sums = np.bincount(group, off - off.mean())
    n_groups = int((np.bincount(group) > 0).sum())
    if n_groups < 2:
        return None
    return float(np.sqrt((sums**2).sum() * n_groups / (n_groups - 1)) / len(off))


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
