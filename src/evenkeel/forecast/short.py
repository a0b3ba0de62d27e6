"""Seconds ahead, on the host itself: light enough for the agent, which imports numpy alone.

Near ones start from the last tick plus the window's empirical differences, later ones lean
on the window's own quantiles. There is nothing to train and nothing to fetch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F32, F64, Ints
from evenkeel.domain.quantiles import N_QUANTILES, row_quantiles, tidy
from evenkeel.forecast.windows import last_known

N_TICKS: Final = 60
HORIZONS: Final = (1, 2, 3, 6, 12)
"""Ticks ahead: 5 to 60 s at the usual tick."""
HALF_LIFE: Final = 6.0
"""Ticks ahead in which the weight of last value plus differences halves."""


def forecast_ticks(values: F32, horizons: Sequence[int] = HORIZONS) -> F32:
    """Quantiles (N, H, Q) of demand `horizons` ticks after the last of `values` (N, T).

    NaN in `values`: not known. A series of which nothing is known stays NaN; one with a single
    number is expected to keep it. Never negative, never crossing.
    """
    n, width = values.shape
    if not n or not width:
        return np.full((n, len(horizons), N_QUANTILES), np.nan, np.float32)
    last = last_known(values)[:, None]
    trailing = row_quantiles(values)
    result = np.empty((n, len(horizons), N_QUANTILES), np.float32)
    for k, ahead in enumerate(horizons):
        if ahead < width:
            near = last + row_quantiles(values[:, ahead:] - values[:, :-ahead])
            near = np.where(np.isnan(near), last, near)
        else:
            near = np.repeat(last, N_QUANTILES, axis=1)
        weight = 0.5 ** (ahead / HALF_LIFE)
        result[:, k] = tidy(weight * near + (1 - weight) * trailing)
    result[np.isnan(last[:, 0])] = np.nan
    return result


class ShortWindow:
    """The latest ticks of a host's VMs; VMs may come, go and change places between two ticks."""

    def __init__(self, n_resources: int, n_ticks: int = N_TICKS) -> None:
        self._n_ticks = n_ticks
        self._ids: tuple[str, ...] = ()
        self._values = np.empty((0, n_resources, n_ticks), np.float32)

    def observe(self, ids: tuple[str, ...], demand: F64) -> None:
        """One tick: `demand` (n_vms, n_resources), NaN where not known."""
        if ids != self._ids:
            place = {vm: k for k, vm in enumerate(self._ids)}
            came_from: Ints = np.array([place.get(vm, -1) for vm in ids], np.intp)
            moved = np.full((len(ids), *self._values.shape[1:]), np.nan, np.float32)
            moved[came_from >= 0] = self._values[came_from[came_from >= 0]]
            self._ids, self._values = ids, moved
        self._values[:, :, :-1] = self._values[:, :, 1:]
        self._values[:, :, -1] = demand

    def forecast(self, horizons: Sequence[int] = HORIZONS) -> F32:
        """Quantiles (n_vms, n_resources, H, Q) in the order of the last tick's VMs."""
        n, n_resources, width = self._values.shape
        flat = forecast_ticks(self._values.reshape(n * n_resources, width), horizons)
        result: F32 = flat.reshape(n, n_resources, len(horizons), N_QUANTILES)
        return result
