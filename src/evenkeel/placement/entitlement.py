"""What a VM has to hold where it stands, in shards: the request for its claim."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from evenkeel.domain.arrays import F64
from evenkeel.domain.claim import Ask, ClaimRequest
from evenkeel.domain.ids import HostId
from evenkeel.domain.placement import Newcomer
from evenkeel.domain.rdv import shards_for
from evenkeel.domain.resources import AXIS, CPU_AXIS, MEMORY_AXIS, Resource
from evenkeel.domain.shard import Demand, PerformanceClass

PEAK_DEVIATIONS: Final = 2.0
"""Network and disk shards that a VM is entitled to: its mean and so many deviations."""
Wanted = tuple[Resource, int, PerformanceClass, tuple[Demand, ...]]


@dataclass(frozen=True, slots=True)
class Interval:
    """Whole UTC epoch seconds, [start_s, end_s)."""

    start_s: int
    end_s: int


def request_of(vm: Newcomer, host: HostId, capacity: F64, interval: Interval) -> ClaimRequest:
    """What has to be taken for a VM on its host of which `capacity` (R,) is known: whole shards,
    rounded up. The key says which VM, from when and where: asking again takes nothing twice."""
    wanted = _shards(vm.n_vcpus, vm.memory_mib, vm.mean, vm.deviation, vm.performance)
    asks = tuple(
        Ask(host, resource, n_shards, performance, demand)
        for r, (resource, n_shards, performance, demand) in wanted
        if capacity[r] < math.inf
    )
    key = f"vm/{vm.vm}/{interval.start_s}/{host}"
    return ClaimRequest(
        key, vm.tenant, vm.vm, interval.start_s, interval.end_s, asks, terms=vm.terms
    )


@lru_cache(maxsize=4096)
def _shards(
    n_vcpus: int,
    memory_mib: float,
    mean: tuple[float, ...],
    deviation: tuple[float, ...],
    performance: PerformanceClass,
) -> tuple[tuple[int, Wanted], ...]:
    """By resource that is wanted at all: shards, class and demand. The same for VMs alike."""
    out = []
    peak = [m + PEAK_DEVIATIONS * d for m, d in zip(mean, deviation, strict=True)]
    peak[CPU_AXIS], peak[MEMORY_AXIS] = float(n_vcpus), memory_mib
    for r, resource in enumerate(AXIS):
        if peak[r] <= 0:
            continue
        of = class_of(performance, resource)
        shared = of is PerformanceClass.SHARED
        demand = (Demand.of(resource, mean[r], deviation[r]),) if shared else ()
        n_shards = shards_for(resource, peak[r])
        out.append((r, (resource, n_shards, of, demand)))
    return tuple(out)


def class_of(performance: PerformanceClass, resource: Resource) -> PerformanceClass:
    """Pinned means cores and memory of one's own; memory is promised even to a best-effort VM."""
    if performance is PerformanceClass.PINNED and resource in (Resource.NET, Resource.IOPS):
        return PerformanceClass.SHARED
    if performance is PerformanceClass.BEST_EFFORT and resource is Resource.MEMORY:
        return PerformanceClass.SHARED
    return performance
