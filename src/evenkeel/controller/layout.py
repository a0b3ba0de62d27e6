"""Lays out the live fleet for placement: hosts, who runs there and wants what, who has a claim.

From each host's newest tick and the latest forecasts. `standing` calls it, now and then.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from evenkeel.controller.near import Latest
from evenkeel.controller.present import forecast_ahead, running
from evenkeel.domain.arrays import F64, Bools, Ints
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
from evenkeel.records import HostRecord
from evenkeel.wire import body_to_tick

UNSURE: Final = np.array([0.1 if r == MEMORY_AXIS else 0.5 for r in range(N_RESOURCES)])
"""(R,) standard deviation of a demand that is not forecast, in parts of what it is now."""
STRATA: Final = 16
HOST_LOAD: Final = "host/"
"""Stands before a host's name for the load that no VM makes."""


@dataclass(frozen=True, slots=True)
class Reserved:
    """A VM that has its place and may not run yet. `cell` -1: not known, or all of them."""

    vm: Newcomer
    host: HostId
    cell: int = ALL_SLICES


def moments(quantiles: F64) -> tuple[F64, F64]:
    """Mean and standard deviation (..., ) of demand with these quantiles (..., Q)."""
    at = (np.arange(STRATA) + 0.5) / STRATA
    levels = np.array(QUANTILES)
    right = np.clip(np.searchsorted(levels, at), 1, len(levels) - 1)
    part = np.clip((at - levels[right - 1]) / (levels[right] - levels[right - 1]), 0.0, 1.0)
    values = quantiles[..., right - 1] * (1.0 - part) + quantiles[..., right] * part
    return values.mean(axis=-1), values.std(axis=-1)


def lay_out(
    records: Sequence[HostRecord],
    is_open: Bools,
    reserved: Mapping[VmId, Reserved],
    latest: Mapping[Resource, Latest],
    chance: Chance,
    taste: Taste,
) -> Allocator:
    """Hosts with a tick. `reserved` VMs that run keep what their claim says of them but for their
    demand; those that do not run stand where they are reserved."""
    hosts = Hosts(
        ids=tuple(record.host.id for record in records),
        capacity=np.array([capacity_of(r.host) for r in records]).reshape(-1, N_RESOURCES),
        is_open=is_open,
        fault_domain=_fault_domains(records),
    )
    cells = [_cells(record.host) for record in records]
    slices = Slices(Layout.of(hosts, cells), chance)
    out = Allocator(slices, Neighbours(hosts.ids, hosts.fault_domain), taste)
    for h, cell, vm in _residents(records, reserved, latest):
        put_in_cell(out, h, cell, vm)
    place = {host: h for h, host in enumerate(hosts.ids)}
    for vm_id, one in reserved.items():
        if vm_id not in out.seats and one.host in place:
            put_in_cell(out, place[one.host], one.cell, one.vm)
    return out


def put_in_cell(out: Allocator, host: int, cell: int, vm: Newcomer) -> None:
    """Where the cell is not known, or there is none of that number: spread over all."""
    begin, end = (int(row) for row in out.slices.layout.first[host : host + 2])
    if end - begin == 1:
        cell = 0
    where = begin + cell if 0 <= cell < end - begin else ALL_SLICES
    out.put(vm, Load.of(vm), host, where)


def capacity_of(host: Host) -> tuple[float, ...]:
    """(R,) infinite where nobody knows it."""
    unknown = float("inf")
    return (
        float(len(host.cpus)) or unknown,
        host.memory_mib,
        host.net_mbit_s or unknown,
        host.iops or unknown,
    )


def _cells(host: Host) -> list[tuple[tuple[int, ...], float]]:
    told = [(cell.cpus, cell.memory_mib) for cell in host.cells]
    return told or [(host.cpus, host.memory_mib)]


def _fault_domains(records: Sequence[HostRecord]) -> Ints:
    """Codes; a host of which none is told is one by itself."""
    names = [r.host.fault_domain or f"host {r.host.id}" for r in records]
    codes = {name: i for i, name in enumerate(dict.fromkeys(names))}
    return np.array([codes[name] for name in names], dtype=np.intp)


def _residents(
    records: Sequence[HostRecord],
    reserved: Mapping[VmId, Reserved],
    latest: Mapping[Resource, Latest],
) -> Iterator[tuple[int, int, Newcomer]]:
    """Every VM that runs, with its host's position and its cell; and each host's own load."""
    vms = [running(r.tick.vms) if r.tick else () for r in records]
    ahead = forecast_ahead(latest, [vm for those in vms for vm in those])
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
            known = reserved.get(vm.id)
            yield h, _cell_of(record.host, vm), _resident(vm, wants, spread, known)
            row += 1
        own = np.nan_to_num(tick.background)
        if own.any():
            yield h, ALL_SLICES, _host_load(record.host, own)


def _cell_of(host: Host, vm: Vm) -> int:
    """The one cell that its pins keep it in."""
    cpus = vm.tuning.cpuset
    for i, cell in enumerate(host.cells):
        if cpus and cpus.issubset(cell.cpus):
            return i
    return ALL_SLICES


def _resident(vm: Vm, wants: F64, spread: F64, known: Reserved | None) -> Newcomer:
    wants = wants.copy()
    wants[CPU_AXIS] = min(wants[CPU_AXIS], vm.n_vcpus)
    wants[MEMORY_AXIS] = min(wants[MEMORY_AXIS], vm.memory_mib)
    mean, deviation = tuple(wants.tolist()), tuple(spread.tolist())
    if known is not None:  # its labels and rules go on
        return replace(known.vm, mean=mean, deviation=deviation)
    return Newcomer(vm.id, vm.n_vcpus, vm.memory_mib, mean, deviation, vm.tenant)


def _host_load(host: Host, background: F64) -> Newcomer:
    mean = tuple(background.tolist())
    name = VmId(HOST_LOAD + host.id)
    return Newcomer(name, max(len(host.cpus), 1), 1.0, mean, (0.0,) * N_RESOURCES)
