"""How many hosts a stream of arrivals and departures takes: ours, and the usual heuristics.

Sizes, times and lifetimes are the trace's; a lifetime is the middle of its bin. What VMs do with
their vCPUs is not in it and is made up (a burst of one tenant behaves alike): it decides nothing
but contention. The bound is of the linear programme: all that is sold at an instant, by the
resource of which most of a host is needed; no policy can use fewer hosts, at the peak or over time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np

from evenkeel.adapters.traces import azure
from evenkeel.domain.arrays import F64, Ints
from evenkeel.domain.ids import HostId
from evenkeel.domain.resources import N_RESOURCES
from evenkeel.envelope import Result
from evenkeel.placement.allocate import Allocator, Stay, Taste
from evenkeel.placement.fleet import Chance, Hosts
from evenkeel.placement.kernels import DEVIATION, GRAIN, LEFTOVER, MEAN, N_SUMS, PROMISED, VARIANCE
from evenkeel.placement.rules import Neighbours
from evenkeel.placement.slices import Layout, Load, Slices

SHORTEST_S: Final = 150.0
SOLD, MEMORY, DEMAND = 0, 1, 2
"""Axes here: vCPUs and GiB as sold, which must fit, and cores as demanded, which may contend."""
CHANCE: Final = Chance(0.01, np.full(N_RESOURCES, 0.1))
MEAN_USE: Final = 0.25


@dataclass(frozen=True, slots=True, eq=False)
class Arrivals:
    """N VMs by arrival: `start_s` and `end_s` (N,), `size` (N, 2) vCPUs and GiB, `demand` (N,)
    cores and its `deviation` (N,)."""

    start_s: F64
    end_s: F64
    size: F64
    demand: F64
    deviation: F64


@dataclass(frozen=True, slots=True)
class HostKind:
    """`vcpus` and `gib` that are sold of a host with `cpus`."""

    cpus: float
    vcpus: float
    gib: float

    @property
    def size(self) -> F64:
        return np.array([self.vcpus, self.gib])


class Policy(Protocol):
    def choose(self, i: int) -> int:
        """The host of VM i."""
        ...

    def remove(self, i: int) -> None: ...


def read_arrivals(path: Path, limit: int, rng: np.random.Generator) -> Arrivals:
    """The first `limit` arrivals (0: all), with demand made up. Raises TraceInvalid."""
    all_of = azure.read_arrivals(path)
    seen = all_of.only(np.arange(len(all_of)) < (limit or len(all_of)))
    n_bursts, burst = int(seen.burst.max()) + 1, seen.burst
    use = rng.gamma(1.2, MEAN_USE / 1.2, n_bursts).clip(0.01, 1.0)[burst]
    varies = rng.uniform(0.2, 1.2, n_bursts)[burst]
    # Kinds rather than persons: that is how demand is forecast, and what is kept by kind.
    use, varies = np.ceil(use * 20) / 20, np.ceil(varies * 3) / 3
    return Arrivals(
        seen.start_s,
        seen.start_s + np.maximum(seen.life_s, SHORTEST_S),
        np.column_stack([seen.vcpus, seen.memory_gib]),
        use * seen.vcpus,
        use * varies * seen.vcpus,
    )


class Ours:
    """The allocator, on slices whose axes are those of this benchmark."""

    def __init__(self, arrivals: Arrivals, kind: HostKind, n_hosts: int, taste: Taste) -> None:
        self._arrivals = arrivals
        capacity = np.full((n_hosts, N_RESOURCES), np.inf)
        capacity[:, [SOLD, MEMORY]] = kind.size
        capacity[:, DEMAND] = kind.cpus
        ids = tuple(HostId(str(h)) for h in range(n_hosts))
        hosts = Hosts(ids, capacity, np.ones(n_hosts, dtype=bool), np.arange(n_hosts))
        self.slices = Slices(Layout.of(hosts), CHANCE)
        self._allocator = Allocator(self.slices, Neighbours(ids, hosts.fault_domain), taste)
        self._where: dict[int, int] = {}

    def load(self, i: int) -> Load:
        sums, kinds = np.zeros((N_RESOURCES, N_SUMS)), np.full(N_RESOURCES, PROMISED, np.intp)
        kinds[DEMAND] = LEFTOVER
        demand, deviation = self._arrivals.demand[i], self._arrivals.deviation[i]
        sums[[SOLD, MEMORY], MEAN] = self._arrivals.size[i]
        sums[DEMAND, MEAN], sums[DEMAND, VARIANCE] = demand, deviation**2
        sums[DEMAND, DEVIATION] = deviation
        sums[DEMAND, GRAIN] = demand * (1.0 - demand / self._arrivals.size[i, SOLD])
        return Load(sums, np.zeros(N_RESOURCES), kinds)

    def choose(self, i: int) -> int:
        load = self.load(i)
        stay = Stay(float(self._arrivals.start_s[i]), float(self._arrivals.end_s[i]))
        found = self._allocator.first(load, stay)
        assert found >= 0, "more hosts are needed than there are"
        self.slices.put(found, found, load, until_s=stay.end_s)
        self._where[i] = found
        return found

    def remove(self, i: int) -> None:
        host = self._where.pop(i)
        self.slices.put(host, host, self.load(i), -1.0)


class Heuristic:
    """First-fit, best-fit or dot-product on what is sold; a host is opened only if none fits."""

    def __init__(self, arrivals: Arrivals, kind: HostKind, n_hosts: int, rule: str) -> None:
        self._size = arrivals.size / kind.size
        self._free = np.ones((n_hosts, 2))
        self._n = np.zeros(n_hosts, dtype=np.intp)
        self._rule = rule
        self._top = 0
        self._where: dict[int, int] = {}

    def choose(self, i: int) -> int:
        size = self._size[i]
        free = self._free[: self._top]
        fits = np.flatnonzero((free >= size - 1e-9).all(axis=1) & (self._n[: self._top] > 0))
        if len(fits):
            host = int(fits[self._best(free[fits], size)])
        else:
            empty = np.flatnonzero(self._n[: self._top + 1] == 0)
            host = int(empty[0])
            self._top = max(self._top, host + 1)
        self._free[host] -= size
        self._n[host] += 1
        self._where[i] = host
        return host

    def _best(self, free: F64, size: F64) -> int:
        if self._rule == "first-fit":
            return 0
        if self._rule == "best-fit":
            return int(np.argmin(free.sum(axis=1)))
        return int(np.argmax(free @ size))

    def remove(self, i: int) -> None:
        host = self._where.pop(i)
        self._free[host] += self._size[i]
        self._n[host] -= 1


def replay(arrivals: Arrivals, kind: HostKind, policy: Policy, n_hosts: int) -> dict[str, float]:
    """Every arrival and departure in turn; hosts at the peak and over time, and contention."""
    watched = Slices(_demand_layout(n_hosts, kind), CHANCE)
    n_vms = np.zeros(n_hosts, dtype=np.intp)
    lost = used = peak = 0
    host_s = lost_s = 0.0
    before_s = float(arrivals.start_s[0])
    placed_at: dict[int, int] = {}
    ours = Ours(arrivals, kind, 1, Taste())
    started_s = time.perf_counter()
    for at_s, i, comes in events(arrivals):
        span_s = at_s - before_s
        host_s, lost_s, before_s = host_s + used * span_s, lost_s + lost * span_s, at_s
        host = policy.choose(i) if comes else placed_at.pop(i)
        if comes:
            placed_at[i] = host
        else:
            policy.remove(i)
        was = watched.lost[host, DEMAND]
        watched.put(host, host, ours.load(i), 1.0 if comes else -1.0)
        lost = lost + watched.lost[host, DEMAND] - was
        n_vms[host] += 1 if comes else -1
        used += int(comes and n_vms[host] == 1) - int(not comes and n_vms[host] == 0)
        peak = max(peak, used)
    span_s = before_s - float(arrivals.start_s[0])
    wanted = float((arrivals.demand * (arrivals.end_s - arrivals.start_s)).sum())
    return {
        "hosts_peak": float(peak),
        "hosts_mean": host_s / span_s,
        "contention_pct": 100.0 * lost_s / wanted,
        "us_per_vm": 1e6 * (time.perf_counter() - started_s) / len(arrivals.start_s),
    }


def events(arrivals: Arrivals) -> list[tuple[float, int, bool]]:
    """(when, who, comes), until the last arrival; who leaves makes room for who comes then."""
    n = len(arrivals.start_s)
    stop_s = float(arrivals.start_s[-1])
    when = np.concatenate([arrivals.start_s, arrivals.end_s])
    comes = np.concatenate([np.ones(n, dtype=bool), np.zeros(n, dtype=bool)])
    order = np.lexsort((np.tile(np.arange(n), 2), comes, when))
    order = order[when[order] <= stop_s]
    who: Ints = np.tile(np.arange(n), 2)
    return [(float(when[k]), int(who[k]), bool(comes[k])) for k in order]


def bound(arrivals: Arrivals, kind: HostKind) -> dict[str, float]:
    """The linear programme's: at the peak (whole hosts) and over time."""
    sold = np.zeros(2)
    needed, before_s, host_s, peak = 0.0, float(arrivals.start_s[0]), 0.0, 0.0
    for at_s, i, comes in events(arrivals):
        host_s, before_s = host_s + needed * (at_s - before_s), at_s
        sold += arrivals.size[i] if comes else -arrivals.size[i]
        needed = float((sold / kind.size).max())
        peak = max(peak, needed)
    return {
        "hosts_peak": float(np.ceil(peak - 1e-9)),
        "hosts_mean": host_s / (before_s - float(arrivals.start_s[0])),
    }


def _demand_layout(n_hosts: int, kind: HostKind) -> Layout:
    capacity = np.full((n_hosts, N_RESOURCES), np.inf)
    capacity[:, DEMAND] = kind.cpus
    ids = tuple(HostId(str(h)) for h in range(n_hosts))
    return Layout.of(Hosts(ids, capacity, np.ones(n_hosts, dtype=bool), np.arange(n_hosts)))


def bench_packing(
    path: Path, kind: HostKind, limit: int, seed: int, report: Callable[[str], None]
) -> Result:
    """Ours blind and aware, beside the heuristics and the bound."""
    began_s = time.perf_counter()
    report("reading arrivals")
    arrivals = read_arrivals(path, limit, np.random.default_rng(seed))
    least = bound(arrivals, kind)
    n_hosts = int(least["hosts_peak"] * 1.6) + 16
    found: dict[str, dict[str, float]] = {}
    for name, taste in (("blind", Taste(aware=False)), ("aware", Taste())):
        report(f"packing, {name}")
        found[name] = replay(arrivals, kind, Ours(arrivals, kind, n_hosts, taste), n_hosts)
    baselines = {"bound": least, "ours, blind": found["blind"]}
    for rule in ("first-fit", "best-fit", "dot-product"):
        report(f"packing, {rule}")
        policy = Heuristic(arrivals, kind, n_hosts, rule)
        baselines[rule] = replay(arrivals, kind, policy, n_hosts)
    blind, aware = found["blind"], found["aware"]
    metrics = {
        **aware,
        "over_bound_peak": aware["hosts_peak"] / least["hosts_peak"],
        "over_bound_mean": aware["hosts_mean"] / least["hosts_mean"],
        "peak_to_blind": aware["hosts_peak"] / blind["hosts_peak"],
        "mean_to_blind": aware["hosts_mean"] / blind["hosts_mean"],
        "contention_to_blind": aware["contention_pct"] / blind["contention_pct"],
        "vms": float(len(arrivals.start_s)),
    }
    return Result(
        name="packing",
        seconds=time.perf_counter() - began_s,
        seed=seed,
        metrics=metrics,
        baselines=baselines,
        detail={"host": {"cpus": kind.cpus, "vcpus": kind.vcpus, "gib": kind.gib}},
    )
