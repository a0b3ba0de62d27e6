"""Hosts full of VMs of all sizes, pins, quotas and demands, for tests of the fleet's map."""

from __future__ import annotations

import numpy as np
from builders import a_host

from evenkeel.domain.arrays import F64
from evenkeel.domain.host import Host
from evenkeel.domain.ids import HostId, VmId
from evenkeel.domain.resources import N_RESOURCES
from evenkeel.domain.vm import CpuTuning, Vm
from evenkeel.interference.fleet import FleetRows, FleetShape
from evenkeel.interference.window import SLOTS_TOO_NEW, Window

UNIT = np.array([1.0, 600.0, 60.0, 150.0])
"""What a VM may want at most: cores per vCPU, MiB, Mbit/s, 1/s."""


def made_hosts(n_hosts: int, rng: np.random.Generator) -> list[tuple[Host, tuple[Vm, ...]]]:
    """Hosts of 2 to 70 CPUs with 1 to 8 VMs; some pinned, weighted, held by quotas."""
    return [_host(h, rng) for h in range(n_hosts)]


def _host(h: int, rng: np.random.Generator) -> tuple[Host, tuple[Vm, ...]]:
    n_cpus = int(rng.choice([2, 4, 8, 70]))
    host = a_host(
        n_cpus,
        id=HostId(f"h{h}"),
        memory_mib=float(rng.choice([0.0, 1500.0])),
        net_mbit_s=[None, 150.0][rng.integers(2)],
        iops=[None, 400.0][rng.integers(2)],
    )
    vms = []
    for v in range(int(rng.integers(1, 9))):
        n_vcpus = int(rng.integers(1, 4 if n_cpus < 70 else 17))
        pins = tuple(range(n_cpus))
        if h % 3 == 0 and rng.random() < 0.6:
            pins = tuple(sorted(rng.choice(n_cpus, max(1, n_cpus // 2), replace=False).tolist()))
        quota = 50_000 if rng.random() < 0.2 else -1
        tuning = CpuTuning((pins,) * n_vcpus, int(rng.choice([512, 1024, 2048])), 100_000, quota)
        memory_mib = float(rng.choice([256.0, 1024.0]))
        vms.append(Vm(VmId(f"{h}-{v}"), f"vm{v}", n_vcpus, memory_mib, tuning=tuning))
    return host, tuple(vms)


def made_rows(
    hosts: list[tuple[Host, tuple[Vm, ...]]], n_rows: int, rng: np.random.Generator
) -> tuple[list[Window], FleetRows]:
    """The same demand twice: as each host's own window, and as the fleet's arrays."""
    n = FleetShape.of(hosts).n_places
    demand = np.zeros((len(hosts), N_RESOURCES, n_rows, n), np.float32)
    background = np.zeros((len(hosts), N_RESOURCES, n_rows), np.float32)
    norm = np.full((len(hosts), n, N_RESOURCES), np.nan, np.float32)
    loss = np.zeros((len(hosts), n, N_RESOURCES), np.float32)
    each: list[Window] = []
    for h, (_, vms) in enumerate(hosts):
        here = len(vms)
        sizes = np.ones((here, N_RESOURCES)) * UNIT
        sizes[:, 0] *= [vm.n_vcpus for vm in vms]
        wanted: F64 = rng.random((n_rows, here, N_RESOURCES)) * sizes
        wanted[:, rng.random((here, N_RESOURCES)) < 0.2] = 0.0
        demand[h, :, :, :here] = wanted.transpose(2, 0, 1)
        background[h] = rng.random((N_RESOURCES, 1)) * UNIT[:, None] * 0.5
        norm[h, :here] = np.where(rng.random((here, N_RESOURCES)) < 0.3, np.nan, sizes / 2)
        loss[h, :here] = rng.random((here, N_RESOURCES)) * (rng.random((here, N_RESOURCES)) < 0.3)
        usual = norm[h, :here].astype(float)
        each.append(
            Window(
                vms=vms,
                at_s=np.arange(n_rows, dtype=float),
                interval_s=np.ones(n_rows),
                demand=demand[h, :, :, :here].transpose(1, 2, 0).astype(float),
                loss=np.broadcast_to(loss[h, :here].astype(float), (n_rows, here, N_RESOURCES)),
                self_limited=np.zeros((n_rows, here, N_RESOURCES)),
                background=background[h].T.astype(float),
                slots=np.broadcast_to(usual, (2 + SLOTS_TOO_NEW, *usual.shape)),
                slot_sum=np.zeros_like(usual),
                slot_weight=np.zeros_like(usual),
                slot_age_s=0.0,
                window_s=60.0,
                inside_loss=np.full((n_rows, here), np.nan),
                host_slots=np.empty((0, N_RESOURCES)),
                host_sum=np.zeros(N_RESOURCES),
            )
        )
    return each, FleetRows(demand, background, norm, loss)
