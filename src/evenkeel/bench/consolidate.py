"""Which hosts of a fleet could be emptied: time, moves, hosts, beside simpler ways and the floor.

All ways are held to the same accepted risk in all slots; the independent checker replays the plan.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np

from evenkeel.bench.consolidate_fleet import EPSILON, SLOTS, make_problem
from evenkeel.domain.arrays import Ints
from evenkeel.domain.resources import MEMORY_AXIS
from evenkeel.envelope import Result
from evenkeel.placement.anew import packed_anew
from evenkeel.placement.bound import Bound, bound
from evenkeel.placement.check import check
from evenkeel.placement.consolidate import consolidate, rebalance
from evenkeel.placement.fleet import NOWHERE
from evenkeel.placement.packing import Packing
from evenkeel.placement.problem import Problem

REBALANCES: Final = 5

OnStep = Callable[[str], None]


def bench_consolidate(n_hosts: int, n_vms: int, seed: int, report: OnStep) -> Result:
    """A plan for `n_hosts` hosts with `n_vms` VMs."""
    began_s = time.perf_counter()
    report("making a fleet")
    problem = make_problem(n_hosts, n_vms, np.random.default_rng(seed))
    report("planning")
    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    blind = replace(problem, costs=replace(problem.costs, lost=0.0))
    plan = consolidate(problem)
    plan_s, plan_cpu_s = time.perf_counter() - start_s, time.process_time() - start_cpu_s
    report("the same, with contention left aside")
    unaware_s = time.process_time()
    unaware = consolidate(blind)
    unaware_s = time.process_time() - unaware_s
    report("checking")
    start_s = time.perf_counter()
    refusals = check(problem, plan)
    check_s = time.perf_counter() - start_s
    start_s = time.perf_counter()
    floor = bound(problem)
    bound_s = time.perf_counter() - start_s
    freed = plan.before.n_in_use - plan.after.n_in_use
    metrics: dict[str, float] = {
        "hosts": n_hosts,
        "vms": n_vms,
        "plan_s": plan_s,
        "plan_cpu_s": plan_cpu_s,
        "check_s": check_s,
        "bound_s": bound_s,
        "refusals": len(refusals),
        "waves": plan.n_waves,
        "floor_hosts": floor.n_hosts,
        "floor_cost_per_h": floor.cost_per_h,
        "floor_moves": fewest_moves(problem, freed),
        "at_risk_before": plan.before.n_at_risk,
        "at_risk_after": plan.after.n_at_risk,
        "worst_odds_after": plan.after.worst_odds,
        "relief_ms": _relief_ms(problem),
        "lost_before_pct": 100.0 * plan.before.lost,
        "lost_after_pct": 100.0 * plan.after.lost,
    }
    metrics |= _judged(problem, plan.host, floor)
    baselines = {
        "contention left aside": {
            "plan_cpu_s": unaware_s,
            "lost_after_pct": 100.0 * unaware.after.lost,
        }
        | _judged(problem, unaware.host, floor)
    }
    for name, way in (("first-fit decreasing, all anew", packed_anew), ("emptiest first", drained)):
        report(name)
        start_s = time.perf_counter()
        host = way(problem)
        took_s = time.perf_counter() - start_s
        baselines[name] = {"plan_s": took_s} | _judged(problem, host, floor)
    return Result(
        name="consolidate",
        seconds=time.perf_counter() - began_s,
        seed=seed,
        metrics=metrics,
        baselines=baselines,
        detail={
            "slots": SLOTS,
            "epsilon": EPSILON,
            "floor_hosts_by_resource_and_slot": floor.by_column.tolist(),
            "left": {str(h): str(why) for h, why in plan.left.items()},
        },
    )


def _judged(problem: Problem, host: Ints, floor: Bound) -> dict[str, float]:
    """What a way leads to, whoever found it."""
    was, costs = problem.fleet.vms.host, problem.costs
    n_before, used = len(np.unique(was[was != NOWHERE])), np.unique(host[host != NOWHERE])
    n_after, moved = len(used), host != was
    cost = float(costs.in_use[used].sum())
    fits = replace(problem.fleet, vms=replace(problem.fleet.vms, host=host))
    room = replace(fits, hosts=replace(fits.hosts, capacity=problem.room()))
    return {
        "hosts_before": n_before,
        "hosts_after": n_after,
        "freed": n_before - n_after,
        "cost_per_h": cost,
        "gap_pct": 100.0 * floor.gap(cost),
        "moves": int(moved.sum()),
        "moves_per_freed": float(moved.sum() / max(n_before - n_after, 1)),
        "moved_gib": float(problem.fleet.vms.mean[moved, MEMORY_AXIS].sum() / 1024),
        "exempt_moved": int((moved & problem.fleet.vms.exempt).sum()),
        "hosts_at_risk": int((~room.fits(problem.chance)).sum()),
    }


def fewest_moves(problem: Problem, freed: int) -> int:
    """No way to free so many hosts has fewer: the hosts with the fewest VMs are emptied."""
    host = problem.fleet.vms.host
    counts = np.bincount(host[host != NOWHERE], minlength=len(problem.fleet.hosts.ids))
    return int(np.sort(counts[counts > 0])[:freed].sum())


def _relief_ms(problem: Problem) -> float:
    """The median time to find that no host is at risk, or to relieve the few that are."""
    took = []
    for _ in range(REBALANCES):
        start_s = time.perf_counter()
        rebalance(problem)
        took.append((time.perf_counter() - start_s) * 1e3)
    return float(np.median(took))


def drained(problem: Problem) -> Ints:
    """The host with the fewest VMs is emptied onto the first that have room, then the next."""
    packing = Packing(problem)
    tried = np.zeros(len(packing.n_vms), dtype=bool)
    while True:
        waits = np.flatnonzero((packing.n_vms > 0) & ~tried)
        if not len(waits):
            return packing.host
        source = int(waits[np.argmin(packing.n_vms[waits])])
        tried[source] = True
        targets = packing.targets()
        targets = targets[targets != source]
        mark, vms = len(packing.moves), packing.on(source)
        if not packing.movable[vms].all():
            continue
        for vm in vms.tolist():
            able = packing.fits(np.array([vm]), targets)[0]
            forbidden = packing.forbidden(vm)
            if forbidden is not None:
                able &= ~forbidden[targets]
            if not able.any():
                packing.undo(mark)
                break
            packing.move(vm, int(targets[np.argmax(able)]))
