"""The quick score against the contention model itself, on hosts that contend.

The fleet is the one of `bench contention`: more is sold than there is, and most hosts are short of
something at times. A host's true cost for a newcomer is what the model says that all on it lose
more, the newcomer included, in parts of the host. What matters is the cost of the host that was
chosen: how much more than the least of all hosts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import numpy as np

from evenkeel.bench.contention import MadeFleet, make_fleet
from evenkeel.domain.arrays import F32, F64
from evenkeel.domain.ids import HostId, VmId
from evenkeel.domain.placement import Newcomer, Placed
from evenkeel.domain.quantiles import QUANTILES, moments
from evenkeel.interference.candidate import Candidate, Standing, candidate, standing
from evenkeel.interference.fleet_rows import FLEET_ROWS, fleet_rows
from evenkeel.placement.allocate import Allocator, Taste
from evenkeel.placement.fleet import Chance, Hosts
from evenkeel.placement.rules import Neighbours
from evenkeel.placement.slices import Layout, Load, Slices

ASKED: Final = 200
ANY_RISK: Final = Chance(0.49, np.array([0.0, 0.0, 0.0, 0.0]))
"""No host is ruled out by what it may run short of: the question is where it hurts least."""


def bench_exact(
    n_hosts: int, n_vms: int, seed: int, report: Callable[[str], None]
) -> dict[str, float]:
    """Costs in percent of a host, and how alike the two rank hosts."""
    report("the quick score against the contention model")
    rng = np.random.default_rng(seed)
    fleet = make_fleet(n_hosts, n_vms, rng)
    rows = fleet_rows(fleet.quantiles, fleet.background)
    kept = standing(fleet.shape, rows, fleet.traits)
    aware, blind = allocator_of(fleet, Taste()), allocator_of(fleet, Taste(aware=False))
    told: dict[str, list[float]] = {name: [] for name in ("best", "quick", "of8", "blind", "any")}
    alike, exact_ms = [], []
    for i in range(ASKED):
        host, place = int(rng.integers(n_hosts)), int(rng.integers(n_vms))
        start_s = time.perf_counter()
        cost = true_cost(kept, fleet, host, place)
        exact_ms.append(1e3 * (time.perf_counter() - start_s))
        vm = newcomer_of(fleet, host, place, f"new{i}")
        quick, packed = aware.decide(vm), blind.decide(vm)
        if not isinstance(quick, Placed) or not isinstance(packed, Placed):
            continue
        finalists = [int(option.host) for option in quick.options]
        fits = np.flatnonzero(np.isfinite(aware.scores(vm)[0]))
        told["best"].append(cost[fits].min())
        told["quick"].append(cost[finalists[0]])
        told["of8"].append(cost[finalists].min())
        told["blind"].append(cost[int(packed.chosen.host)])
        told["any"].append(cost[rng.choice(fits)])
        alike.append(_rank_correlation(cost[fits], aware.scores(vm)[1][fits]))
    out = {f"cost_{name}_pct": 100.0 * float(np.mean(values)) for name, values in told.items()}
    out["same_within_0.1pct"] = float(
        np.mean(np.array(told["quick"]) <= np.array(told["best"]) + 0.001)
    )
    return out | {
        "rank_correlation": float(np.mean(alike)),
        "exact_ms": float(np.median(exact_ms)),
        "asked": float(len(alike)),
    }


def allocator_of(fleet: MadeFleet, taste: Taste) -> Allocator:
    """The fleet as placement sees it: of each host a slice, of each VM mean and deviation."""
    n_hosts, n_vms = fleet.pattern.shape
    capacity = np.where(fleet.shape.capacity > 0, fleet.shape.capacity, np.inf)
    ids = tuple(HostId(str(h)) for h in range(n_hosts))
    hosts = Hosts(ids, capacity, np.ones(n_hosts, dtype=bool), np.arange(n_hosts))
    out = Allocator(
        Slices(Layout.of(hosts), ANY_RISK), Neighbours(hosts.ids, hosts.fault_domain), taste
    )
    for h in range(n_hosts):
        for v in range(n_vms):
            vm = newcomer_of(fleet, h, v, f"{h}-{v}")
            out.put(vm, Load.of(vm), h, h)
    return out


def newcomer_of(fleet: MadeFleet, host: int, place: int, name: str) -> Newcomer:
    """One like this VM of the fleet."""
    _, vms = fleet.hosts[host]
    n_vcpus = vms[place].n_vcpus
    mean, deviation = moments(fleet.quantiles[host, place])
    mean[0] = min(mean[0], n_vcpus)
    return Newcomer(
        VmId(name),
        n_vcpus,
        vms[place].memory_mib,
        tuple(mean.tolist()),
        tuple(deviation.tolist()),
    )


def true_cost(kept: Standing, fleet: MadeFleet, host: int, place: int) -> F64:
    """(H,) what all lose more with one like this VM there, in parts of the host."""
    at = (np.arange(FLEET_ROWS) + 0.5) / FLEET_ROWS
    demand = np.stack([np.interp(at, QUANTILES, of) for of in fleet.quantiles[host, place]], axis=1)
    traits = fleet.traits
    welcome = candidate(
        kept,
        Candidate(
            int(fleet.shape.n_vcpus[host, place]),
            demand,
            fleet.shape.weight[host, place],
            traits.sensitivity[host, place].astype(np.float64),
            traits.pressure[host, place].astype(np.float64),
        ),
    )
    own = welcome.score / 100.0 * demand.mean(axis=0)
    capacity = np.where(fleet.shape.capacity > 0, fleet.shape.capacity, np.inf)
    return np.asarray(np.nan_to_num((welcome.residents_lost + own) / capacity).sum(axis=1))


def _rank_correlation(one: F64, other: F32) -> float:
    """Spearman's."""
    ranks = [np.argsort(np.argsort(values)).astype(float) for values in (one, other)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])
