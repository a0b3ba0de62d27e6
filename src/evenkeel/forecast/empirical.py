"""The forecaster that is always there: what the trailing window of each VM itself has shown.

It serves where no trained model does, and for VMs of ten minutes: those lean on the VMs of their
kind until they have an hour of their own. Near horizons start from the last known value
plus the window's empirical differences; far ones are the window's quantiles. A censored slot
counts with its value, which is a lower bound of what was wanted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F32, F64, Ints
from evenkeel.domain.panel import Panel
from evenkeel.domain.quantiles import LEVELS, N_QUANTILES, row_quantiles
from evenkeel.forecast.base import FittedForecaster, Forecast, Targets, tidy
from evenkeel.forecast.windows import last_known, window_max

NAME: Final = "empirical"
WINDOW_S: Final = 12 * 3600.0
NEAR_HALF_LIFE_S: Final = 1800.0
"""The weight of last value plus differences halves in this time ahead; it is dropped at 1/8."""
N_OWN: Final = 12
"""Known slots from which on a VM stands for itself."""
MIN_BLOCKS: Final = 4
"""Independent stretches a window's peak is judged from; longer peaks are extrapolated."""
_CURVE: Final = np.linspace(0.0, 1.0, 65)
_SPREAD: Final = np.array([0.5, 0.9])
_Q: Final = LEVELS.astype(np.float64)


@dataclass(frozen=True)
class Empirical:
    """See `evenkeel.forecast.base.Forecaster`."""

    name: str = NAME
    window_s: float = WINDOW_S

    def fit(self, panels: Sequence[Panel], targets: Targets, seed: int) -> FittedForecaster:
        """Learns what VMs of each kind want, for those of which nothing is known yet."""
        rows: list[F32] = []
        kinds: list[str] = []
        for panel in panels:
            rows += [np.asarray(row[~np.isnan(row)], np.float32) for row in _relative(panel)]
            kinds += panel.kinds
        return FittedEmpirical(self.window_s, _pools(rows, kinds))

    def load(self, blob: bytes) -> FittedForecaster:
        told = json.loads(blob)
        return FittedEmpirical(
            float(told["window_s"]),
            {kind: np.array(curve, np.float32) for kind, curve in told["pools"].items()},
        )


@dataclass(frozen=True, eq=False)
class FittedEmpirical:
    """`pools` are curves (65,) of a kind's demand, as a share of capacity where that is known."""

    window_s: float = WINDOW_S
    pools: Mapping[str, F32] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return NAME

    def save(self) -> bytes:
        pools = {kind: [float(x) for x in curve] for kind, curve in sorted(self.pools.items())}
        return json.dumps({"window_s": self.window_s, "pools": pools}).encode()

    def predict(self, panel: Panel, targets: Targets) -> Forecast:
        window = max(1, min(panel.n_slots, round(self.window_s / panel.step_s)))
        recent = panel.values[:, max(0, panel.n_slots - window) :]
        if not panel.n_slots:  # one slot of nothing, for those who take the last of it
            recent = np.full((panel.n_series, 1), np.nan, dtype=np.float32)
        n_known = np.sum(~np.isnan(recent), axis=1)
        own = _own(recent, panel.step_s, targets.horizons)
        peaks = _peaks(recent, targets.windows)
        cold = np.flatnonzero(n_known < N_OWN)
        if len(cold):
            self._lean(panel, recent, n_known, cold, own, peaks, targets)
        return Forecast(panel.ids, panel.end_s, panel.step_s, targets, tidy(own), tidy(peaks))

    def _lean(
        self,
        panel: Panel,
        recent: F32,
        n_known: Ints,
        cold: Ints,
        values: F32,
        peaks: F32,
        targets: Targets,
    ) -> None:
        """Mix the quantiles of VMs that know little of themselves with those of their kind."""
        pools = self.pools or _pools(
            [row[~np.isnan(row)] for row in recent / _scale(panel)[:, None]], list(panel.kinds)
        )
        scale = _scale(panel)[cold]
        own_share = (n_known[cold] / N_OWN)[:, None].astype(np.float32)
        for targets_of, quantiles in ((None, values), (targets.windows, peaks)):
            for k in range(quantiles.shape[1]):
                reach = 1 if targets_of is None else min(targets_of[k], N_OWN)
                theirs = _of_kind(pools, [panel.kinds[i] for i in cold], reach) * scale[:, None]
                ours = np.where(n_known[cold, None] > 0, quantiles[cold, k], theirs)
                quantiles[cold, k] = own_share * ours + (1 - own_share) * theirs


def _own(recent: F32, step_s: float, horizons: tuple[int, ...]) -> F32:
    """Quantiles (N, H, Q) of each VM from its own window."""
    width = recent.shape[1]
    trailing = row_quantiles(recent)
    result: F32 = np.repeat(trailing[:, None, :], len(horizons), axis=1)
    last = last_known(recent)
    for k, horizon in enumerate(horizons):
        weight = 0.5 ** (horizon * step_s / NEAR_HALF_LIFE_S)
        if weight < 1 / 8 or horizon >= width:
            continue
        steps = recent[:, horizon:] - recent[:, :-horizon]
        near = last[:, None] + row_quantiles(steps)
        mixed = weight * near + (1 - weight) * trailing
        result[:, k] = np.where(np.isnan(mixed), trailing, mixed)
    return result


def _peaks(recent: F32, windows: tuple[int, ...]) -> F32:
    """Quantiles (N, W, Q) of the largest of `w` slots, from the window's own stretches.

    Where the window holds less than `MIN_BLOCKS` stretches, shorter ones are taken as independent:
    P(max over w <= x) = P(max over m <= x) ** (w / m). Beyond the largest that was seen the tail is
    exponential, as steep as between the median and the .9 quantile: a short history has not shown
    the worst.
    """
    n, width = recent.shape
    result = np.full((n, len(windows), N_QUANTILES), np.nan, np.float32)
    for k, w in enumerate(windows):
        m = min(w, max(1, width // MIN_BLOCKS))
        largest = window_max(recent, m)
        levels = _Q ** (m / w)
        n_blocks = np.sum(~np.isnan(largest), axis=1)[:, None] / m
        beyond = np.log(np.maximum(1.0, 1 / ((n_blocks + 1) * (1 - levels))))
        middle, high = row_quantiles(largest, _SPREAD).T
        scale = ((high - middle) / np.log(5.0))[:, None]
        result[:, k] = row_quantiles(largest, levels) + scale * beyond
    return result


def _scale(panel: Panel) -> F32:
    known = np.isfinite(panel.capacity) & (panel.capacity > 0)
    return np.where(known, panel.capacity, 1.0).astype(np.float32)


def _relative(panel: Panel) -> F32:
    relative: F32 = panel.values / _scale(panel)[:, None]
    return relative


def _pools(rows: Sequence[F32], kinds: Sequence[str]) -> dict[str, F32]:
    """A curve for each kind of which something is known, and one of all under ""."""
    by_kind: dict[str, list[F32]] = {"": []}
    for row, kind in zip(rows, kinds, strict=True):
        if len(row):
            by_kind[""].append(row)
            if kind:
                by_kind.setdefault(kind, []).append(row)
    return {
        kind: np.quantile(np.concatenate(members), _CURVE).astype(np.float32)
        for kind, members in by_kind.items()
        if members
    }


def _of_kind(pools: Mapping[str, F32], kinds: Sequence[str], reach: int) -> F32:
    """Quantiles (n, Q) of the largest of `reach` independent slots of such a VM; 0: unknown."""
    nothing = np.zeros(len(_CURVE), np.float32)
    levels: F64 = _Q ** (1 / reach)
    rows = {
        kind: np.interp(levels, _CURVE, pools.get(kind, pools.get("", nothing)))
        for kind in set(kinds)
    }
    result: F32 = np.array([rows[kind] for kind in kinds], np.float32).reshape(-1, N_QUANTILES)
    return result
