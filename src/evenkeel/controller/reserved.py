"""What claims hold now, as placement counts it; and the contention model for its finalists."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence

from evenkeel.controller.layout import Reserved
from evenkeel.controller.present import Present
from evenkeel.controller.whatif import Asked, WhatIf
from evenkeel.domain.claim import Claim
from evenkeel.domain.ids import HostId, VmId
from evenkeel.domain.placement import Newcomer
from evenkeel.domain.resources import AXIS, CPU_AXIS, MEMORY_AXIS, N_RESOURCES, SPECS, axis_of
from evenkeel.domain.shard import MILLI, Lot, LotState, PerformanceClass


class ReservedNow:
    """Every claim with lots that hold now, a newcomer for each host it is on."""

    def __init__(self, present: Present) -> None:
        self._present = present

    def __call__(self) -> Iterator[Reserved]:
        """Raises StoreUnavailable."""
        now_s = self._present.clock.wall_s()
        for claim in self._present.claims():
            yield from of_claim(claim, now_s)


def of_claim(claim: Claim, now_s: float) -> list[Reserved]:
    """By host; a claim's VM is one where it has one, and shards of nobody yet are one as well."""
    by_host: dict[HostId, list[Lot]] = defaultdict(list)
    for lot in claim.lots:
        if lot.state(now_s) is LotState.ACTIVE:
            by_host[lot.location.host].append(lot)
    out = []
    for host, lots in by_host.items():
        mine = claim.vm and len(by_host) == 1
        name = claim.vm if mine else VmId(f"claim/{claim.id}/{host}")
        out.append(Reserved(_newcomer(name, claim, lots, now_s), host))
    return out


def _newcomer(name: VmId, claim: Claim, lots: Sequence[Lot], now_s: float) -> Newcomer:
    amount, mean, deviation = ([0.0] * N_RESOURCES for _ in range(3))
    performance = PerformanceClass.SHARED
    for lot in lots:
        r, shard = axis_of(lot.resource), SPECS[lot.resource].shard
        amount[r] += lot.amount
        steps = [step for step in lot.demand if step.from_s <= now_s] or lot.demand[:1]
        if steps:
            mean[r] += steps[-1].mean * shard / MILLI
            deviation[r] += steps[-1].deviation * shard / MILLI
        else:
            mean[r] += lot.amount
        if r == CPU_AXIS:
            performance = lot.performance
    n_vcpus = max(1, math.ceil(amount[CPU_AXIS]))
    return Newcomer(
        vm=name,
        n_vcpus=n_vcpus,
        memory_mib=amount[MEMORY_AXIS],
        mean=tuple(mean),
        deviation=tuple(deviation),
        tenant=claim.owner,
        performance=performance,
    )


class ByModel:
    """Asks the contention model (see `placing.Exact`)."""

    def __init__(self, whatif: WhatIf) -> None:
        self._whatif = whatif

    def worst(self, vm: Newcomer, hosts: Sequence[HostId]) -> list[float]:
        """Hosts that the model does not know come last."""
        asked = Asked(
            n_vcpus=vm.n_vcpus,
            memory_mib=vm.memory_mib,
            tenant=vm.tenant,
            wants=dict(zip(AXIS, vm.mean, strict=True)),
            deviation=dict(zip(AXIS, vm.deviation, strict=True)),
        )
        fits = {fit.host: fit.worst for fit in self._whatif.ask(asked)}
        return [fits.get(host, math.inf) for host in hosts]
