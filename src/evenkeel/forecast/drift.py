"""Is a model still as good as when it was chosen, and is another one better? Pure verdicts.

Drift is of a model over a group of VMs, lately: its loss and coverage against those of its
validation. Promotion is of a challenger over a champion on the same forecasts. In both the VMs are
what is independent, not their slots, so all uncertainty is taken across VMs.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64, Ints
from evenkeel.forecast.base import LEVELS


class DriftKind(StrEnum):
    NONE = "none"
    LOSS = "loss"
    COVERAGE = "coverage"
    TOO_FEW = "too few series"


@dataclass(frozen=True, slots=True)
class DriftPolicy:
    """`loss_tolerance`: how much worse (relative) counts as drift; `coverage_tolerance`: how far
    coverage may be off, in points / 100. `trim`: share of VMs left out at either end. `sigmas`:
    how many standard errors beyond the tolerance. `min_series`: below, no verdict.
    """

    loss_tolerance: float = 0.10
    coverage_tolerance: float = 0.03
    trim: float = 0.10
    sigmas: float = 3.0
    min_series: int = 20


@dataclass(frozen=True, slots=True)
class DriftVerdict:
    """`loss_ratio`: typical recent loss over validation loss of a VM; `coverage_off`: the largest
    error of coverage, recent less validation, at level `coverage_level`. `_low` and `_sure` are
    their bounds towards no drift. NaN where it cannot be said.
    """

    kind: DriftKind
    n_series: int
    loss_ratio: float
    loss_ratio_low: float
    coverage_off: float
    coverage_sure: float
    coverage_level: float

    @property
    def drifted(self) -> bool:
        return self.kind in (DriftKind.LOSS, DriftKind.COVERAGE)


def judge_drift(
    recent_loss: F64,
    validation_loss: F64,
    recent_coverage: F64,
    validation_coverage: F64,
    grain: float = 0.0,
    policy: DriftPolicy | None = None,
) -> DriftVerdict:
    """Has the model drifted over these VMs?

    `recent_loss`, `validation_loss` (N,): mean pinball loss of each VM; `*_coverage` (N, Q): share
    of slots at or below each quantile. NaN where a VM was not seen in both: it is left out.
    `grain`: a loss that does not matter, in the unit of the loss, added to both sides.

    The loss ratio is the trimmed mean of log ratios with Yuen's (1974) standard error, from the
    winsorised variance: a few VMs gone wild move it by less than its noise.
    """
    policy = policy or DriftPolicy()
    seen = np.isfinite(recent_loss) & np.isfinite(validation_loss)
    n = int(seen.sum())
    if n < policy.min_series:
        nan = float("nan")
        return DriftVerdict(DriftKind.TOO_FEW, n, nan, nan, nan, nan, nan)
    tiny = max(grain, 1e-12)
    logs = np.log((recent_loss[seen] + tiny) / (validation_loss[seen] + tiny))
    centre, error = trimmed_mean(logs, policy.trim)
    low = centre - policy.sigmas * error

    off = recent_coverage[seen] - validation_coverage[seen]
    mean = off.mean(axis=0)
    spread = off.std(axis=0, ddof=1) / np.sqrt(n)
    sure = np.sign(mean) * np.maximum(np.abs(mean) - policy.sigmas * spread, 0.0)
    worst = int(np.argmax(np.abs(sure))) if np.any(sure) else int(np.argmax(np.abs(mean)))
    kind = DriftKind.NONE
    if low > np.log1p(policy.loss_tolerance):
        kind = DriftKind.LOSS
    elif abs(sure[worst]) > policy.coverage_tolerance:
        kind = DriftKind.COVERAGE
    return DriftVerdict(
        kind=kind,
        n_series=n,
        loss_ratio=float(np.exp(centre)),
        loss_ratio_low=float(np.exp(low)),
        coverage_off=float(mean[worst]),
        coverage_sure=float(sure[worst]),
        coverage_level=round(float(LEVELS[worst]), 6),
    )


def trimmed_mean(x: F64, trim: float) -> tuple[float, float]:
    """Mean without the `trim` lowest and highest, and its standard error (Yuen 1974)."""
    n = len(x)
    cut = int(trim * n)
    ordered = np.sort(x)
    kept = ordered[cut : n - cut]
    clipped = np.clip(ordered, kept[0], kept[-1])
    error = clipped.std(ddof=1) / ((1 - 2 * cut / n) * np.sqrt(n))
    return float(kept.mean()), float(error)


class PromotionReason(StrEnum):
    WON = "won"
    TOO_FEW = "too few series"
    NOISE = "within noise"
    ONE_SERIES = "won on one series alone"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class PromotionPolicy:
    """`min_gain`: relative gain that must be beyond doubt; `confidence` of the interval."""

    min_gain: float = 0.005
    confidence: float = 0.95
    min_series: int = 20
    n_boot: int = 1000


@dataclass(frozen=True, slots=True)
class PromotionVerdict:
    """`ratio`: challenger's total loss over the champion's, `low` and `high` its interval;
    `win_share`: share of VMs on which the challenger is better (ties count half).
    """

    reason: PromotionReason
    ratio: float
    low: float
    high: float
    win_share: float
    n_series: int

    @property
    def promote(self) -> bool:
        return self.reason is PromotionReason.WON


_MAX_GROUPS: Final = 2000


def decide_promotion(
    champion_losses: F64,
    challenger_losses: F64,
    series: Ints,
    rng: np.random.Generator,
    policy: PromotionPolicy | None = None,
) -> PromotionVerdict:
    """Does the challenger win beyond noise? Paired by forecast, resampled by VM.

    `champion_losses`, `challenger_losses` (M,): losses of both on the same M forecasts, NaN in
    either leaves the pair out; `series` (M,): which VM each is of. It wins when the upper end of
    the bootstrap interval of the ratio of total losses is below 1 - `min_gain`, also without the VM
    on which it gains most. Beyond 2000 VMs, random groups of VMs are resampled instead.
    """
    policy = policy or PromotionPolicy()
    ok = np.isfinite(champion_losses) & np.isfinite(challenger_losses)
    _, index = np.unique(series[ok], return_inverse=True)
    old = _per_group(index, champion_losses[ok])
    new = _per_group(index, challenger_losses[ok])
    n = len(old)
    if n < policy.min_series or not old.sum() > 0:
        nan = float("nan")
        return PromotionVerdict(PromotionReason.TOO_FEW, nan, nan, nan, nan, n)
    wins = float(np.mean((new < old) + 0.5 * (new == old)))
    ratio = float(new.sum() / old.sum())
    low, high = _interval(old, new, rng, policy)
    reason = PromotionReason.WON
    if low > 1.0:
        reason = PromotionReason.LOST
    elif high >= 1.0 - policy.min_gain:
        reason = PromotionReason.NOISE
    else:
        others = np.arange(n) != np.argmax(old - new)
        if _interval(old[others], new[others], rng, policy)[1] >= 1.0 - policy.min_gain:
            reason = PromotionReason.ONE_SERIES
    return PromotionVerdict(reason, ratio, low, high, wins, n)


def _interval(
    old: F64, new: F64, rng: np.random.Generator, policy: PromotionPolicy
) -> tuple[float, float]:
    """Percentile bootstrap of sum(new) / sum(old)."""
    if len(old) > _MAX_GROUPS:
        group = rng.permutation(len(old)) % _MAX_GROUPS
        old, new = _per_group(group, old), _per_group(group, new)
    n = len(old)
    weights = rng.multinomial(n, np.full(n, 1.0 / n), size=policy.n_boot).astype(np.float64)
    below = weights @ old
    ratios = np.where(below > 0, weights @ new / np.maximum(below, 1e-300), 1.0)
    tail = 0.5 * (1.0 - policy.confidence)
    low, high = np.quantile(ratios, [tail, 1.0 - tail])
    return float(low), float(high)


def _per_group(group: Ints, values: F64) -> F64:
    return np.bincount(group, values).astype(np.float64)
