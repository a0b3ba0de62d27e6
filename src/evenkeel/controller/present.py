"""The fleet as it was last told: hosts that are heard from, who runs there, what is forecast."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from evenkeel.controller.near import Latest
from evenkeel.domain.arrays import F32
from evenkeel.domain.claim import Claim
from evenkeel.domain.quantiles import N_QUANTILES
from evenkeel.domain.resources import AXIS, N_RESOURCES, Resource
from evenkeel.domain.vm import Vm, VmState
from evenkeel.ports_store import Store
from evenkeel.records import HostRecord

PAGE: Final = 1000
AHEAD_S: Final = 3600.0


def reported(store: Store) -> Iterator[HostRecord]:
    """Hosts that ever sent a tick, by id. Raises StoreUnavailable."""
    after = ""
    while True:
        with store.read() as session:
            page = session.inventory.hosts(after, PAGE)
        yield from (record for record in page if record.tick is not None)
        if len(page) < PAGE:
            return
        after = page[-1].host.id


def claims_ahead(store: Store, now_s: float) -> Iterator[Claim]:
    """Claims that have not ended, by id, with their lots that have not. Raises StoreUnavailable."""
    after = ""
    while True:
        with store.read() as session:
            page = session.claims.claims(int(now_s), after=after, limit=PAGE)
        yield from page
        if len(page) < PAGE:
            return
        after = page[-1].id


def running(vms: Sequence[Vm]) -> tuple[Vm, ...]:
    return tuple(vm for vm in vms if vm.state in (VmState.RUNNING, VmState.PAUSED))


def forecast_ahead(
    latest: Mapping[Resource, Latest], vms: Sequence[Vm], ahead_s: float = AHEAD_S
) -> F32:
    """(N, R, Q) demand about `ahead_s` ahead, NaN where it is not forecast."""
    out: F32 = np.full((len(vms), N_RESOURCES, N_QUANTILES), np.nan, np.float32)
    for r, resource in enumerate(AXIS):
        newest = latest.get(resource)
        if newest is None:
            continue
        at = int(np.argmin(np.abs(np.array(newest.fleet.horizons_s) - ahead_s)))
        for i, vm in enumerate(vms):
            row = newest.row_of.get(vm.id, newest.row_of.get(vm.name))
            if row is not None:
                out[i, r] = newest.fleet.values[row, at]
    return out
