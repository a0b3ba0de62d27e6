"""Hosts and VMs that ask for a place, made up: sizes that are sold, times ways of behaving.

Six sizes of host in two NUMA cells each, VMs of 1 to 16 vCPUs in three shapes of memory, a dozen
ways in which VMs use what they have. So a few hundred loads come again and again, as in a cloud
whose VMs are sold by size and forecast by kind; `unlike` makes every VM's demand its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from evenkeel.domain.ids import HostId, TenantId, VmId
from evenkeel.domain.placement import Newcomer
from evenkeel.placement.allocate import Allocator, Taste
from evenkeel.placement.fleet import Chance, Hosts
from evenkeel.placement.rules import Neighbours
from evenkeel.placement.slices import Layout, Slices

HOST_CPUS: Final = (32, 48, 64)
HOST_GIB_PER_CPU: Final = (4, 8)
HOST_NET_MBIT_S, HOST_IOPS = 25_000.0, 100_000.0
VM_VCPUS: Final = (1, 2, 4, 8, 16)
VM_VCPUS_ODDS: Final = (0.35, 0.3, 0.2, 0.12, 0.03)
VM_GIB_PER_VCPU: Final = (2, 4, 8)
USE: Final = (0.03, 0.08, 0.15, 0.3, 0.5, 0.7)
VARIES: Final = (0.3, 0.8)
NET_PER_CORE, IOPS_PER_CORE = 150.0, 400.0
FAULT_DOMAINS: Final = 40
TENANTS: Final = 200
CHANCE: Final = Chance(0.02, np.array([0.1, 0.1, 0.1, 0.1]))


def make_hosts(n: int, rng: np.random.Generator) -> Layout:
    """`n` hosts in two NUMA cells each."""
    cpus = rng.choice(HOST_CPUS, n)
    gib = cpus * rng.choice(HOST_GIB_PER_CPU, n)
    capacity = np.empty((n, 4))
    capacity[:, 0], capacity[:, 1] = cpus, gib * 1024.0
    capacity[:, 2], capacity[:, 3] = HOST_NET_MBIT_S, HOST_IOPS
    hosts = Hosts(
        tuple(HostId(f"h{i:06}") for i in range(n)),
        capacity,
        np.ones(n, dtype=bool),
        rng.integers(FAULT_DOMAINS, size=n),
    )
    cells = []
    for c, g in zip(cpus.tolist(), gib.tolist(), strict=True):
        halves = tuple(range(c // 2)), tuple(range(c // 2, c))
        cells.append([(half, g * 512.0) for half in halves])
    return Layout.of(hosts, cells)


def make_allocator(layout: Layout, *, aware: bool = True) -> Allocator:
    """With nobody there."""
    hosts = layout.hosts
    neighbours = Neighbours(hosts.ids, hosts.fault_domain)
    return Allocator(Slices(layout, CHANCE), neighbours, Taste(aware=aware))


def make_newcomers(n: int, rng: np.random.Generator, *, unlike: bool = False) -> Iterator[Newcomer]:
    """VMs in the order in which they come."""
    vcpus = rng.choice(VM_VCPUS, n, p=VM_VCPUS_ODDS)
    gib = vcpus * rng.choice(VM_GIB_PER_VCPU, n)
    use, varies = rng.choice(USE, n), rng.choice(VARIES, n)
    if unlike:
        use = np.clip(use * rng.lognormal(0.0, 0.1, n), 0.0, 1.0)
    tenants = rng.integers(TENANTS, size=n)
    for i in range(n):
        cores = float(vcpus[i] * use[i])
        mean = np.array([cores, gib[i] * 1024 * 0.8, cores * NET_PER_CORE, cores * IOPS_PER_CORE])
        deviation = mean * varies[i]
        deviation[1] = mean[1] * 0.05
        yield Newcomer(
            vm=VmId(f"vm{i:07}"),
            n_vcpus=int(vcpus[i]),
            memory_mib=float(gib[i] * 1024),
            mean=tuple(mean.tolist()),
            deviation=tuple(deviation.tolist()),
            tenant=TenantId(f"t{tenants[i]}"),
        )
