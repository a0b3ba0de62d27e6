"""The physics of one host's rows: who wants what of which pool, and what each loses of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64
from evenkeel.domain.host import Host
from evenkeel.domain.ids import VmId
from evenkeel.domain.resources import AXIS, CPU_AXIS, SPECS, Resource
from evenkeel.domain.vm import CpuTuning, Vm
from evenkeel.interference.cores import Atoms, cut, spread
from evenkeel.interference.hazards import Load, cpu_load, fluid_load
from evenkeel.interference.physics import Cores, lost_cores
from evenkeel.interference.rows import Rows
from evenkeel.interference.window import Window

DEFAULT_SHARES: Final = 1024.0
Tunings = Mapping[VmId, CpuTuning]
"""Of VMs that are to be tuned otherwise than they are."""


def cpu_demand(window: Window) -> F64:
    """(T, N) cores a VM presses for: runnable time less what its own limits hold back."""
    wanted = window.demand[:, :, CPU_AXIS]
    held = window.self_limited[:, :, CPU_AXIS]
    return np.asarray(np.nan_to_num(wanted) - np.nan_to_num(held), dtype=np.float64)


def cpu_lost(
    window: Window, host: Host, row_weights: F64, worlds: Sequence[Tunings]
) -> tuple[F64, F64]:
    """Cores lost (W, T, N) to others if some VMs had other tunings, and the demand (W, T, N) that
    this was computed for: what-if, and what-if-we-undo.

    All worlds go through the physics together. A VM whose tuning changes is taken at its full
    demand, since a new limit may free what the old one held back.
    """
    vms, pressed = window.vms, cpu_demand(window)
    demand = np.repeat(pressed[None], len(worlds), axis=0)
    each = []
    for world, changed in enumerate(worlds):
        for i, vm in enumerate(vms):
            if vm.id in changed:
                demand[world, :, i] = np.nan_to_num(window.demand[:, i, CPU_AXIS])
        each.append(_cores(host, vms, [changed.get(vm.id, vm.tuning) for vm in vms])[1])
    background = np.nan_to_num(window.background[:, CPU_AXIS])
    rows = (len(worlds), len(row_weights))
    lost, _ = lost_cores(
        demand,
        np.broadcast_to(background, rows),
        Cores.together(each),
        np.broadcast_to(row_weights, rows),
    )
    return lost, demand


def cpu_spread(window: Window, host: Host, row_weights: F64) -> tuple[Atoms, F64]:
    """The host's atoms, and the share (N, A) of each VM's demand that lies on each."""
    atoms, cores = _cores(host, window.vms)
    wanted = row_weights @ np.minimum(
        cpu_demand(window), np.minimum(cores.quota_cores, cores.n_vcpus)
    )
    background = float(row_weights @ np.nan_to_num(window.background[:, CPU_AXIS]))
    return atoms, spread(atoms, wanted, background)


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


def _cores(
    host: Host, vms: Sequence[Vm], tunings: Sequence[CpuTuning] | None = None
) -> tuple[Atoms, Cores]:
    """`tunings` instead of those that the VMs have."""
    tunings = tunings or [vm.tuning for vm in vms]
    atoms = cut(host.cpus, [tuning.cpuset for tuning in tunings])
    weight = np.array([max(float(tuning.shares or DEFAULT_SHARES), 1.0) for tuning in tunings])
    n_vcpus = np.array([float(vm.n_vcpus) for vm in vms])
    quota = np.array([tuning.quota_cores for tuning in tunings])
    return atoms, Cores.of_host(atoms, weight, n_vcpus, quota)
