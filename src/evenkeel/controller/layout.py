"""Lays out the live fleet for placement: hosts, who runs there and wants what, who has a claim.

From each host's newest tick and the latest forecasts. `standing` calls it, now and then.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from evenkeel.controller.present import Seen
from evenkeel.domain.arrays import F64
from evenkeel.domain.host import Host
from evenkeel.domain.ids import HostId, VmId
from evenkeel.domain.placement import Newcomer
from evenkeel.domain.resources import N_RESOURCES
from evenkeel.domain.vm import Vm
from evenkeel.placement.allocate import Allocator, Taste
from evenkeel.placement.fleet import Chance
from evenkeel.placement.rules import Neighbours
from evenkeel.placement.slices import ALL_SLICES, Layout, Load, Slices

HOST_LOAD: Final = "host/"
"""Stands before a host's name for the load that no VM makes."""


@dataclass(frozen=True, slots=True)
class Reserved:
    """A VM that has its place and may not run yet. `cell` -1: not known, or all of them."""

    vm: Newcomer
    host: HostId
    cell: int = ALL_SLICES


def lay_out(
    seen: Seen, reserved: Mapping[VmId, Reserved], chance: Chance, taste: Taste
) -> Allocator:
    """Hosts with a tick. `reserved` VMs that run keep what their claim says of them but for their
    demand; those that do not run stand where they are reserved."""
    hosts = seen.hosts()
    cells = [_cells(record.host) for record in seen.records]
    slices = Slices(Layout.of(hosts, cells), chance)
    out = Allocator(slices, Neighbours(hosts.ids, hosts.fault_domain), taste)
    for h, cell, vm in _residents(seen, reserved):
        put_in_cell(out, h, cell, vm)
    place = {host: h for h, host in enumerate(hosts.ids)}
    for vm_id, one in reserved.items():
        if vm_id not in out.seats and one.host in place:
            vm = one.vm.on(seen.placed.get(vm_id, one.vm.terms))
            put_in_cell(out, place[one.host], one.cell, vm)
    return out


def put_in_cell(out: Allocator, host: int, cell: int, vm: Newcomer) -> None:
    """Where the cell is not known, or there is none of that number: spread over all."""
    begin, end = (int(row) for row in out.slices.layout.first[host : host + 2])
    if end - begin == 1:
        cell = 0
    where = begin + cell if 0 <= cell < end - begin else ALL_SLICES
    out.put(vm, Load.of(vm), host, where)


def _cells(host: Host) -> list[tuple[tuple[int, ...], float]]:
    told = [(cell.cpus, cell.memory_mib) for cell in host.cells]
    return told or [(host.cpus, host.memory_mib)]


def _residents(
    seen: Seen, reserved: Mapping[VmId, Reserved]
) -> Iterator[tuple[int, int, Newcomer]]:
    """Every VM that runs, with its host's position and its cell; and each host's own load."""
    mean, deviation = seen.ahead()
    by_name: set[VmId] = set()
    for i, (vm, h, terms) in enumerate(
        zip(seen.vms, seen.host.tolist(), seen.terms(), strict=True)
    ):
        known, name = reserved.get(vm.id), VmId(vm.name)
        if known is None and name not in by_name and name in reserved:
            # Placed by name, and one of the tenant's with that name runs now.
            known = reserved[name] if reserved[name].vm.tenant == vm.tenant else None
            by_name |= {name} if known else set()
        cell = _cell_of(seen.records[h].host, vm)
        yield h, cell, _resident(vm, mean[i], deviation[i], known).on(terms)
    for h in np.flatnonzero(seen.background.any(axis=1)).tolist():
        yield h, ALL_SLICES, _host_load(seen.records[h].host, seen.background[h])


def _cell_of(host: Host, vm: Vm) -> int:
    """The one cell that its pins keep it in."""
    cpus = vm.tuning.cpuset
    for i, cell in enumerate(host.cells):
        if cpus and cpus.issubset(cell.cpus):
            return i
    return ALL_SLICES


def _resident(vm: Vm, wants: F64, spread: F64, known: Reserved | None) -> Newcomer:
    mean, deviation = tuple(wants.tolist()), tuple(spread.tolist())
    if known is not None:
        return replace(known.vm, mean=mean, deviation=deviation)
    return Newcomer(vm.id, vm.n_vcpus, vm.memory_mib, mean, deviation, vm.tenant)


def _host_load(host: Host, background: F64) -> Newcomer:
    mean = tuple(background.tolist())
    name = VmId(HOST_LOAD + host.id)
    return Newcomer(name, max(len(host.cpus), 1), 1.0, mean, (0.0,) * N_RESOURCES)
