"""Small fleets for planners of moves: by hand, and drawn at random."""

from dataclasses import replace

import numpy as np

from evenkeel.domain.ids import HostId, VmId
from evenkeel.placement.company import Company
from evenkeel.placement.fleet import Chance, Fleet, Hosts, Move, Vms
from evenkeel.placement.plan import MovePlan, outlook
from evenkeel.placement.problem import Costs, Limits, Problem


def a_fleet(host, mean, capacity, deviation=None, domain=None):
    """`mean` (V, R), `capacity` (H, R) as lists."""
    mean, capacity = np.array(mean, dtype=float), np.array(capacity, dtype=float)
    n_hosts, n_vms = len(capacity), len(mean)
    return Fleet(
        Hosts(
            tuple(HostId(f"h{i}") for i in range(n_hosts)),
            capacity,
            np.ones(n_hosts, dtype=bool),
            np.arange(n_hosts) if domain is None else np.array(domain),
        ),
        Vms(
            tuple(VmId(f"vm{i}") for i in range(n_vms)),
            np.array(host, dtype=np.intp),
            mean,
            np.zeros_like(mean) if deviation is None else np.array(deviation, dtype=float),
            np.zeros(n_vms, dtype=np.intp),
            np.zeros(n_vms, dtype=bool),
        ),
    )


def a_problem(host, mean, capacity, *, deviation=None, domain=None, move=0.01, **other):
    fleet = a_fleet(host, mean, capacity, deviation, domain)
    chance = Chance(0.01, np.zeros(fleet.hosts.capacity.shape[1]))
    return replace(Problem(fleet, chance, Costs.plain(fleet, move)), **other)


def with_vms(problem, **changed):
    return replace(problem, fleet=replace(problem.fleet, vms=replace(problem.fleet.vms, **changed)))


def with_hosts(problem, **changed):
    return replace(
        problem, fleet=replace(problem.fleet, hosts=replace(problem.fleet.hosts, **changed))
    )


def a_plan(problem, moves, wave=None):
    """As a planner would hand it in; `moves` of (vm, target)."""
    host = problem.fleet.vms.host.copy()
    made = []
    for vm, target in moves:
        known = 0 <= vm < len(host)
        made.append(Move(vm, int(host[vm]) if known else 0, target))
        if known:
            host[vm] = target
    now = outlook(problem, problem.fleet.vms.host)
    wave = np.arange(len(made)) if wave is None else np.array(wave, dtype=np.intp)
    return MovePlan(tuple(made), wave, host, now, now, 0.0, {})


def at_random(rng, n_hosts, n_vms, *, rules=True):
    """A fleet with everything in it: kinds of hosts, tails, reservations, groups, limits."""
    capacity = rng.choice([4.0, 6.0, 9.0], (n_hosts, 1)) * np.array([1.0, 2.0])
    mean = rng.gamma(1.5, 0.5, (n_vms, 2))
    host = rng.integers(-1 if rules else 0, n_hosts, n_vms)
    problem = a_problem(host, mean, capacity, deviation=mean * rng.uniform(0, 0.8, mean.shape))
    chance = Chance(float(rng.choice([0.01, 0.1])), rng.uniform(0, 0.4, 2))
    costs = Costs(
        rng.uniform(0.5, 2.0, n_hosts),
        rng.uniform(0, 0.5, n_vms),
        rng.uniform(0, 0.1, (n_hosts, 2)) * np.array([1.0, 0.0]),
    )
    problem = replace(problem, chance=chance, costs=costs)
    if not rules:
        return problem
    n_members = int(rng.integers(0, n_vms + 1))
    problem = with_vms(problem, exempt=rng.random(n_vms) < 0.1, tenant=rng.integers(0, 3, n_vms))
    problem = with_hosts(
        problem, is_open=rng.random(n_hosts) < 0.9, fault_domain=rng.integers(0, 3, n_hosts)
    )
    return replace(
        problem,
        costs=replace(costs, lost=float(rng.choice([0.0, 1.0, 100.0]))),
        limits=Limits(
            moves=int(rng.integers(1, 30)),
            inflow=int(rng.integers(1, 8)),
            at_once=int(rng.integers(1, 4)),
            payback_h=float(rng.choice([0.5, 24.0])),
            cooldown_s=300.0,
        ),
        reserved=rng.uniform(0, 1.0, (n_hosts, 2)) * (rng.random((n_hosts, 2)) < 0.3),
        since_moved_s=rng.choice([60.0, np.inf], n_vms, p=[0.1, 0.9]),
        company=company_at_random(rng, n_hosts, n_vms, n_members),
        keep_on=rng.random(n_hosts) < 0.05,
        drain=rng.random(n_hosts) < 0.1 if rng.random() < 0.5 else None,
    )


def company_at_random(rng, n_hosts, n_vms, n_members):
    """Groups that keep apart, and now and then every other kind of rule."""
    group = rng.integers(0, 4, n_members)
    member = rng.integers(0, max(n_vms, 1), n_members)
    apart = Company.apart_by(member, group, np.array([True, False, False, False]))
    if rng.random() < 0.3 or not n_vms:
        return apart
    n_rules = int(rng.integers(0, 8))
    some = rng.integers(0, n_vms, n_rules)
    listed = {
        int(vm): rng.random(n_hosts) < 0.5 for vm in rng.integers(0, n_vms, rng.integers(0, 3))
    }
    return replace(
        apart,
        vm=np.concatenate([apart.vm[: n_members // 2], some]),
        of=np.concatenate([apart.of[: n_members // 2], rng.integers(0, 5, n_rules)]),
        apart=np.concatenate([apart.apart[: n_members // 2], rng.random(n_rules) < 0.3]),
        by_domain=np.concatenate([apart.by_domain[: n_members // 2], rng.random(n_rules) < 0.4]),
        alone=rng.random(n_vms) < 0.1 if rng.random() < 0.4 else None,
        barred=listed,
    )
