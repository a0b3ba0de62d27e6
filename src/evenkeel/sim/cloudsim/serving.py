"""What VMs get from their hosts: CPU shared by want, short where it runs out, and while moving.

A VM that moves gets 90 % of its share where it leaves; a tenth of it is already taken where it
arrives. Where wants exceed a host all are scaled down alike, to whole MIPS.
"""

from __future__ import annotations

import numpy as np

from evenkeel.domain.arrays import Ints
from evenkeel.jit import compiled
from evenkeel.sim.cloudsim.meter import WATT_S, Meter, note_host, note_vm, watts
from evenkeel.sim.cloudsim.world import State, World

LEAVING, ARRIVING = 0.9, 0.1


@compiled
def add(state: State, host: int, vm: int) -> None:
    """At the end of the host's list."""
    state.on[host, state.n_on[host]] = vm
    state.n_on[host] += 1


@compiled
def remove(state: State, host: int, vm: int) -> None:
    """From the host's list; the others keep their order."""
    n, at = state.n_on[host], 0
    while at < n and state.on[host, at] != vm:
        at += 1
    if at < n:
        state.on[host, at : n - 1] = state.on[host, at + 1 : n]
        state.n_on[host] = n - 1


@compiled
def share_out(world: World, state: State, host: int) -> None:
    """Write `given` and `free` of a host. It is short when VMs, one after the other, find too
    little left."""
    core, free, is_short, sum_wanted = world.core[host], world.total[host], False, 0.0
    for at in range(state.n_on[host]):
        vm = state.on[host, at]
        asked = min(state.wanted[vm], core)
        taken = asked * ARRIVING if state.home[vm] != host else asked
        sum_wanted += taken
        if free >= taken:
            free -= taken
        else:
            free, is_short = 0.0, True
        if state.home[vm] == host and state.is_moving[vm]:
            taken = asked * LEAVING
        state.given[host, at] = taken
    state.free[host] = free
    if is_short:
        scale = world.total[host] / sum_wanted
        for at in range(state.n_on[host]):
            vm = state.on[host, at]
            asked = min(state.wanted[vm], core)
            if state.home[vm] != host:
                taken = asked * ARRIVING * scale
            elif state.is_moving[vm]:
                taken = asked * scale * LEAVING
            else:
                taken = asked * scale
            state.given[host, at] = np.floor(taken)


@compiled
def look_at(world: World, state: State, meter: Meter, host: int, now_s: float) -> None:
    """Share a host's CPU out anew, and note what it and its VMs get."""
    share_out(world, state, host)
    used = asked = 0.0
    for at in range(state.n_on[host]):
        vm, given = state.on[host, at], state.given[host, at]
        if state.home[vm] == host:
            leaves = state.is_moving[vm]
            note_vm(meter, vm, now_s, given, state.wanted[vm], leaves)
            if leaves:
                given /= LEAVING  # moving costs the host what the VM loses
        used += given
        asked += state.wanted[vm]
    state.used_before[host] = state.used[host]
    state.used[host] = used
    note_host(meter, host, now_s, used, asked)


@compiled
def cpu_share(used: float, total: float) -> float:
    """Rounding may leave a full host a little above 1."""
    share = used / total
    return 1.0 if 1 < share < 1.01 else share


@compiled
def look(world: World, state: State, meter: Meter, now_s: float, span_s: float) -> int:
    """Look at all hosts after `span_s` seconds; VMs that want nothing end. Returns how many."""
    for host in range(len(world.total)):
        look_at(world, state, meter, host, now_s)
    if span_s > 0:
        for host in range(len(world.total)):
            before = cpu_share(state.used_before[host], world.total[host])
            if before != 0:
                table = world.watts[host]
                first = watts(table, before)
                last = watts(table, cpu_share(state.used[host], world.total[host]))
                meter.sums[WATT_S] += (first + (last - first) / 2) * span_s
    n_ended = 0
    for host in range(len(world.total)):
        for at in range(state.n_on[host] - 1, -1, -1):
            vm = state.on[host, at]
            if not state.is_moving[vm] and state.wanted[vm] == 0:
                remove(state, host, vm)
                state.home[vm] = -1
                n_ended += 1
    return n_ended


@compiled
def start_moves(
    world: World, state: State, meter: Meter, vms: Ints, hosts: Ints, now_s: float
) -> None:
    """VMs begin to arrive at their targets; (M,) each."""
    for k in range(len(vms)):
        state.is_moving[vms[k]] = True
        add(state, hosts[k], vms[k])
    for k in range(len(vms)):
        look_at(world, state, meter, hosts[k], now_s)
        look_at(world, state, meter, state.home[vms[k]], now_s)


@compiled
def end_moves(state: State, vms: Ints, hosts: Ints) -> None:
    """VMs have arrived; (M,) each, in the order their moves began."""
    for k in range(len(vms)):
        remove(state, state.home[vms[k]], vms[k])
        remove(state, hosts[k], vms[k])
        add(state, hosts[k], vms[k])
        state.home[vms[k]] = hosts[k]
        state.is_moving[vms[k]] = False
