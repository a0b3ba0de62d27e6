"""Lots for tests: short to say, and a calendar that counts second by second."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from evenkeel.domain.ids import HostId, TenantId
from evenkeel.domain.resources import AXIS, N_RESOURCES, Resource, axis_of
from evenkeel.domain.shard import Demand, Location, Lot, LotId, PerformanceClass
from evenkeel.placement.fleet import Chance

CHANCE = Chance(0.01, np.full(N_RESOURCES, 0.2))
H1, H2 = HostId("h1"), HostId("h2")


def lot(
    n: int,
    start_s: int,
    end_s: int,
    *,
    lot_id: str = "a",
    host: HostId = H1,
    resource: Resource = Resource.CPU,
    performance: PerformanceClass = PerformanceClass.PINNED,
    demand: tuple[Demand, ...] = (),
) -> Lot:
    return Lot(
        LotId(lot_id),
        Location(host),
        resource,
        n,
        start_s,
        end_s,
        performance,
        TenantId("shop"),
        demand,
    )


def by_second(lots: Iterable[Lot], until_s: int) -> np.ndarray:
    """(until_s, R, 4) what is committed in each second, added up one by one."""
    out = np.zeros((until_s, len(AXIS), 4), dtype=int)
    for each in lots:
        axis = axis_of(each.resource)
        for at in range(each.start_s, each.end_s):
            if each.performance is PerformanceClass.BEST_EFFORT:
                continue
            if each.performance is PerformanceClass.PINNED or not each.demand:
                out[at, axis, 0] += each.n_shards
                continue
            now = [d for d in each.demand[1:] if d.from_s <= at]
            step = now[-1] if now else each.demand[0]
            out[at, axis, 1:] += (step.mean, step.variance, step.deviation)
    return out
