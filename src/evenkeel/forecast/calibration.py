"""Quantiles that keep their odds: adaptive conformal correction.

What a model calls its .9 quantile may be covered by .93 of what comes; then its .87 is the better
.9. So each level is read off the forecast's own distribution at another level, shifted by a learnt
number of logits. After every slot whose truth is known that number moves a little, up when too many
values lay above, down when too few did: quantile tracking (Gibbs & Candes 2021; Angelopoulos et al.
2023) of levels (Kuleshov et al. 2018). Whatever the world does, the long-run coverage of a group
approaches the level at a speed of 1 / (rate x slots).

Shifts are kept apart for each target and for groups by relative spread (calm to wild), and for
those whose spread is below a shard: idle VMs, of which there are many, do not decide what is said
of busy ones.

Peaks are asked whether they need more than k shards. Coverage counts all rows alike, such a
question only those whose peak may lie on either side of k shards, and between two levels. So the
levels of peaks are shifted once more, all groups together, until the odds of these questions come
true.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F32, F64, Ints
from evenkeel.domain.quantiles import ROUNDING, whole_shards
from evenkeel.forecast.base import (
    LEVELS,
    N_QUANTILES,
    QUANTILES,
    Forecast,
    Targets,
    exceedance,
    tidy,
)

EDGES: Final = (0.1, 0.3, 0.6, 1.0)
"""Between groups: (q95 - q25) as a share of the median-ish level (q50 + q95) / 2; at most 2."""
N_GROUPS: Final = 2 * (len(EDGES) + 1)
RATE: Final = 0.05
"""How much of an error of coverage, or of odds, one slot puts right."""
FULL_ROWS: Final = 200.0
"""With fewer rows a group learns less from a slot."""
FULL_QUESTIONS: Final = 50.0
"""As `FULL_ROWS`, of questions whose odds are about those of a level."""
N_ASKED: Final = 4
"""Questions to each peak, spread evenly between its .05 and .99 quantiles."""
_GOLDEN: Final = (5**0.5 - 1) / 2
FIRST_UPPER: Final = 4
"""Below this level (.75) a quantile of zero that zero met says nothing: it cannot be lower."""
_EXACT: Final = np.array(QUANTILES)
_LOGITS: Final = np.log(_EXACT / (1 - _EXACT))
_PER_LOGIT: Final = _EXACT * (1.0 - _EXACT)
"""By how much coverage changes with each logit."""


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """`shift` (G, K, Q) for K targets, horizons, then windows, and `odds_shift` (W, Q) for the
    windows, in logits of the level.

    `shard`, in the unit of the forecasts; 0: nobody asks about shards. What is observed was
    recorded in steps of `grain`: it stands for all within half a step of it.
    """

    shift: F64
    odds_shift: F64
    shard: float = 0.0
    grain: float = 0.0

    @classmethod
    def none(cls, targets: Targets, shard: float = 0.0, grain: float = 0.0) -> Calibration:
        n_targets, n_windows = len(targets.horizons + targets.windows), len(targets.windows)
        shift = np.zeros((N_GROUPS, n_targets, N_QUANTILES))
        return cls(shift, np.zeros((n_windows, N_QUANTILES)), shard, grain)

    def apply(self, forecast: Forecast) -> Forecast:
        """The forecast with its quantiles shifted; those of rows without any spread stay."""
        n_horizons = forecast.values.shape[1]
        moved = self._covering(joined(forecast))
        peaks = moved[:, n_horizons:]
        if self.odds_shift.any():
            peaks = _moved(peaks, self.odds_shift, (np.arange(peaks.shape[1])[None, :],))
        return replace(forecast, values=moved[:, :n_horizons], peaks=peaks)

    def update(self, raw: Forecast, truth: F32) -> Calibration:
        """Learn from what came to be: `truth` (N, K), NaN where not known (yet).

        `raw` is the forecast before `apply`.
        """
        quantiles, n_horizons = joined(raw), raw.values.shape[1]
        step = self._coverage_step(quantiles, truth)
        learnt = replace(self, shift=self.shift + step)
        if not self.shard:
            return learnt
        odds_step = self._odds_step(self.apply(raw).peaks, truth[:, n_horizons:])
        return replace(learnt, odds_shift=self.odds_shift + odds_step)

    def _covering(self, quantiles: F32) -> F32:
        """Quantiles (N, K, Q) that cover as they say, before the odds of peaks are seen to."""
        group, _ = _groups(quantiles, self.shard)
        return _moved(quantiles, self.shift, (group, np.arange(quantiles.shape[1])[None, :]))

    def _coverage_step(self, quantiles: F32, truth: F32) -> F64:
        """By how much to move `shift`."""
        group, spread = _groups(quantiles, self.shard)
        targets = np.broadcast_to(np.arange(quantiles.shape[1]), group.shape)
        # Rows without spread say nothing: a value that never moves is met exactly.
        counts = ~np.isnan(truth) & (spread > 0)
        came, said = truth[counts][:, None], self._covering(quantiles)[counts]
        where = (group[counts], targets[counts])
        tells = np.ones(said.shape, dtype=bool)
        tells[:, :FIRST_UPPER] = (said[:, :FIRST_UPPER] > 0) | (came > 0)
        total, n_above = np.zeros(self.shift.shape), np.zeros(self.shift.shape)
        np.add.at(total, where, tells)
        np.add.at(n_above, where, tells & (came > said))
        excess = n_above - total * (1.0 - LEVELS.astype(np.float64))
        return _step(excess, total, FULL_ROWS)

    def _odds_step(self, peaks: F32, came: F32) -> F64:
        """By how much to move `odds_shift`: the peaks (N, W, Q) as served, what came (N, W)."""
        # Multiples of the golden ratio fill [0, 1) evenly: among many rows any threshold is asked.
        row = np.arange(len(peaks))[:, None, None]
        asked = (row * _GOLDEN + np.arange(N_ASKED) / N_ASKED) % 1.0
        n_shards = whole_shards(peaks[..., None, :], self.shard, asked)
        more_than = n_shards * self.shard * (1 + ROUNDING) + self.grain / 2
        odds = exceedance(
            np.broadcast_to(peaks[..., None, :], (*n_shards.shape, N_QUANTILES)), more_than
        )
        # The two levels on either side of these odds answer for them, the nearer one more.
        counts = (odds <= 1 - _EXACT[0]) & (odds >= 1 - _EXACT[-1]) & ~np.isnan(came)[..., None]
        window = np.nonzero(counts)[1]
        excess = (came[..., None] > more_than)[counts] - odds[counts]
        logits = np.log((1 - odds[counts]) / odds[counts])
        at = np.interp(logits, _LOGITS, np.arange(N_QUANTILES))
        below = np.minimum(at.astype(np.intp), N_QUANTILES - 2)
        sums = np.zeros((2, *self.odds_shift.shape))
        for level, part in ((below, 1 - (at - below)), (below + 1, at - below)):
            np.add.at(sums[0], (window, level), part * excess)
            np.add.at(sums[1], (window, level), part)
        return _step(sums[0], sums[1], FULL_QUESTIONS)


def joined(forecast: Forecast) -> F32:
    """Quantiles (N, K, Q) of all targets: horizons, then windows."""
    return np.concatenate([forecast.values, forecast.peaks], axis=1)


def _step(excess: F64, total: F64, full: float) -> F64:
    """Logits (..., Q) that put right a part of an error: `excess` came above of `total`."""
    error = excess / np.maximum(total, 1e-9) * np.minimum(1.0, total / full)
    return RATE * error / _PER_LOGIT


def _moved(quantiles: F32, shift: F64, where: tuple[Ints, ...]) -> F32:
    """Each level of `quantiles` (N, K, Q) read off `shift[where]` logits further up."""
    wanted = _LOGITS + shift
    at = np.clip(np.searchsorted(_LOGITS, wanted) - 1, 0, N_QUANTILES - 2)
    share = ((wanted - _LOGITS[at]) / (_LOGITS[at + 1] - _LOGITS[at])).astype(np.float32)
    below = np.take_along_axis(quantiles, at[where], -1)
    above = np.take_along_axis(quantiles, at[where] + 1, -1)
    return tidy(below + (above - below) * share[where])


def _groups(quantiles: F32, shard: float) -> tuple[Ints, F32]:
    """Group and spread of every row and target."""
    spread = quantiles[..., 7] - quantiles[..., 2]
    level = (quantiles[..., 3] + quantiles[..., 7]) / 2
    relative = spread / np.maximum(level, 1e-12)
    wildness = np.searchsorted(np.array(EDGES), relative)
    return wildness + np.where(spread < shard, 0, N_GROUPS // 2), spread
