"""Quantiles that keep their odds: adaptive conformal correction.

What a model calls its .9 quantile may be covered by .93 of what comes; then its .87 is the better
.9. So each level is read off the forecast's own distribution at another level, shifted by a learnt
number of logits. After every slot whose truth is known that number moves a little, up when too many
values lay above, down when too few did: quantile tracking (Gibbs & Candes 2021; Angelopoulos et al.
2023) of levels (Kuleshov et al. 2018). Whatever the world does, the long-run coverage of a group
approaches the level at a speed of 1 / (rate x slots).

Shifts are kept apart for each target and for groups by relative spread (calm to wild), and for
those whose spread is below the grain, a shard, say: idle VMs, of which there are many, do not
decide what is said of busy ones.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from evenkeel.domain import bundle
from evenkeel.domain.arrays import F32, F64, Bools, Ints, positions
from evenkeel.domain.errors import ModelCorrupt
from evenkeel.domain.panel import Panel
from evenkeel.forecast.base import LEVELS, N_QUANTILES, QUANTILES, Forecast, Targets, tidy
from evenkeel.forecast.features import truth
from evenkeel.forecast.rows import held_out

EDGES: Final = (0.1, 0.3, 0.6, 1.0, 2.0)
"""Between groups: (q95 - q25) as a share of the median-ish level (q50 + q95) / 2."""
N_GROUPS: Final = 2 * (len(EDGES) + 1)
RATE: Final = 0.05
"""How much of an error of coverage one slot puts right, with as many rows as `FULL_ROWS`."""
FULL_ROWS: Final = 200.0
FIRST_UPPER: Final = 4
"""Below this level (.75) a quantile of zero that zero met says nothing: it cannot be lower."""
_EXACT: Final = np.array(QUANTILES)
_LOGITS: Final = np.log(_EXACT / (1 - _EXACT))
_NONE: Final = np.empty(0, dtype=np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """`shift` (G, K, Q) in logits of the level, for K targets: horizons, then windows.

    `grain`, in the unit of the forecasts: the least difference that anybody cares for.
    """

    shift: F64
    grain: float = 0.0

    @classmethod
    def none(cls, n_targets: int, grain: float = 0.0) -> Calibration:
        return cls(np.zeros((N_GROUPS, n_targets, N_QUANTILES)), grain)

    def apply(self, forecast: Forecast) -> Forecast:
        """The forecast with its quantiles shifted; those of rows without any spread stay."""
        quantiles = _joined(forecast)
        group, _ = _groups(quantiles, self.grain)
        targets = np.arange(quantiles.shape[1])[None, :]
        wanted = _LOGITS + self.shift
        at = np.clip(np.searchsorted(_LOGITS, wanted) - 1, 0, N_QUANTILES - 2)
        share = ((wanted - _LOGITS[at]) / (_LOGITS[at + 1] - _LOGITS[at])).astype(np.float32)
        below = np.take_along_axis(quantiles, at[group, targets], -1)
        above = np.take_along_axis(quantiles, at[group, targets] + 1, -1)
        moved = tidy(below + (above - below) * share[group, targets])
        n_horizons = forecast.values.shape[1]
        return replace(forecast, values=moved[:, :n_horizons], peaks=moved[:, n_horizons:])

    def update(self, raw: Forecast, truth: F32) -> Calibration:
        """Learn from what came to be: `truth` (N, K), NaN where not known (yet).

        `raw` is the forecast before `apply`.
        """
        quantiles = _joined(raw)
        group, spread = _groups(quantiles, self.grain)
        targets = np.broadcast_to(np.arange(quantiles.shape[1]), group.shape)
        calibrated = _joined(self.apply(raw))
        # Rows without spread say nothing: a value that never moves is met exactly.
        counts = ~np.isnan(truth) & (spread > 0)
        came, said = truth[counts][:, None], calibrated[counts]
        where = (group[counts], targets[counts])
        tells = np.ones(said.shape, dtype=bool)
        tells[:, :FIRST_UPPER] = (said[:, :FIRST_UPPER] > 0) | (came > 0)
        total, n_above = np.zeros(self.shift.shape), np.zeros(self.shift.shape)
        np.add.at(total, where, tells)
        np.add.at(n_above, where, tells & (came > said))
        error = n_above / np.maximum(total, 1.0) - (1.0 - LEVELS.astype(np.float64))
        step = RATE * np.minimum(1.0, total / FULL_ROWS) * np.where(total > 0, error, 0.0)
        # Coverage changes by level x (1 - level) with each logit.
        return replace(self, shift=self.shift + step / (_EXACT * (1.0 - _EXACT)))


class Tracker:
    """A calibration that follows a row of forecasts: each is learnt from when its truth is known.

    Every target of every forecast counts once, at the first origin at which it has come to be.
    A forecast of a day ahead waits for a day, so a large fleet keeps one every `spacing_s`, of
    about `max_series` series, always the same ones.
    """

    def __init__(
        self,
        n_targets: int,
        grain: float = 0.0,
        spacing_s: float = 0.0,
        max_series: int | None = None,
    ) -> None:
        self.calibration = Calibration.none(n_targets, grain)
        self._spacing_s = spacing_s
        self._max_series = max_series
        self._kept_s = -np.inf
        self._waiting: list[tuple[Forecast, Bools]] = []

    def follow(self, known: Panel, raw: Forecast) -> Forecast:
        """`raw`, made from `known`, calibrated by all that `known` tells of earlier forecasts."""
        self.learn(known)
        self.keep(raw)
        return self.calibration.apply(raw)

    @property
    def vms(self) -> set[str]:
        """Of whom `learn` wants to know."""
        return {vm for forecast, _ in self._waiting for vm in forecast.ids}

    def learn(self, known: Panel) -> None:
        """From what came to be of earlier forecasts; of those whose VMs `known` lacks, nothing."""
        waiting = []
        for forecast, learnt in self._waiting:
            due = _due(forecast, known.end_s) & ~learnt
            if due.any():
                self.calibration = self.calibration.update(forecast, _came(known, forecast, due))
                learnt = learnt | due
            if not learnt.all():
                waiting.append((forecast, learnt))
        self._waiting = waiting

    def keep(self, raw: Forecast) -> bool:
        """Remember a forecast until it has come true, if it is time for another one; whether."""
        if 0 <= raw.origin_s - self._kept_s < self._spacing_s:
            return False
        n_targets = len(raw.targets.horizons + raw.targets.windows)
        self._waiting.append((self._thinned(raw), np.zeros(n_targets, dtype=bool)))
        self._kept_s = raw.origin_s
        return True

    def save(self) -> bytes:
        """All that it learnt and waits for. What comes true later is learnt from after `load`."""
        forecasts = [forecast for forecast, _ in self._waiting]
        some = forecasts[:1]
        return bundle.pack(
            logits=self.calibration.shift,
            kept_s=np.array(self._kept_s),
            grid=np.array([(f.step_s, len(f.targets.horizons)) for f in some]),
            ahead=np.array([f.targets.horizons + f.targets.windows for f in some]),
            origins_s=np.array([f.origin_s for f in forecasts]),
            learnt=np.array([learnt for _, learnt in self._waiting]),
            ids=bundle.from_text(json.dumps([f.ids for f in forecasts])),
            quantiles=np.concatenate([_NONE, *(_joined(f).ravel() for f in forecasts)]),
        )

    def load(self, blob: bytes, targets: Targets, step_s: float) -> None:
        """Go on where `save` was; unless it was for other targets or slots: that is no use.

        Raises ModelCorrupt; then nothing changed.
        """
        parts = bundle.unpack(blob)
        ahead = targets.horizons + targets.windows
        try:
            ids = [tuple(map(str, each)) for each in json.loads(bundle.text(parts["ids"]))]
            shift, kept_s = parts["logits"].astype(np.float64), float(parts["kept_s"])
            if ids and (
                parts["grid"].tolist() != [[step_s, len(targets.horizons)]]
                or parts["ahead"].tolist() != [list(ahead)]
            ):
                return
            if shift.shape != self.calibration.shift.shape or not np.isfinite(shift).all():
                return
            ends = np.cumsum([0, *(len(each) for each in ids)])
            shape = (int(ends[-1]), len(ahead), N_QUANTILES)
            quantiles = parts["quantiles"].astype(np.float32).reshape(shape)
            learnt = parts["learnt"].astype(bool).reshape(len(ids), len(ahead))
            origins_s = parts["origins_s"].reshape(len(ids))
        except (KeyError, ValueError, TypeError) as error:
            raise ModelCorrupt(f"this is no saved calibration: {error}") from error
        n = len(targets.horizons)
        self._waiting = []
        for k, vms in enumerate(ids):
            said = quantiles[ends[k] : ends[k + 1]]
            forecast = Forecast(vms, float(origins_s[k]), step_s, targets, said[:, :n], said[:, n:])
            self._waiting.append((forecast, learnt[k]))
        self.calibration, self._kept_s = replace(self.calibration, shift=shift), kept_s

    def _thinned(self, raw: Forecast) -> Forecast:
        if self._max_series is None or len(raw.ids) <= self._max_series:
            return raw
        rows = np.flatnonzero(held_out(raw.ids, 0, self._max_series / len(raw.ids)))
        ids = tuple(raw.ids[i] for i in rows)
        return replace(raw, ids=ids, values=raw.values[rows], peaks=raw.peaks[rows])


def _due(forecast: Forecast, now_s: float) -> Bools:
    """Which targets lie before `now_s`, (K,)."""
    ahead = np.array(forecast.targets.horizons + forecast.targets.windows)
    return forecast.origin_s + ahead * forecast.step_s <= now_s


def _came(known: Panel, forecast: Forecast, wanted: Bools) -> F32:
    """Truth (N, K) for the forecast's series; NaN where not wanted, or not known, or gone."""
    origin = round((forecast.origin_s - known.start_s) / known.step_s)
    n_targets = len(wanted)
    came = np.full((len(forecast.ids), n_targets), np.nan, dtype=np.float32)
    if origin < 0 or not known.ids:
        return came
    found = truth(known, origin, forecast.targets)
    if known.ids != forecast.ids:
        at = positions(forecast.ids, known.ids)
        found = np.where((at >= 0)[:, None], found[at], np.float32(np.nan))
    came[:, wanted] = found[:, wanted]
    return came


def _joined(forecast: Forecast) -> F32:
    return np.concatenate([forecast.values, forecast.peaks], axis=1)


def _groups(quantiles: F32, grain: float) -> tuple[Ints, F32]:
    """Group and spread of every row and target."""
    spread = quantiles[..., 7] - quantiles[..., 2]
    level = (quantiles[..., 3] + quantiles[..., 7]) / 2
    relative = spread / np.maximum(level, 1e-12)
    wildness = np.searchsorted(np.array(EDGES), relative)
    return wildness + np.where(spread < grain, 0, N_GROUPS // 2), spread
