"""Hosts, newcomers, and a desk that takes claims in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np

from evenkeel.domain.claim import Claim, ClaimId, ClaimRequest
from evenkeel.domain.ids import HostId, TenantId, VmId
from evenkeel.domain.placement import Newcomer
from evenkeel.placement.allocate import Allocator, Taste
from evenkeel.placement.fleet import Chance, Hosts
from evenkeel.placement.rules import Neighbours
from evenkeel.placement.slices import Layout, Slices

HOST = (16.0, 65_536.0, 10_000.0, 20_000.0)


def hosts(n: int, capacity: Sequence[float] = HOST, domains: int = 3) -> Hosts:
    return Hosts(
        tuple(HostId(f"h{i}") for i in range(n)),
        np.tile(np.array(capacity), (n, 1)),
        np.ones(n, dtype=bool),
        np.arange(n) % domains,
    )


def allocator(
    n: int,
    capacity: Sequence[float] = HOST,
    taste: Taste | None = None,
    cells: Any = None,
    domains: int = 3,
) -> Allocator:
    these = hosts(n, capacity, domains)
    slices = Slices(Layout.of(these, cells), Chance(0.01, np.full(4, 0.2)))
    return Allocator(slices, Neighbours(these.ids, these.fault_domain), taste)


def vm(name: str = "vm", cores: float = 1.0, **fields: Any) -> Newcomer:
    spread = fields.pop("spread", 0.0)
    memory = fields.pop("memory", 2048.0)
    net, iops = fields.pop("net", 0.0), fields.pop("iops", 0.0)
    mean = (cores, memory, net, iops)
    fields.setdefault("n_vcpus", max(1, int(np.ceil(cores))))
    fields["tenant"] = TenantId(fields.pop("tenant", "shop"))
    return Newcomer(
        vm=VmId(name),
        memory_mib=memory,
        mean=mean,
        deviation=(spread * cores, 0.0, spread * net, spread * iops),
        **fields,
    )


class Desk:
    """Grants what `refuse` does not object to (it answers an exception or None)."""

    def __init__(self, refuse: Callable[[ClaimRequest], Exception | None] = lambda _: None) -> None:
        self.refuse = refuse
        self.held: dict[ClaimId, ClaimRequest] = {}

    def submit(self, request: ClaimRequest) -> Future[Claim]:
        future: Future[Claim] = Future()
        error = self.refuse(request)
        if error is not None:
            future.set_exception(error)
            return future
        self.held[request.claim] = request
        future.set_result(self._claim(request))
        return future

    def release(self, claim: ClaimId) -> Future[Claim]:
        future: Future[Claim] = Future()
        future.set_result(self._claim(self.held.pop(claim)))
        return future

    def _claim(self, r: ClaimRequest) -> Claim:
        return Claim(
            r.claim, r.key, r.owner, r.vm, r.start_s, r.end_s, (), 1, r.digest(), float(r.start_s)
        )
