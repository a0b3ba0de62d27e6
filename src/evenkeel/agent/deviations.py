"""Measured against predicted loss, over one reporting window at a time, for every VM that worked.

A prediction made at one tick is held against the measurement of the next, never of the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from evenkeel.domain.ids import VmId
from evenkeel.domain.resources import AXIS, SPECS, Resource
from evenkeel.domain.sample import HostTick
from evenkeel.domain.score import Deviation
from evenkeel.interference.contention import ContentionMap

REPORT_EVERY_S = 60.0


@dataclass(slots=True)
class _Sums:
    predicted: float = 0.0
    measured: float = 0.0
    n: int = 0


@dataclass(slots=True)
class DeviationLog:
    """Collects until `REPORT_EVERY_S` have passed, then hands out one Deviation per VM."""

    _sums: dict[tuple[VmId, Resource], _Sums] = field(default_factory=dict)
    _collected_s: float = 0.0

    def observe(self, earlier: ContentionMap | None, tick: HostTick) -> tuple[Deviation, ...]:
        """Hold the map scored before this tick against it. Empty between reports."""
        if earlier is not None:
            columns = {vm.id: i for i, vm in enumerate(earlier.vms)}
            for r, resource in enumerate(AXIS):
                shard = SPECS[resource].shard
                for row in np.flatnonzero(tick.demand[:, r] >= shard):
                    vm_id = tick.vms[row].id
                    column, loss = columns.get(vm_id), tick.loss[row, r]
                    if column is None or np.isnan(loss):
                        continue
                    sums = self._sums.setdefault((vm_id, resource), _Sums())
                    material = loss * tick.demand[row, r] >= shard
                    sums.predicted += float(earlier.predicted[r, column])
                    sums.measured += float(loss) if material else 0.0
                    sums.n += 1
        self._collected_s += tick.interval_s
        if self._collected_s < REPORT_EVERY_S:
            return ()
        out = tuple(
            Deviation(
                vm=vm_id,
                resource=resource,
                predicted_loss=round(sums.predicted / sums.n, 4),
                measured_loss=round(sums.measured / sums.n, 4),
                window_s=round(self._collected_s, 3),
            )
            for (vm_id, resource), sums in self._sums.items()
        )
        self._sums.clear()
        self._collected_s = 0.0
        return out
