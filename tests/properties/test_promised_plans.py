"""Laws of plans on hosts that have promised their room: the calendar itself takes every move."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from plans_made import a_plan, a_problem

from evenkeel.controller.plans import settled
from evenkeel.domain.ids import HostId, TenantId
from evenkeel.domain.resources import AXIS, N_RESOURCES, SPECS
from evenkeel.domain.shard import Demand, Location, Lot, LotId, PerformanceClass
from evenkeel.placement.best import propose
from evenkeel.placement.calendar import UNKNOWN, Calendar, Lots, capacity_shards
from evenkeel.placement.check import RefusalCode, check
from evenkeel.placement.fleet import Chance
from evenkeel.placement.problem import Promises
from evenkeel.placement.promise_columns import with_promises

NOW_S, HOUR_S, FOR_EVER_S = 1_000_000, 3600, 1 << 40
EDGES = [NOW_S, NOW_S + HOUR_S, NOW_S + 24 * HOUR_S, FOR_EVER_S]
seeds = st.integers(0, 2**32 - 1)


def a_lot(rng, name, host):
    resource = AXIS[int(rng.integers(0, 2))]
    shard = SPECS[resource].shard
    n = int(rng.integers(1, 41))
    start_s = NOW_S + int(rng.integers(-2, 40)) * HOUR_S
    kind = PerformanceClass(rng.choice([k.value for k in PerformanceClass]))
    demand = ()
    if kind is PerformanceClass.SHARED and rng.random() < 0.7:
        steps = [start_s, start_s + 3 * HOUR_S][: int(rng.integers(1, 3))]
        demand = tuple(
            Demand.of(resource, n * shard * rng.uniform(0, 0.5), n * shard * 0.2 * rng.random(), s)
            for s in steps
        )
    end_s = max(start_s + int(rng.integers(1, 60)) * HOUR_S, NOW_S + 1)
    at = Location(HostId(f"h{host}"))
    return Lot(LotId(name), at, resource, n, start_s, end_s, kind, TenantId("t"), demand)


def promised(rng, n_hosts, n_vms):
    """Hosts of four cores and 4 GiB on which VMs want little, and have lots; and others have."""
    host = rng.integers(0, n_hosts, n_vms)
    mean = np.zeros((n_vms, N_RESOURCES))
    mean[:, 0] = rng.uniform(0, 0.5, n_vms)
    capacity = np.full((n_hosts, N_RESOURCES), np.inf)
    capacity[:, :2] = [4.0, 4096.0]
    problem = a_problem(host, mean, capacity)
    chance = Chance(0.01, np.array([0.2, 0.0, 0.1, 0.1]))
    carried = {
        vm: tuple(a_lot(rng, f"v{vm}.{k}", host[vm]) for k in range(rng.integers(1, 3)))
        for vm in range(n_vms)
        if rng.random() < 0.7
    }
    fixed = tuple(
        tuple(a_lot(rng, f"h{h}.{k}", h) for k in range(rng.integers(0, 3))) for h in range(n_hosts)
    )
    told = capacity_shards({AXIS[0]: 4.0, AXIS[1]: 4096.0})
    promises = Promises(NOW_S, np.tile(told, (n_hosts, 1)), fixed, carried)
    return with_promises(replace(problem, chance=chance), promises, EDGES)


def calendar_of(problem):
    """The claims' own books of these hosts."""
    promises, ids = problem.promises, problem.fleet.hosts.ids
    correlation = problem.chance.correlation[:N_RESOURCES]
    calendar = Calendar(Chance(problem.chance.epsilon, correlation))
    for h, host in enumerate(ids):
        lots = list(promises.fixed[h])
        for vm, mine in promises.carried.items():
            lots += mine if problem.fleet.vms.host[vm] == h else ()
        calendar.open(host, promises.capacity[h], lots)
    return calendar


def does(problem, calendar, plan):
    """Whether the calendar takes the moves, one after the other, from now on."""
    ids = problem.fleet.hosts.ids
    for move in plan.moves:
        lots = problem.promises.carried.get(move.vm, ())
        ahead = tuple(replace(lot, start_s=max(lot.start_s, NOW_S)) for lot in lots)
        changes = {ids[move.target]: Lots(added=ahead), ids[move.source]: Lots(removed=ahead)}
        if ahead and calendar.change(changes, FOR_EVER_S) is not None:
            return False
    return True


@settings(max_examples=60)
@given(seeds, st.integers(2, 5), st.integers(1, 10))
def test_the_calendar_takes_every_plan(seed, n_hosts, n_vms):
    problem = promised(np.random.default_rng(seed), n_hosts, n_vms)
    plan = settled(problem, propose).plan
    assert check(problem, plan) == ()
    assert does(problem, calendar_of(problem), plan)
    moved = {move.vm for move in plan.moves}
    carried = problem.promises.carried
    assert plan.lots == {vm: tuple(x.id for x in carried[vm]) for vm in moved & set(carried)}


@settings(max_examples=100)
@given(seeds, st.integers(2, 3), st.integers(1, 5))
def test_the_checker_and_the_calendar_agree(seed, n_hosts, n_vms):
    """One move: the one adds up lots by itself, the other keeps a profile."""
    rng = np.random.default_rng(seed)
    problem = promised(rng, n_hosts, n_vms)
    vm, target = int(rng.integers(0, n_vms)), int(rng.integers(0, n_hosts))
    if target == problem.fleet.vms.host[vm]:
        return
    lots = tuple(lot.id for lot in problem.promises.carried.get(vm, ()))
    plan = replace(a_plan(problem, [(vm, target)]), lots={vm: lots} if lots else {})
    refused = RefusalCode.LOTS in {refusal.code for refusal in check(problem, plan)}
    assert refused != does(problem, calendar_of(problem), plan)


def test_a_lot_that_is_left_behind_is_refused():
    rng = np.random.default_rng(5)
    problem = promised(rng, 2, 4)
    vm = next(iter(problem.promises.carried))
    plan = a_plan(problem, [(vm, 1 - int(problem.fleet.vms.host[vm]))])
    assert RefusalCode.LOTS in {refusal.code for refusal in check(problem, plan)}


def test_what_nobody_knows_is_not_promised():
    """A host of which the capacity is not known takes no lot of it."""
    problem = promised(np.random.default_rng(1), 2, 3)
    promises = problem.promises
    unknown = replace(promises, capacity=np.full_like(promises.capacity, UNKNOWN), fixed=((), ()))
    firm = Lot(
        LotId("x.0"), Location(HostId("h0")), AXIS[0], 1, NOW_S, NOW_S + 9, PerformanceClass.PINNED,
        TenantId("t"),
    )  # fmt: skip
    unknown = replace(unknown, carried={0: (firm,)})
    problem = replace(problem, promises=unknown)
    target = 1 - int(problem.fleet.vms.host[0])
    plan = replace(a_plan(problem, [(0, target)]), lots={0: (firm.id,)})
    assert RefusalCode.LOTS in {refusal.code for refusal in check(problem, plan)}
