"""Seconds ahead, on the host itself: light enough for the agent, which imports numpy alone.

Five simple forecasts of a series are weighed against one another, by how far ahead and at which
quantile level, for each kind of series: one that stands still, one that is new, and moving ones by
how much of their spread is in the differences (calm to restless). Weights are the model;
`forecast/short_fit.py` learns them, and `BUILT_IN` serves where none were learnt.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from evenkeel.domain.arrays import F32, F64, Ints, positions
from evenkeel.domain.errors import ModelCorrupt
from evenkeel.domain.quantiles import MEDIAN, N_QUANTILES, QUANTILES, row_quantiles, tidy
from evenkeel.forecast.windows import last_known

FORMAT: Final = 1
N_TICKS: Final = 60
HORIZONS: Final = (1, 2, 3, 6, 12)
"""Ticks ahead: 5 to 60 s at the usual tick."""
HALF_LIFE: Final = 6.0
"""Of `BUILT_IN`: ticks ahead in which the weight of last value plus differences halves."""

PARTS: Final = ("last-diff", "trailing", "recent", "level", "last-value")
RECENT: Final = 12
"""Ticks in which `recent` takes its quantiles."""
LEVEL_HALF_LIFE: Final = 2.0
"""Ticks in which a tick's weight in `level` halves."""

RESTLESS: Final = np.array([0.25, 0.5, 0.75, 1.0, 1.25, 1.45], np.float32)
"""Spread of the differences over spread of the values; white noise has 1.41, a ramp next to 0."""
STILL: Final = len(RESTLESS) + 1
NEW: Final = STILL + 1
N_KINDS: Final = NEW + 1
NEW_TICKS: Final = 24
"""A series of which less is known is new."""
STILL_SPREAD: Final = 1e-3
"""A series whose spread is no larger than this share of its median stands still."""

_Q05, _Q10, _Q90, _Q95 = (QUANTILES.index(q) for q in (0.05, 0.1, 0.9, 0.95))
_SHAPE: Final = (N_KINDS, len(HORIZONS), len(PARTS), N_QUANTILES)
_WIDEN_SHAPE: Final = (N_KINDS, len(HORIZONS), N_QUANTILES)


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """`mix` (kinds, H, parts, Q) adds up to 1 over parts; `widen` (kinds, H, Q) is in spreads.

    `step_s` is the length of the ticks it was learnt from; 0: any.
    """

    mix: F32
    widen: F32
    step_s: float = 0.0

    def save(self) -> bytes:
        told = {
            "format": FORMAT,
            "horizons": HORIZONS,
            "parts": PARTS,
            "step_s": self.step_s,
            "mix": _told(self.mix),
            "widen": _told(self.widen),
        }
        return json.dumps(told, sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def load(cls, blob: bytes) -> Weights:
        """Raises ModelCorrupt when these are not weights of this very format."""
        try:
            told = json.loads(blob)
            if told["format"] != FORMAT:
                raise ModelCorrupt(f"a short model of format {told['format']!r}, not {FORMAT}")
            if told["horizons"] != list(HORIZONS) or told["parts"] != list(PARTS):
                raise ModelCorrupt("a short model of other horizons or parts")
            mix, widen = _numbers(told["mix"], _SHAPE), _numbers(told["widen"], _WIDEN_SHAPE)
            step_s = float(told["step_s"])
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise ModelCorrupt(f"this is no short model: {error}") from error
        if (np.abs(mix.sum(axis=2) - 1) > 0.01).any() or not 0 <= step_s < np.inf:
            raise ModelCorrupt("this is no short model: its weights do not add up to 1")
        return cls(mix, widen, step_s)


def _told(array: F32) -> list[float]:
    """In as few digits as name the same float32."""
    return [float(str(value)) for value in array.ravel()]


def _numbers(flat: Any, shape: tuple[int, ...]) -> F32:
    """Raises ValueError, TypeError."""
    array: F32 = np.array(flat, np.float32).reshape(shape)
    if not np.isfinite(array).all():
        raise ValueError("it holds numbers that are not finite")
    return array


def _built_in() -> Weights:
    near = 0.5 ** (np.array(HORIZONS, np.float32) / HALF_LIFE)
    mix = np.zeros(_SHAPE, np.float32)
    mix[:, :, PARTS.index("last-diff")] = near[:, None]
    mix[:, :, PARTS.index("trailing")] = 1 - near[:, None]
    return Weights(mix, np.zeros(_WIDEN_SHAPE, np.float32))


BUILT_IN: Final = _built_in()
"""Near ones start from the last tick, later ones lean on the window's own quantiles."""


@dataclass(frozen=True, slots=True, eq=False)
class Described:
    """What forecasts of N series are made from; of a series that is not known all is NaN.

    `last` (N,) newest known value; `parts` (N, H, parts, Q) simple forecasts less `last`; `kind`
    (N, H) which weights apply; `spread` (N,) what `widen` is counted in.
    """

    last: F32
    parts: F32
    kind: Ints
    spread: F32


def describe(values: F32) -> Described:
    """Look at series (N, T), T >= 1, NaN where not known. Cost: seven sorts of T values each."""
    n, width = values.shape
    last = last_known(values)
    gap = values - last[:, None]
    trailing = row_quantiles(gap)
    recent = row_quantiles(gap[:, -RECENT:])
    parts = np.zeros((n, len(HORIZONS), len(PARTS), N_QUANTILES), np.float32)
    parts[:, :, 1] = trailing[:, None]
    parts[:, :, 2] = np.where(np.isnan(recent), 0, recent)[:, None]
    parts[:, :, 3] = _level(gap)[:, None, None]
    width90 = trailing[:, _Q90] - trailing[:, _Q10]
    size = np.abs(last + trailing[:, MEDIAN])
    kind = np.empty((n, len(HORIZONS)), np.intp)
    for k, ahead in enumerate(HORIZONS):
        differences = row_quantiles(values[:, ahead:] - values[:, :-ahead])
        differences = np.where(np.isnan(differences), 0, differences)
        parts[:, k, 0] = differences
        restless = (differences[:, _Q90] - differences[:, _Q10]) / np.maximum(width90, 1e-9)
        kind[:, k] = np.searchsorted(RESTLESS, restless)
    kind[width90 <= STILL_SPREAD * size] = STILL
    kind[width - np.isnan(values).sum(axis=1) < NEW_TICKS] = NEW
    spread = np.maximum(trailing[:, _Q95] - trailing[:, _Q05], 0.02 * size)
    return Described(last, parts, kind, spread)


def _level(gap: F32) -> F32:
    """Exponentially weighted mean of what is known of each row, (N,)."""
    newness = np.arange(gap.shape[1], dtype=np.float32)[::-1]
    weight = np.where(np.isnan(gap), np.float32(0), np.float32(0.5) ** (newness / LEVEL_HALF_LIFE))
    total: F32 = weight.sum(axis=1)
    summed = (np.nan_to_num(gap) * weight).sum(axis=1)
    level: F32 = summed / np.maximum(total, np.float32(1e-30))
    return level


def forecast_ticks(values: F32, weights: Sequence[Weights] = (BUILT_IN,)) -> F32:
    """Quantiles (N, H, Q) of demand `HORIZONS` ticks after the last of `values` (N, T).

    Row k is forecast by `weights[k % len(weights)]`. NaN in `values`: not known. A series of which
    nothing is known stays NaN; one with a single number is expected to keep it. Never negative,
    never crossing.
    """
    n, width = values.shape
    if not n or not width:
        return np.full((n, len(HORIZONS), N_QUANTILES), np.nan, np.float32)
    seen = describe(values)
    whose = (np.arange(n) % len(weights))[:, None]
    horizon = np.arange(len(HORIZONS))
    mix = np.stack([each.mix for each in weights])[whose, seen.kind, horizon]
    widen = np.stack([each.widen for each in weights])[whose, seen.kind, horizon]
    raw = (mix * seen.parts).sum(axis=2) + widen * seen.spread[:, None, None]
    told: F32 = tidy(raw + seen.last[:, None, None])
    told[np.isnan(seen.last)] = np.nan
    return told


class ShortWindow:
    """The latest ticks of a host's VMs; VMs may come, go and change places between two ticks."""

    def __init__(self, n_resources: int, n_ticks: int = N_TICKS) -> None:
        self._n_ticks = n_ticks
        self._ids: tuple[str, ...] = ()
        self._values = np.empty((0, n_resources, n_ticks), np.float32)

    def observe(self, ids: tuple[str, ...], demand: F64) -> None:
        """One tick: `demand` (n_vms, n_resources), NaN where not known."""
        if ids != self._ids:
            came_from = positions(ids, self._ids)
            moved = np.full((len(ids), *self._values.shape[1:]), np.nan, np.float32)
            moved[came_from >= 0] = self._values[came_from[came_from >= 0]]
            self._ids, self._values = ids, moved
        self._values[:, :, :-1] = self._values[:, :, 1:]
        self._values[:, :, -1] = demand

    def forecast(self, weights: Sequence[Weights] = (BUILT_IN,)) -> F32:
        """Quantiles (n_vms, n_resources, H, Q) in the order of the last tick's VMs.

        `weights` are of each resource, or one for all.
        """
        n, n_resources, width = self._values.shape
        flat = forecast_ticks(self._values.reshape(n * n_resources, width), weights)
        result: F32 = flat.reshape(n, n_resources, len(HORIZONS), N_QUANTILES)
        return result
