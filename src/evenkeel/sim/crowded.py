"""Made-up hosts that are sold several times over, for studies and tests of what is done in place.

Each has latency-bound VMs of one vCPU that want little, servers of one or two, and greedy ones
of many vCPUs that want all they can get for hours. Demand is that of the classes of `sim.demand`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F32, F64
from evenkeel.domain.panel import DAY_S, Calendar
from evenkeel.domain.recording import NEVER, HostShape, Recorded, Recording, VmTable
from evenkeel.domain.resources import CPU_AXIS, IOPS_AXIS, MEMORY_AXIS, N_RESOURCES, NET_AXIS
from evenkeel.sim.demand import CLASSES, MONDAY_S, Bursts, DemandSpec, demand, draw_spec

SMALL, SERVER, GREEDY = "small", "server", "greedy"
KINDS: Final = (SMALL, SERVER, GREEDY)
ODDS: Final = (0.35, 0.35, 0.3)
SLOT_S: Final = 300.0
MEMORY_MIB: Final = 2048.0
MEAN_VCPUS: Final = 1.4
"""At least, however little is sold."""


@dataclass(frozen=True, slots=True)
class Crowd:
    """`sold` vCPUs for each CPU, between these; `n_vms` on a host, between these."""

    n_hosts: int = 4
    n_slots: int = 24
    n_cpus: int = 8
    n_vms: tuple[int, int] = (20, 40)
    sold: tuple[float, float] = (3.0, 5.0)


def crowded(crowd: Crowd, seed: int) -> Recording:
    """Everything follows from the seed. VMs stay; all begin at noon of a Monday."""
    rng = np.random.default_rng([seed, 12])
    start_s = MONDAY_S + DAY_S / 2
    when_s = start_s + SLOT_S * np.arange(crowd.n_slots, dtype=np.float64)
    local = Calendar().at(when_s)
    ids: list[str] = []
    kinds: list[str] = []
    host: list[int] = []
    vcpus: list[int] = []
    shares: list[F64] = []
    for h in range(crowd.n_hosts):
        for kind, n in _mix(crowd, rng):
            ids.append(f"h{h}-{kind}{len(ids)}")
            kinds.append(kind)
            host.append(h)
            vcpus.append(n)
            shares.append(np.nan_to_num(demand(_spec(kind, rng), when_s, local, rng)))
    values: F32 = np.zeros((len(ids), N_RESOURCES, crowd.n_slots), np.float32)
    size = np.array(vcpus, dtype=np.float64)
    cpu = np.clip(np.array(shares), 0.0, 1.0) * size[:, None]
    values[:, CPU_AXIS] = cpu
    values[:, MEMORY_AXIS] = MEMORY_MIB / 2
    values[:, NET_AXIS], values[:, IOPS_AXIS] = 10.0 * cpu, 20.0 * cpu
    n = len(ids)
    table = VmTable(
        ids=tuple(ids),
        vcpus=size,
        memory_mib=np.full(n, MEMORY_MIB),
        arrives=np.zeros(n, dtype=np.intp),
        leaves=np.full(n, NEVER, dtype=np.intp),
        host=np.array(host, dtype=np.intp),
        tenant=("",) * n,
        kind=tuple(kinds),
    )
    shapes = tuple(
        HostShape(f"h{h}", crowd.n_cpus, memory_mib=2 * MEMORY_MIB * crowd.n_vms[1])
        for h in range(crowd.n_hosts)
    )
    notes = ("made up: hosts sold several times over, three of ten VMs greedy",)
    return Recording(
        f"crowded/{seed}", start_s, SLOT_S, crowd.n_slots, shapes, table, Recorded(values), notes
    )


def _mix(crowd: Crowd, rng: np.random.Generator) -> list[tuple[str, int]]:
    """Kind and vCPUs of each VM of one host: as many as VMs and vCPUs allow."""
    n_vms = int(rng.integers(crowd.n_vms[0], crowd.n_vms[1] + 1))
    to_sell = crowd.n_cpus * float(rng.uniform(*crowd.sold))
    kinds = [KINDS[k] for k in rng.choice(len(KINDS), n_vms, p=ODDS)]
    size = {SMALL: (1, 1), SERVER: (1, 2), GREEDY: (2, crowd.n_cpus // 2)}
    mix = [(kind, int(rng.integers(size[kind][0], size[kind][1] + 1))) for kind in kinds]
    while sum(n for _, n in mix) > max(to_sell, MEAN_VCPUS * n_vms):
        largest = max(range(len(mix)), key=lambda i: mix[i][1])
        mix[largest] = (mix[largest][0], mix[largest][1] - 1)
    return mix


def _spec(kind: str, rng: np.random.Generator) -> DemandSpec:
    if kind == SMALL:
        return DemandSpec(level=float(rng.uniform(0.05, 0.4)), noise=0.1)
    if kind == SERVER:
        return draw_spec(CLASSES[int(rng.integers(len(CLASSES)))], rng)
    busy = Bursts(36.0, float(rng.uniform(0.6, 1.0)), 0.25, 3.0, 1.5, 0.1)
    return DemandSpec(level=float(rng.uniform(0.05, 0.4)), noise=0.05, bursts=busy)
