"""What a planner of moves is asked: the fleet, the risk that is accepted, what things cost, limits.

Time ahead has no axis of its own: a resource in a later slot is one more thing that must not run
short, so `over_slots` lays S slots of R resources out as K = S R columns of one fleet (slot 0
first), and everything that works on a fleet works on the calendar. With a single slot K is R.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from evenkeel.domain.arrays import F64, Bools, Ints
from evenkeel.domain.errors import InvalidRequest
from evenkeel.domain.shard import Lot
from evenkeel.placement.company import Company
from evenkeel.placement.fleet import Chance, Fleet

NO_LIMIT: Final = 1 << 60


@dataclass(frozen=True, slots=True, eq=False)
class Costs:
    """In any one unit (watt hours, money, hosts).

    `in_use` (H,) an hour of a host that has a VM; `per_load` (H, K) an hour of a unit of mean
    demand there (a power curve's slope: give it in one slot, or divide it by the slots); `move`
    (V,) once, of moving a VM: memory to be sent, and the risk. `lost`: an hour in which the work
    of a whole host is lost to contention; 0: contention is told and not weighed.
    """

    in_use: F64
    move: F64
    per_load: F64 | None = None
    lost: float = 0.0

    @classmethod
    def plain(cls, fleet: Fleet, move: float = 0.01) -> Costs:
        """Of hosts and moves that are all alike, in hosts."""
        n_hosts, n_vms = len(fleet.hosts.ids), len(fleet.vms.ids)
        return cls(np.ones(n_hosts), np.full(n_vms, move))


@dataclass(frozen=True, slots=True)
class Limits:
    """`moves` of a plan; `inflow`: VMs that one host takes in a plan; `at_once`: migrations that
    one host is part of at the same time; `payback_h`: hours within which what a plan saves makes
    up for its moves; `cooldown_s`: since a VM was moved last."""

    moves: int = NO_LIMIT
    inflow: int = NO_LIMIT
    at_once: int = 2
    payback_h: float = 24.0
    cooldown_s: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Promises:
    """From `now_s` on. `capacity` (H, R) in shards, `UNKNOWN` where nobody knows; `carried`: by VM
    the lots that it has on its host, which go where it goes; `fixed` (H): all others."""

    now_s: int
    capacity: Ints
    fixed: tuple[tuple[Lot, ...], ...]
    carried: Mapping[int, tuple[Lot, ...]]


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """`reserved` (H, K): firm demand that others hold there; `since_moved_s` (V,): inf for never;
    `keep_on` (H,): hosts not to be emptied; `drain` (H,): hosts to be emptied whatever it costs,
    which take nobody; `n_slots` of the columns, of which the last `n_promised` are
    of what is promised and not of what is wanted; `promises`: the lots of these one by one, for
    the checker."""

    fleet: Fleet
    chance: Chance
    costs: Costs
    limits: Limits = Limits()
    reserved: F64 | None = None
    since_moved_s: F64 | None = None
    company: Company | None = None
    keep_on: Bools | None = None
    drain: Bools | None = None
    n_slots: int = 1
    n_promised: int = 0
    promises: Promises | None = None

    def room(self) -> F64:
        """(H, K) capacity that is not reserved."""
        capacity = self.fleet.hosts.capacity
        if self.reserved is None:
            return capacity
        # A reservation on a host that has less is a reservation broken already: no room at all.
        return np.asarray(np.maximum(capacity - self.reserved, 0.0))

    def n_wanted(self) -> int:
        """How many columns, the first ones, are of demand."""
        n_columns = int(self.fleet.hosts.capacity.shape[1])
        return n_columns // self.n_slots * (self.n_slots - self.n_promised)

    def is_open(self) -> Bools:
        """(H,) hosts that take VMs."""
        is_open = self.fleet.hosts.is_open
        return is_open if self.drain is None else np.asarray(is_open & ~self.drain)

    def movable(self) -> Bools:
        """(V,) VMs that are somewhere, are not exempt and have rested."""
        vms = self.fleet.vms
        free = (vms.host >= 0) & ~vms.exempt
        if self.since_moved_s is not None:
            free &= self.since_moved_s >= self.limits.cooldown_s
        return free

    def checked(self) -> Problem:
        """Itself; raises InvalidRequest where shapes or values make no sense."""
        _check(self)
        return self


def over_slots(fleet: Fleet, mean: F64, deviation: F64, reserved: F64 | None = None) -> Problem:
    """The fleet over S slots, at plain costs; `dataclasses.replace` what should differ.

    Parameters
    ----------
    fleet : its capacities hold in every slot; its own demand is not looked at
    mean, deviation : (S, V, R) of each VM's demand
    reserved : (S, H, R) firm demand of reservations, by slot
    """
    if mean.ndim != 3 or deviation.shape != mean.shape:
        raise InvalidRequest("demand ahead is (slots, VMs, resources), mean and deviation alike")
    n_slots, n_vms, n_resources = mean.shape
    n_hosts = len(fleet.hosts.ids)
    wide = Fleet(
        replace(fleet.hosts, capacity=np.tile(fleet.hosts.capacity, (1, n_slots))),
        replace(
            fleet.vms,
            mean=mean.transpose(1, 0, 2).reshape(n_vms, n_slots * n_resources),
            deviation=deviation.transpose(1, 0, 2).reshape(n_vms, n_slots * n_resources),
        ),
    )
    held = None
    if reserved is not None:
        if reserved.shape != (n_slots, n_hosts, n_resources):
            raise InvalidRequest("reservations are (slots, hosts, resources)")
        held = reserved.transpose(1, 0, 2).reshape(n_hosts, n_slots * n_resources)
    chance = Chance(0.01, np.zeros(n_slots * n_resources))
    return Problem(wide, chance, Costs.plain(wide), reserved=held, n_slots=n_slots)


def _check(problem: Problem) -> None:
    hosts, vms, costs = problem.fleet.hosts, problem.fleet.vms, problem.costs
    n_hosts, n_vms = len(hosts.ids), len(vms.ids)
    n_columns = hosts.capacity.shape[1]
    shapes: tuple[tuple[str, Any, tuple[int, ...]], ...] = (
        ("capacity", hosts.capacity, (n_hosts, n_columns)),
        ("mean demand", vms.mean, (n_vms, n_columns)),
        ("deviation", vms.deviation, (n_vms, n_columns)),
        ("a VM's host", vms.host, (n_vms,)),
        ("correlation", problem.chance.correlation, (n_columns,)),
        ("cost in use", costs.in_use, (n_hosts,)),
        ("cost of load", costs.per_load, (n_hosts, n_columns)),
        ("cost of a move", costs.move, (n_vms,)),
        ("reserved", problem.reserved, (n_hosts, n_columns)),
        ("time since a move", problem.since_moved_s, (n_vms,)),
        ("hosts kept on", problem.keep_on, (n_hosts,)),
        ("hosts to be emptied", problem.drain, (n_hosts,)),
    )
    for name, array, shape in shapes:
        if array is None:
            continue
        if array.shape != shape:
            raise InvalidRequest(f"{name} has shape {array.shape}, and not {shape}")
        if array.dtype.kind == "f" and not bool((array >= 0).all()):
            raise InvalidRequest(f"{name} is negative or unknown (NaN) somewhere")
    if not np.isfinite(vms.mean).all() or not np.isfinite(vms.deviation).all():
        raise InvalidRequest("somebody's demand is not finite")
    if n_vms and (vms.host.max() >= n_hosts or vms.host.min() < -1):
        raise InvalidRequest("a VM is on a host that is not in the fleet")
    if not 0 < problem.chance.epsilon < 0.5:
        raise InvalidRequest("the accepted risk is a probability above 0 and below 0.5")
    if (problem.chance.correlation > 1).any():
        raise InvalidRequest("a correlation is between 0 and 1")
    limits = problem.limits
    if min(limits.moves, limits.inflow, limits.at_once) < 0 or limits.at_once == 0:
        raise InvalidRequest("limits are not negative, and one migration at once is the least")
    if not limits.payback_h >= 0:
        raise InvalidRequest("hours of payback are not negative")
    if not 0 <= costs.lost < np.inf:
        raise InvalidRequest("the price of lost work is a number, not below 0")
    if problem.n_slots < 1 or n_columns % problem.n_slots:
        raise InvalidRequest(f"{n_columns} columns are not {problem.n_slots} slots")
