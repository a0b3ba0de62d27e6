"""The contention map of a whole fleet: all directed pairs of all hosts, in arrays.

The same physics and composition that an agent scores its own host by (hazards.py), on blocks of
hosts that fit a core's cache. Layout is fixed: H hosts padded to N VMs, R resources, S rows of
joint demand that are all as likely. `FleetShape` changes when VMs come, go or are re-tuned, what
they want comes with every refresh.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F32, F64, Ints
from evenkeel.domain.host import Host
from evenkeel.domain.resources import AXIS, CPU_AXIS, N_RESOURCES, SPECS
from evenkeel.domain.vm import Vm
from evenkeel.interference.cores import cut
from evenkeel.interference.hazards import Load, Traits, compose, cpu_load, fluid_load
from evenkeel.interference.loads import cpu_weight, fluid_weight
from evenkeel.interference.physics import Cores

BLOCK_ROWS: Final = 512
"""Host-rows computed together: their arrays stay in a core's second-level cache."""


@dataclass(frozen=True, slots=True, eq=False)
class FleetShape:
    """Who is where, padded: a place without a VM has no vCPU and wants nothing.

    `n_vms` (H,), `n_cpus` (H,), `capacity` (H, R) with 0 where nobody knows it, `weight`
    (H, N, R), `n_vcpus` `quota_cores` (H, N); `pins` of the few hosts with more than one atom:
    (allowed (N, A), sizes (A,)).
    """

    n_vms: F64
    capacity: F64
    weight: F64
    n_vcpus: F64
    quota_cores: F64
    pins: dict[int, tuple[F64, F64]]

    @classmethod
    def of(cls, hosts: Sequence[tuple[Host, Sequence[Vm]]], n_places: int = 0) -> FleetShape:
        """`n_places` VMs a host, at least as many as the fullest has."""
        n = max([n_places, *(len(vms) for _, vms in hosts)])
        n_hosts = len(hosts)
        weight = np.ones((n_hosts, n, N_RESOURCES))
        n_vcpus, quota = np.zeros((n_hosts, n)), np.full((n_hosts, n), np.inf)
        capacity = np.zeros((n_hosts, N_RESOURCES))
        pins: dict[int, tuple[F64, F64]] = {}
        for h, (host, vms) in enumerate(hosts):
            here = len(vms)
            capacity[h, CPU_AXIS] = len(host.cpus)
            weight[h, :here, CPU_AXIS] = cpu_weight(vms)
            for r, resource in enumerate(AXIS):
                if r != CPU_AXIS:
                    capacity[h, r] = host.capacity[resource] or 0.0
                    weight[h, :here, r] = fluid_weight(resource, vms)
            n_vcpus[h, :here] = [max(float(vm.n_vcpus), 1.0) for vm in vms]
            quota[h, :here] = [vm.tuning.quota_cores for vm in vms]
            cpusets = [vm.tuning.cpuset for vm in vms]
            if any(cpuset and not cpuset.issuperset(host.cpus) for cpuset in cpusets):
                atoms = cut(host.cpus, cpusets)
                allowed = np.zeros((n, len(atoms.sizes)))
                allowed[:here] = atoms.allowed
                pins[h] = (allowed, atoms.sizes)
        n_vms = np.array([float(len(vms)) for _, vms in hosts])
        return cls(n_vms, capacity, weight, n_vcpus, quota, pins)

    @property
    def n_hosts(self) -> int:
        return len(self.n_vms)

    @property
    def n_places(self) -> int:
        return int(self.n_vcpus.shape[1])

    def blocks(self, n_rows: int) -> Iterator[Ints]:
        """Hosts in pieces of alike ones: as many atoms, about as many CPUs and vCPUs."""
        atoms = np.ones(self.n_hosts)
        for h, (_, sizes) in self.pins.items():
            atoms[h] = len(sizes)
        order = np.lexsort((self.n_vcpus.sum(axis=1), self.capacity[:, CPU_AXIS], atoms))
        at_once = max(1, BLOCK_ROWS // max(n_rows, 1))
        cuts = np.flatnonzero(np.diff(atoms[order])) + 1
        for alike in np.split(order, cuts):
            for first in range(0, len(alike), at_once):
                yield alike[first : first + at_once]

    def cores(self, hosts: Ints) -> Cores:
        """Of a block: all its hosts have the same number of atoms."""
        n, sizes = self.n_places, self.capacity[hosts, CPU_AXIS][:, None]
        allowed = np.ones((len(hosts), n, 1))
        if int(hosts[0]) in self.pins:
            allowed = np.stack([self.pins[h][0] for h in hosts.tolist()])
            sizes = np.stack([self.pins[h][1] for h in hosts.tolist()])
        return Cores(
            weight=self.weight[hosts, :, CPU_AXIS],
            n_vcpus=self.n_vcpus[hosts],
            quota_cores=self.quota_cores[hosts],
            allowed=allowed,
            sizes=sizes,
        )


@dataclass(frozen=True, slots=True, eq=False)
class FleetRows:
    """What is wanted: `demand` (H, R, S, N), 0 at empty places; `background` (H, R, S); `norm`
    (H, N, R) usual demand, NaN: not known; `loss` (H, N, R) share lately lost, which is expected
    to go on where physics does not know better (None: none); `host_norm` (H, R) usual background
    (None: not known)."""

    demand: F32
    background: F32
    norm: F32
    loss: F32 | None = None
    host_norm: F32 | None = None

    @property
    def n_rows(self) -> int:
        return int(self.demand.shape[2])


@dataclass(frozen=True, slots=True, eq=False)
class FleetMap:
    """`score` (H, R, N, N) [victim, aggressor] and `host_score` (H, R, N), 0 to 100;
    `probability` of a material loss and `predicted` share lost then, (H, R, N)."""

    score: F32
    host_score: F32
    probability: F32
    predicted: F32

    @property
    def pairs(self) -> F32:
        """(H, N, N, R) view of `score`."""
        return np.moveaxis(self.score, 1, 3)

    @classmethod
    def empty(cls, n_hosts: int, n_places: int) -> FleetMap:
        def flat() -> F32:
            return np.zeros((n_hosts, N_RESOURCES, n_places), np.float32)

        score = np.zeros((n_hosts, N_RESOURCES, n_places, n_places), np.float32)
        return cls(score, flat(), flat(), flat())


def score_fleet(
    shape: FleetShape, rows: FleetRows, traits: Traits | None = None, into: FleetMap | None = None
) -> FleetMap:
    """All pairs of all hosts. Traits are (H, N, R). `into` is filled again instead of a new map."""
    out = into or FleetMap.empty(shape.n_hosts, shape.n_places)
    for hosts in shape.blocks(rows.n_rows):
        row_weights = np.full((len(hosts), rows.n_rows), 1.0 / rows.n_rows)
        for r in range(N_RESOURCES):
            s = None if traits is None else traits.sensitivity[hosts, :, r].astype(np.float64)
            p = None if traits is None else traits.pressure[hosts, :, r].astype(np.float64)
            found = compose(_load(shape, rows, hosts, r, row_weights), row_weights, s, p)
            out.score[hosts, r] = found.score
            out.host_score[hosts, r] = found.host
            out.probability[hosts, r] = found.probability
            out.predicted[hosts, r] = found.predicted
    return out


def _load(shape: FleetShape, rows: FleetRows, hosts: Ints, r: int, row_weights: F64) -> Load:
    demand = rows.demand[hosts, r].astype(np.float64)
    background = rows.background[hosts, r].astype(np.float64)
    norm = rows.norm[hosts, :, r].astype(np.float64)
    n_vms, shard = shape.n_vms[hosts], SPECS[AXIS[r]].shard
    host_norm = np.full(len(hosts), np.nan)
    if rows.host_norm is not None:
        host_norm = rows.host_norm[hosts, r].astype(np.float64)
    floor = None
    if rows.loss is not None:
        floor = np.broadcast_to(rows.loss[hosts, None, :, r].astype(np.float64), demand.shape)
    if r == CPU_AXIS:
        unknown = shape.capacity[hosts, CPU_AXIS] <= 0
        if floor is not None:
            floor = floor * unknown[:, None, None] if unknown.any() else None
        cores = shape.cores(hosts)
        return cpu_load(
            demand, background, cores, row_weights, norm, n_vms, host_norm, shard, floor
        )
    weight = shape.weight[hosts, :, r]
    capacity = shape.capacity[hosts, r]
    return fluid_load(demand, background, weight, capacity, norm, n_vms, host_norm, shard, floor)
