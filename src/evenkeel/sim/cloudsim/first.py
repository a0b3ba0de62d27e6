"""Where VMs are created: by all the MIPS and the memory they may ask for, one after the other."""

from __future__ import annotations

import numpy as np

from evenkeel.domain.arrays import Ints
from evenkeel.domain.errors import TraceInvalid
from evenkeel.jit import compiled
from evenkeel.sim.cloudsim.meter import watts
from evenkeel.sim.cloudsim.world import HOST_MBIT_S, HOST_RAM_MB, World

VM_MBIT_S = 100


@compiled
def _place(world: World, by_power: bool) -> Ints:
    """(V,) hosts, -1: none fits."""
    n_hosts = len(world.total)
    free, ram = world.total.copy(), np.full(n_hosts, float(HOST_RAM_MB))
    mbit_s = np.full(n_hosts, float(HOST_MBIT_S))
    home = np.full(len(world.mips), -1)
    for vm in range(len(home)):
        asks, least = world.mips[vm], np.inf
        for host in range(n_hosts):
            fits = asks <= world.core[host] and asks <= free[host]
            if not fits or world.ram[vm] > ram[host] or mbit_s[host] < VM_MBIT_S:
                continue
            grown = 0.0  # the first that fits
            if by_power:
                used = (world.total[host] - free[host] + asks) / world.total[host]
                grown = watts(world.watts[host], used) - world.watts[host, 0]
            if grown < least:
                home[vm], least = host, grown
        if home[vm] >= 0:
            free[home[vm]] -= asks
            ram[home[vm]] -= world.ram[vm]
            mbit_s[home[vm]] -= VM_MBIT_S
    return home


def first_hosts(world: World, by_power: bool) -> Ints:
    """(V,): the first host that fits or, `by_power`, the one that is to draw the fewest more watts.

    Raises TraceInvalid when a VM fits nowhere.
    """
    home = np.asarray(_place(world, by_power), dtype=np.intp)
    if (home < 0).any():
        raise TraceInvalid(
            f"{(home < 0).sum()} of {len(home)} VMs find no host",
            hint=f"{len(world.total)} hosts hold fewer VMs at their full size.",
        )
    return home
