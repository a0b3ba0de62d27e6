"""The physics of one host's rows: who wants what of which pool, and what each loses of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64
from evenkeel.domain.host import Host
from evenkeel.domain.ids import VmId
from evenkeel.domain.resources import AXIS, CPU_AXIS, SPECS, Resource
from evenkeel.domain.vm import CpuTuning, Vm
from evenkeel.interference.cores import Atoms, cut
from evenkeel.interference.hazards import Load, cpu_load, fluid_load
from evenkeel.interference.physics import Cores, CpuLoss, cpu_loss
from evenkeel.interference.rows import Rows
from evenkeel.interference.window import Window

DEFAULT_SHARES: Final = 1024.0


def cpu_demand(window: Window) -> F64:
    """(T, N) cores a VM presses for: runnable time less what its own limits hold back."""
    wanted = window.demand[:, :, CPU_AXIS]
    held = window.self_limited[:, :, CPU_AXIS]
    return np.asarray(np.nan_to_num(wanted) - np.nan_to_num(held), dtype=np.float64)


def cpu_loss_with(
    window: Window,
    host: Host,
    row_weights: F64,
    changed: dict[VmId, CpuTuning],
) -> tuple[CpuLoss, F64]:
    """CPU physics under other tunings of some VMs: what-if, and what-if-we-undo.

    Returns the loss and the (T, N) demand it was computed for. A VM whose tuning changes is taken
    at its full demand, since a new limit may free what the old one held back.
    """
    tunings = [changed.get(vm.id, vm.tuning) for vm in window.vms]
    demand = cpu_demand(window)
    for i, vm in enumerate(window.vms):
        if vm.id in changed:
            demand[:, i] = np.nan_to_num(window.demand[:, i, CPU_AXIS])
    vms = [replace(vm, tuning=t) for vm, t in zip(window.vms, tunings, strict=True)]
    background = np.nan_to_num(window.background[:, CPU_AXIS])
    return cpu_loss(demand, background, *_cores(host, vms), row_weights), demand


def host_loads(rows: Rows, host: Host) -> tuple[Load, ...]:
    """The physics of each resource, in the order of `AXIS`; none where there are no VMs or rows.

    Where a capacity is not known, or hides behind caches, loss that was measured is expected to
    go on: persistence is the physics of an unknown pool.
    """
    n = len(rows.vms)
    if not n or not len(rows.weights):
        return ()
    row_weights, n_vms = rows.weights[None], np.array([float(n)])
    background = np.nan_to_num(rows.background)[None]
    seen_loss = np.nan_to_num(rows.loss)[None]
    wanted = np.nan_to_num(rows.demand)[None]
    out = []
    for r, resource in enumerate(AXIS):
        shard, norm = SPECS[resource].shard, rows.norm[None, :, r]
        usual = rows.host_norm[None, r]
        if r == CPU_AXIS:
            pressed = wanted[..., r] - np.nan_to_num(rows.held[None, ..., r])
            floor = None if host.cpus else seen_loss[..., r]
            _, cores = _cores(host, rows.vms)
            load = cpu_load(
                pressed, background[..., r], cores, row_weights, norm, n_vms, usual, shard, floor
            )
        else:
            load = fluid_load(
                wanted[..., r],
                background[..., r],
                fluid_weight(resource, rows.vms)[None],
                np.array([host.capacity[resource] or 0.0]),
                norm,
                n_vms,
                usual,
                shard,
                seen_loss[..., r],
            )
        out.append(load)
    return tuple(out)


def fluid_weight(resource: Resource, vms: Sequence[Vm]) -> F64:
    """(N,) weights that a fluid is shared out by: memory by size, the rest alike."""
    if resource is Resource.MEMORY:
        return np.array([max(vm.memory_mib, 1.0) for vm in vms])
    return np.ones(len(vms))


def cpu_weight(vms: Sequence[Vm]) -> F64:
    """(N,) scheduler weights."""
    return np.array([max(float(vm.tuning.shares or DEFAULT_SHARES), 1.0) for vm in vms])


def _cores(host: Host, vms: Sequence[Vm]) -> tuple[Atoms, Cores]:
    atoms = cut(host.cpus, [vm.tuning.cpuset for vm in vms])
    n_vcpus = np.array([float(vm.n_vcpus) for vm in vms])
    quota = np.array([vm.tuning.quota_cores for vm in vms])
    return atoms, Cores.of_host(atoms, cpu_weight(vms), n_vcpus, quota)
