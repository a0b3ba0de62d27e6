"""The allocator of the live fleet: laid out anew now and then, kept up to date in between.

From each host's newest tick and the latest forecasts; VMs that were placed and have not shown up
yet keep their places. `PlacementService` asks for it with its lock held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from evenkeel.controller.near import Latest
from evenkeel.controller.present import forecast_ahead, reported, running
from evenkeel.domain.arrays import F64
from evenkeel.domain.host import Host
from evenkeel.domain.ids import HostId, VmId
from evenkeel.domain.placement import Newcomer
from evenkeel.domain.quantiles import QUANTILES
from evenkeel.domain.resources import CPU_AXIS, MEMORY_AXIS, N_RESOURCES, Resource
from evenkeel.domain.vm import Vm
from evenkeel.placement.allocate import Allocator, Taste
from evenkeel.placement.fleet import Chance, Hosts
from evenkeel.placement.rules import Neighbours
from evenkeel.placement.slices import ALL_SLICES, Layout, Load, Slices
from evenkeel.ports import Clock
from evenkeel.ports_store import Store
from evenkeel.records import HostRecord
from evenkeel.wire import body_to_tick

ANEW_S: Final = 60.0
UNSURE: Final = np.array([0.1 if r == MEMORY_AXIS else 0.5 for r in range(N_RESOURCES)])
"""(R,) standard deviation of a demand that is not forecast, in parts of what it is now."""
STRATA: Final = 16
HOST_LOAD: Final = "host/"
"""Stands before a host's name for the load that no VM makes."""


@dataclass(frozen=True, slots=True)
class Reserved:
    """A VM that has its place and may not run yet."""

    vm: Newcomer
    host: HostId


def moments(quantiles: F64) -> tuple[F64, F64]:
    """Mean and standard deviation (..., ) of demand with these quantiles (..., Q)."""
    at = (np.arange(STRATA) + 0.5) / STRATA
    levels = np.array(QUANTILES)
    right = np.clip(np.searchsorted(levels, at), 1, len(levels) - 1)
    part = np.clip((at - levels[right - 1]) / (levels[right] - levels[right - 1]), 0.0, 1.0)
    values = quantiles[..., right - 1] * (1.0 - part) + quantiles[..., right] * part
    return values.mean(axis=-1), values.std(axis=-1)


class StandingFleet:
    """Not thread-safe: the placement service locks.

    Parameters
    ----------
    latest : the newest forecasts by resource
    reserved : VMs with a claim, whether they run or not
    closed : hosts in maintenance
    silent_s : hosts not heard from for so long take nobody
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        latest: Callable[[], Mapping[Resource, Latest]],
        chance: Chance,
        silent_s: float,
        reserved: Callable[[], Iterable[Reserved]] = tuple,
        closed: Callable[[], frozenset[HostId]] = frozenset,
        taste: Taste | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._latest = latest
        self._chance = chance
        self._silent_s = silent_s
        self._reserved = reserved
        self._closed = closed
        self._taste = taste or Taste()
        self._allocator: Allocator | None = None
        self._made_at_s = 0.0

    def __call__(self) -> Allocator:
        """Raises StoreUnavailable."""
        now_s = self._clock.monotonic_s()
        if self._allocator is None or now_s - self._made_at_s >= ANEW_S:
            self._allocator = self._laid_out(self._allocator)
            self._made_at_s = now_s
        return self._allocator

    def expected(self, vm: Vm) -> tuple[F64, F64]:
        """Mean and deviation (R,) of a VM's demand, NaN where it is not forecast."""
        mean, deviation = moments(forecast_ahead(self._latest(), [vm]).astype(np.float64))
        return mean[0], deviation[0]

    def forget(self) -> None:
        """Lay it out anew when it is next asked for."""
        self._made_at_s = -ANEW_S

    def _laid_out(self, before: Allocator | None) -> Allocator:
        records = list(reported(self._store))
        since_s, closed = self._clock.wall_s() - self._silent_s, self._closed()
        hosts = Hosts(
            ids=tuple(record.host.id for record in records),
            capacity=np.array([capacity_of(r.host) for r in records]).reshape(-1, N_RESOURCES),
            is_open=np.array(
                [r.last_seen_s >= since_s and r.host.id not in closed for r in records], dtype=bool
            ),
            fault_domain=np.arange(len(records)),
        )
        layout = Layout.of(hosts, [[(r.host.cpus, r.host.memory_mib)] for r in records])
        slices = Slices(layout, self._chance)
        out = Allocator(slices, Neighbours(hosts.ids, hosts.fault_domain), self._taste)
        reserved = {one.vm.vm: one for one in self._reserved()}
        known = {vm: one.vm for vm, one in reserved.items()}
        if before is not None:
            known |= {vm: seat.vm for vm, seat in before.seats.items()}
        for h, vm in self._residents(records, known):
            _put(out, h, vm)
        place = {host: h for h, host in enumerate(hosts.ids)}
        for vm_id, one in reserved.items():
            if vm_id not in out.seats and one.host in place:
                _put(out, place[one.host], known[vm_id])
        return out

    def _residents(
        self, records: list[HostRecord], known: Mapping[VmId, Newcomer]
    ) -> Iterable[tuple[int, Newcomer]]:
        """Every VM that runs, with its host's position; and each host's own load."""
        vms = [running(r.tick.vms) if r.tick else () for r in records]
        ahead = forecast_ahead(self._latest(), [vm for those in vms for vm in those])
        mean, deviation = moments(ahead.astype(np.float64))
        row = 0
        for h, (record, those) in enumerate(zip(records, vms, strict=True)):
            assert record.tick is not None
            tick = body_to_tick(record.host, record.tick)
            place = {vm.id: i for i, vm in enumerate(tick.vms)}
            for vm in those:
                now = np.nan_to_num(tick.demand[place[vm.id]])
                sure = ~np.isnan(mean[row])
                wants = np.where(sure, mean[row], now)
                spread = np.where(sure, deviation[row], UNSURE * now)
                yield h, _resident(vm, wants, spread, known.get(vm.id))
                row += 1
            own = np.nan_to_num(tick.background)
            if own.any():
                yield h, _host_load(record.host, own)


def _put(out: Allocator, host: int, vm: Newcomer) -> None:
    first = out.slices.layout.first
    one_slice = int(first[host + 1] - first[host]) == 1
    out.put(vm, Load.of(vm), host, int(first[host]) if one_slice else ALL_SLICES)


def _resident(vm: Vm, wants: F64, spread: F64, known: Newcomer | None) -> Newcomer:
    wants = wants.copy()
    wants[CPU_AXIS] = min(wants[CPU_AXIS], vm.n_vcpus)
    wants[MEMORY_AXIS] = min(wants[MEMORY_AXIS], vm.memory_mib)
    mean, deviation = tuple(wants.tolist()), tuple(spread.tolist())
    if known is not None:  # its labels and rules go on
        return replace(known, mean=mean, deviation=deviation)
    return Newcomer(vm.id, vm.n_vcpus, vm.memory_mib, mean, deviation, vm.tenant)


def _host_load(host: Host, background: F64) -> Newcomer:
    mean = tuple(background.tolist())
    name = VmId(HOST_LOAD + host.id)
    return Newcomer(name, max(len(host.cpus), 1), 1.0, mean, (0.0,) * N_RESOURCES)


def capacity_of(host: Host) -> tuple[float, ...]:
    """(R,) infinite where nobody knows it."""
    unknown = float("inf")
    return (
        float(len(host.cpus)) or unknown,
        host.memory_mib,
        host.net_mbit_s or unknown,
        host.iops or unknown,
    )
