"""A fleet that could do with fewer hosts, made up.

Three kinds of hosts, VMs of many sizes that came in any order onto any host that had room, demand
with a day in it over a few slots ahead, reservations on some hosts, some VMs that must stay and
some that keep apart.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64, Ints
from evenkeel.domain.ids import HostId, VmId
from evenkeel.domain.resources import CPU_AXIS, MEMORY_AXIS, N_RESOURCES
from evenkeel.placement.company import Company
from evenkeel.placement.fleet import Chance, Fleet, Hosts, Vms
from evenkeel.placement.packing import Packing
from evenkeel.placement.problem import Costs, Limits, Problem, over_slots

HOST_KINDS: Final = ((48, 384, 1.0), (64, 512, 1.2), (96, 1024, 1.6))
"""Cores, GiB, cost in use."""
NET_MBIT_S, IOPS = 25_000.0, 400_000.0
VM_VCPUS: Final = (1, 2, 4, 8, 16)
VM_ODDS: Final = (0.45, 0.3, 0.17, 0.07, 0.01)
GIB_PER_VCPU: Final = (1.0, 2.0, 4.0)
SLOTS: Final = 4
"""Six hours each."""
EPSILON: Final = 0.01
CORRELATION: Final = (0.05, 0.0, 0.05, 0.05)
LOAD: Final = 0.55
"""Of the fleet's memory that VMs take at first."""
MOVE_COST: Final = 0.02
LOST_COST: Final = 100.0
"""Of an hour's work of a host that is lost to contention."""


@dataclass(frozen=True, slots=True, eq=False)
class _Demand:
    """(S, V, R)."""

    mean: F64
    deviation: F64


def make_problem(n_hosts: int, n_vms: int, rng: np.random.Generator) -> Problem:
    """Everything follows from `rng`."""
    vcpus = rng.choice(VM_VCPUS, n_vms, p=VM_ODDS)
    memory = vcpus * rng.choice(GIB_PER_VCPU, n_vms) * 1024.0
    demand = _demand(vcpus, memory, rng)
    kind = rng.choice(len(HOST_KINDS), n_hosts, p=(0.4, 0.4, 0.2))
    cores, gib, cost = (np.array([k[i] for k in HOST_KINDS])[kind] for i in range(3))
    # Hosts are as large as it takes for VMs to use a stated part of their memory.
    scale = memory.sum() / 1024.0 / gib.sum() / LOAD
    capacity = np.column_stack(
        [cores * scale, gib * 1024.0 * scale, np.full(n_hosts, NET_MBIT_S), np.full(n_hosts, IOPS)]
    )
    fleet = Fleet(
        Hosts(
            tuple(HostId(f"h{i}") for i in range(n_hosts)),
            capacity,
            np.ones(n_hosts, dtype=bool),
            np.arange(n_hosts) // 8,
        ),
        Vms(
            tuple(VmId(f"vm{i}") for i in range(n_vms)),
            np.full(n_vms, -1),
            demand.mean[0],
            demand.deviation[0],
            rng.integers(0, 50, n_vms),
            rng.random(n_vms) < 0.0005,
        ),
    )
    reserved = np.zeros((SLOTS, n_hosts, N_RESOURCES))
    some = rng.random(n_hosts) < 0.1
    reserved[SLOTS // 2 :, some] = 0.2 * capacity[some]
    problem = over_slots(fleet, demand.mean, demand.deviation, reserved)
    # A twentieth of the VMs are in groups of three.
    members = rng.permutation(n_vms)[: n_vms // 60 * 3]
    problem = replace(
        problem,
        chance=Chance(EPSILON, np.tile(np.array(CORRELATION), SLOTS)),
        costs=Costs(cost, MOVE_COST + MOVE_COST * memory / 16384.0, lost=LOST_COST),
        limits=Limits(payback_h=24.0 * 7, at_once=4),
        company=Company.apart_by(
            members, np.arange(len(members)) // 3, np.zeros(len(members) // 3, dtype=bool)
        ),
    )
    return _arrived(problem, rng)


def _demand(vcpus: Ints, memory: F64, rng: np.random.Generator) -> _Demand:
    """CPU with a day of its own phase; memory that hardly moves; net and disk as they come."""
    n_vms = len(vcpus)
    level = vcpus * rng.beta(1.2, 5.0, n_vms)
    phase = rng.normal(0.0, 1.0, n_vms)
    swing = rng.uniform(0.0, 0.6, n_vms)
    mean = np.zeros((SLOTS, n_vms, N_RESOURCES))
    at = 2 * np.pi * np.arange(SLOTS)[:, None] / SLOTS
    mean[..., CPU_AXIS] = level * (1.0 + swing * np.sin(at + phase))
    mean[..., MEMORY_AXIS] = memory * rng.uniform(0.6, 1.0, n_vms)
    mean[..., 2] = rng.lognormal(2.0, 1.2, n_vms)
    mean[..., 3] = rng.lognormal(3.0, 1.5, n_vms)
    relative = np.array([0.7, 0.02, 1.0, 1.0])
    return _Demand(mean, mean * relative)


def _arrived(problem: Problem, rng: np.random.Generator) -> Problem:
    """Each VM on one of the hosts that had room for it, by lot."""
    packing = Packing(problem)
    hosts = np.arange(len(packing.n_vms))
    for vm in range(len(packing.host)):
        able = packing.fits(np.array([vm]), hosts)[0]
        forbidden = packing.forbidden(vm)
        if forbidden is not None:
            able &= ~forbidden
        if able.any():
            packing.place(vm, int(rng.choice(np.flatnonzero(able))))
    here = packing.host
    return replace(problem, fleet=replace(problem.fleet, vms=replace(problem.fleet.vms, host=here)))
