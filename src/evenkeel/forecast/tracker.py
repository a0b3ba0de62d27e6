"""A calibration that follows a row of forecasts, and survives a restart."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Final

import numpy as np

from evenkeel.domain import bundle
from evenkeel.domain.arrays import F32, Bools, positions
from evenkeel.domain.errors import ModelCorrupt
from evenkeel.domain.panel import Panel
from evenkeel.forecast.base import N_QUANTILES, Forecast, Targets
from evenkeel.forecast.calibration import Calibration, joined
from evenkeel.forecast.features import truth
from evenkeel.forecast.rows import held_out

_NONE: Final = np.empty(0, dtype=np.float32)


class Tracker:
    """A calibration that follows a row of forecasts: each is learnt from when its truth is known.

    Every target of every forecast counts once, at the first origin at which it has come to be.
    A forecast of a day ahead waits for a day, so a large fleet keeps one every `spacing_s`, of
    about `max_series` series, always the same ones.
    """

    def __init__(
        self,
        targets: Targets,
        shard: float = 0.0,
        grain: float = 0.0,
        spacing_s: float = 0.0,
        max_series: int | None = None,
    ) -> None:
        self.calibration = Calibration.none(targets, shard, grain)
        self._targets = targets
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
        n_targets = len(self._targets.horizons + self._targets.windows)
        self._waiting.append((self._thinned(raw), np.zeros(n_targets, dtype=bool)))
        self._kept_s = raw.origin_s
        return True

    def save(self) -> bytes:
        """All that it learnt and waits for. What comes true later is learnt from after `load`."""
        forecasts = [forecast for forecast, _ in self._waiting]
        some = forecasts[:1]
        return bundle.pack(
            logits=self.calibration.shift,
            odds_logits=self.calibration.odds_shift,
            kept_s=np.array(self._kept_s),
            grid=np.array([(f.step_s, len(f.targets.horizons)) for f in some]),
            ahead=np.array([f.targets.horizons + f.targets.windows for f in some]),
            origins_s=np.array([f.origin_s for f in forecasts]),
            learnt=np.array([learnt for _, learnt in self._waiting]),
            ids=bundle.from_text(json.dumps([f.ids for f in forecasts])),
            quantiles=np.concatenate([_NONE, *(joined(f).ravel() for f in forecasts)]),
        )

    def load(self, blob: bytes, step_s: float) -> None:
        """Go on where `save` was; unless it was for other targets or slots, or before odds were
        learnt: that is no use.

        Raises ModelCorrupt; then nothing changed.
        """
        parts, targets = bundle.unpack(blob), self._targets
        ahead = targets.horizons + targets.windows
        if "logits" in parts and "odds_logits" not in parts:
            return
        try:
            ids = [tuple(map(str, each)) for each in json.loads(bundle.text(parts["ids"]))]
            shift, odds_shift = (parts[k].astype(np.float64) for k in ("logits", "odds_logits"))
            kept_s = float(parts["kept_s"])
            if ids and (
                parts["grid"].tolist() != [[step_s, len(targets.horizons)]]
                or parts["ahead"].tolist() != [list(ahead)]
            ):
                return
            now = self.calibration
            for found, ours in ((shift, now.shift), (odds_shift, now.odds_shift)):
                if found.shape != ours.shape or not np.isfinite(found).all():
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
        self.calibration = replace(now, shift=shift, odds_shift=odds_shift)
        self._kept_s = kept_s

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
