"""What a VM's shards will be wanted for, by the newest forecasts: demand for `by_forecast` asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from evenkeel.controller.near import Latest
from evenkeel.domain.arrays import F32
from evenkeel.domain.claim import Ask
from evenkeel.domain.ids import VmId
from evenkeel.domain.quantiles import moments
from evenkeel.domain.resources import SPECS, Resource
from evenkeel.domain.shard import MILLI, Demand

_REACH: Final = 2.3263
"""Deviations above the mean (a normal's 99 % quantile) by which the larger demand is told."""


class Foreseen:
    """Fills in the demand of asks that are to count by forecast. Thread-safe."""

    def __init__(self, latest: Callable[[], Mapping[Resource, Latest]]) -> None:
        self._latest = latest

    def __call__(self, vm: VmId, ask: Ask) -> Ask:
        """The ask with demand; without, and so in full, where nothing is forecast of the VM."""
        if not ask.by_forecast:
            return ask
        found = self._latest().get(ask.resource)
        row = None if found is None else found.row_of.get(vm)
        if found is None or row is None:
            return replace(ask, by_forecast=False)
        fleet = found.fleet
        ends_s = [int(fleet.origin_s + ahead_s) for ahead_s in fleet.horizons_s]
        demand = _steps(ask, int(fleet.origin_s), ends_s, fleet.values[row])
        return replace(ask, demand=demand, by_forecast=False)


def _steps(ask: Ask, origin_s: int, ends_s: list[int], quantiles: F32) -> tuple[Demand, ...]:
    """One a stretch between horizons, the larger of its two ends; beyond the last one, in full."""
    most = ask.n_shards * SPECS[ask.resource].shard
    mean, deviation = moments(np.nan_to_num(quantiles, nan=most), most)
    reach = mean + _REACH * deviation
    steps, from_s = [], origin_s
    for k, end_s in enumerate(ends_s):
        at = k - 1 if k and reach[k - 1] > reach[k] else k
        steps.append(Demand.of(ask.resource, float(mean[at]), float(deviation[at]), from_s))
        from_s = end_s
    return (*steps, Demand(from_s, ask.n_shards * MILLI, 0, 0))
