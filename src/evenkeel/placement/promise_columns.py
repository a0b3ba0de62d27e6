"""What hosts have promised, for plans of moves: a VM takes its lots along where it goes.

The calendar has an instant for every lot, and a planner columns: of each stretch of time it gets
the most that is promised in it. That is a little coarse, and so `check_promises` asks the lots.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from evenkeel.domain.arrays import F64
from evenkeel.domain.resources import AXIS, N_RESOURCES, SPECS
from evenkeel.domain.shard import MILLI, Lot
from evenkeel.placement.calendar import UNKNOWN
from evenkeel.placement.fleet import Chance
from evenkeel.placement.levels import DEVIATION, FIRM, MEAN
from evenkeel.placement.problem import Problem, Promises
from evenkeel.placement.profile import Profile, committed

SHARD = np.array([SPECS[resource].shard for resource in AXIS])


def with_promises(problem: Problem, promises: Promises, edges_s: Sequence[int]) -> Problem:
    """`problem` with a column of each resource for each stretch between `edges_s` (absolute), in
    which hosts have to hold what is promised, as they have to hold demand in the others."""
    hosts, vms = problem.fleet.hosts, problem.fleet.vms
    n_vms, n_slots = len(vms.ids), len(edges_s) - 1
    n_columns = n_slots * N_RESOURCES
    mean, deviation = np.zeros((2, n_vms, n_slots, N_RESOURCES))
    for vm, lots in promises.carried.items():
        mean[vm], deviation[vm] = _wanted(lots, edges_s)
    chance = problem.chance
    correlation = chance.correlation[:N_RESOURCES]
    each = Chance(chance.epsilon, correlation)
    held = np.array([most_held(lots, edges_s, each) for lots in promises.fixed])
    # What nobody knows is not promised.
    capacity = np.where(promises.capacity == UNKNOWN, 0, promises.capacity) * SHARD
    reserved = np.zeros(hosts.capacity.shape) if problem.reserved is None else problem.reserved
    per_load = problem.costs.per_load
    if per_load is not None:
        per_load = np.hstack([per_load, np.zeros((len(hosts.ids), n_columns))])
    fleet = replace(
        problem.fleet,
        hosts=replace(hosts, capacity=np.hstack([hosts.capacity, np.tile(capacity, n_slots)])),
        vms=replace(
            vms,
            mean=np.hstack([vms.mean, mean.reshape(n_vms, n_columns)]),
            deviation=np.hstack([vms.deviation, deviation.reshape(n_vms, n_columns)]),
        ),
    )
    return replace(
        problem,
        fleet=fleet,
        chance=replace(
            chance, correlation=np.append(chance.correlation, np.tile(correlation, n_slots))
        ),
        costs=replace(problem.costs, per_load=per_load),
        reserved=np.hstack([reserved, held.reshape(len(hosts.ids), n_columns)]),
        n_slots=problem.n_slots + n_slots,
        n_promised=n_slots,
        promises=promises,
    )


def _wanted(lots: Iterable[Lot], edges_s: Sequence[int]) -> tuple[F64, F64]:
    """(S, R) the largest mean and the largest deviation of a VM's lots in each stretch."""
    profile = Profile.of(lots)
    levels = profile.levels
    mean = (levels[..., FIRM] * MILLI + levels[..., MEAN]) * SHARD / MILLI
    deviation = levels[..., DEVIATION] * SHARD / MILLI
    rows = _rows(profile, edges_s)
    return (
        np.array([mean[part].max(axis=0) for part in rows]),
        np.array([deviation[part].max(axis=0) for part in rows]),
    )


def most_held(lots: Sequence[Lot], edges_s: Sequence[int], chance: Chance) -> F64:
    """(S, R) what a host has to hold for these lots alone, at most in each stretch."""
    if not lots:
        return np.zeros((len(edges_s) - 1, N_RESOURCES))
    profile = Profile.of(lots)
    need = committed(profile.levels, chance) * SHARD / MILLI
    return np.array([need[part].max(axis=0) for part in _rows(profile, edges_s)])


def _rows(profile: Profile, edges_s: Sequence[int]) -> list[slice]:
    return [profile.rows(a, b) for a, b in pairwise(edges_s)]
