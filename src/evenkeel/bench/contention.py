"""The contention map of a whole fleet on one core: time, memory, growth, and a candidate VM.

Hosts, VMs and demand are made up, from the patterns that short forecasts are judged by: every size
of host and VM, more vCPUs than CPUs, a tenth of the hosts pinned. Traits are not 1, so nothing is
skipped. Baselines answer a lesser question about the same pairs (do they move together?): all at
once in NumPy, and one pair after the other; and the agent's own score, host after host.
"""

from __future__ import annotations

import resource as rusage
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F32, Ints
from evenkeel.domain.host import Host
from evenkeel.domain.ids import HostId, VmId
from evenkeel.domain.quantiles import QUANTILES, row_quantiles
from evenkeel.domain.resources import CPU_AXIS, MEMORY_AXIS, N_RESOURCES
from evenkeel.domain.vm import CpuTuning, Vm
from evenkeel.envelope import Result
from evenkeel.interference.candidate import Candidate, candidate, standing
from evenkeel.interference.contention import score_host
from evenkeel.interference.fleet import FleetMap, FleetRows, FleetShape, score_fleet
from evenkeel.interference.fleet_rows import FLEET_ROWS, fleet_rows
from evenkeel.interference.hazards import Traits
from evenkeel.interference.window import Window
from evenkeel.sim.ticks import tick_panel

GROWTH: Final = (0.1, 0.3, 1.0)
"""Shares of the fleet that are timed."""
HOST_CPUS: Final = (16, 24, 32, 48, 64)
VM_VCPUS: Final = (1, 2, 4, 8)
VM_VCPUS_ODDS: Final = (0.35, 0.3, 0.25, 0.1)
MIB_PER_VCPU: Final = 4096.0
NET_MBIT_S, IOPS = 10_000.0, 20_000.0
VM_NET_MBIT_S, VM_IOPS = 1500.0, 3000.0
PINNED: Final = 0.1
SAMPLES: Final = 60
PATTERNS: Final = 400
LOOPED_PAIRS: Final = 3000
LOOPED_HOSTS: Final = 300
CHUNK: Final = 500
REPEATS: Final = 3
ASKS: Final = 7


OnStep = Callable[[str], None]


def bench_contention(n_hosts: int, n_vms: int, seed: int, report: OnStep) -> Result:
    """Refresh the map of `n_hosts` hosts of `n_vms` VMs, and ask about one VM on all of them."""
    began_s = time.perf_counter()
    report("making a fleet")
    fleet = make_fleet(n_hosts, n_vms, np.random.default_rng(seed))
    metrics: dict[str, float] = {"hosts": n_hosts, "vms": n_hosts * n_vms}
    growth = {}
    for part in GROWTH:
        count = max(1, round(part * n_hosts))
        report(f"refreshing {count:,} hosts")
        timed = _time_refresh(fleet.first(count) if count < n_hosts else fleet)
        growth[f"{count}"] = timed
    metrics |= timed
    pairs = n_hosts * n_vms * (n_vms - 1) * N_RESOURCES
    metrics["directed_pairs"] = pairs
    metrics["ns_per_pair"] = metrics["refresh_s"] / pairs * 1e9
    smallest = next(iter(growth))
    metrics["growth_per_host"] = (metrics["refresh_s"] / n_hosts) / (
        growth[smallest]["refresh_s"] / int(smallest)
    )
    metrics["rss_mib"] = rusage.getrusage(rusage.RUSAGE_SELF).ru_maxrss / 1024
    baselines = _baselines(fleet, report, np.random.default_rng(seed + 1))
    return Result(
        name="contention",
        seconds=time.perf_counter() - began_s,
        seed=seed,
        metrics=metrics,
        baselines=baselines,
        detail={"rows": FLEET_ROWS, "by_hosts": growth, "repeats": REPEATS},
    )


def _time_refresh(fleet: MadeFleet) -> dict[str, float]:
    """Best of `REPEATS`, each from the quantiles to the map and the curves for candidates."""
    n_hosts = fleet.shape.n_hosts
    refresh_s, map_s, ask_ms = [], [], []
    out = FleetMap.empty(n_hosts, fleet.shape.n_places)
    newcomer = _newcomer(fleet)
    for _ in range(REPEATS):
        start_s = time.perf_counter()
        rows = fleet_rows(fleet.quantiles, fleet.background)
        score_fleet(fleet.shape, rows, fleet.traits, into=out)
        map_s.append(time.perf_counter() - start_s)
        kept = standing(fleet.shape, rows, fleet.traits)
        refresh_s.append(time.perf_counter() - start_s)
        for _ in range(ASKS):
            start_s = time.perf_counter()
            told = candidate(kept, newcomer)
            ask_ms.append((time.perf_counter() - start_s) * 1e3)
    assert told.score.shape == (n_hosts, N_RESOURCES)
    started_s = time.perf_counter()
    FleetShape.of(fleet.hosts, fleet.shape.n_places)
    shape_s = time.perf_counter() - started_s
    return {
        "refresh_s": min(refresh_s),
        "map_s": min(map_s),
        "candidate_ms": float(np.median(ask_ms)),
        "shape_s": shape_s,
        "contended_hosts_pct": 100.0 * float((out.probability > 0.1).any(axis=(1, 2)).mean()),
        "contended_on_cpu_pct": 100.0
        * float((out.probability[:, CPU_AXIS] > 0.1).any(axis=1).mean()),
        "pairs_of_score_1": float((out.score >= 1.0).sum()),
    }


def _newcomer(fleet: MadeFleet) -> Candidate:
    """A VM of four vCPUs like another that is there."""
    host, vm = (int(i) for i in np.argwhere(fleet.shape.n_vcpus >= 4)[0])
    at = (np.arange(FLEET_ROWS) + 0.5) / FLEET_ROWS
    demand = [np.interp(at, QUANTILES, of) for of in fleet.quantiles[host, vm]]
    weight = np.ones(N_RESOURCES)
    weight[CPU_AXIS], weight[MEMORY_AXIS] = 1024.0, 4 * MIB_PER_VCPU
    return Candidate(
        4, np.stack(demand, axis=1), weight, np.ones(N_RESOURCES), np.ones(N_RESOURCES)
    )


def _baselines(
    fleet: MadeFleet, report: OnStep, rng: np.random.Generator
) -> dict[str, dict[str, float]]:
    """Usage correlation of all pairs together, and one after another; our agent, host by host."""
    n_hosts, n = fleet.pattern.shape
    pairs = n_hosts * n * (n - 1) * N_RESOURCES
    report("correlating usage")
    start_s = time.perf_counter()
    kept = np.empty((n_hosts, N_RESOURCES, n, n), np.float32)
    for first in range(0, n_hosts, CHUNK):
        usage = fleet.patterns[fleet.pattern[first : first + CHUNK]].transpose(0, 2, 1, 3)
        usage = usage - usage.mean(axis=3, keepdims=True)
        usage /= np.maximum(np.linalg.norm(usage, axis=3, keepdims=True), 1e-9)
        kept[first : first + CHUNK] = usage @ usage.transpose(0, 1, 3, 2)
    together_s = time.perf_counter() - start_s
    report("correlating usage pair by pair")
    start_s = time.perf_counter()
    with np.errstate(invalid="ignore"):  # some want the same all the time
        for _ in range(LOOPED_PAIRS):
            a, b = fleet.patterns[rng.integers(PATTERNS, size=2), 0]
            np.corrcoef(a, b)
    per_pair_s = (time.perf_counter() - start_s) / LOOPED_PAIRS
    report("scoring host by host")
    some = fleet.first(min(n_hosts, LOOPED_HOSTS))
    rows = fleet_rows(some.quantiles, some.background)
    windows = [_window(some, rows, h) for h in range(some.shape.n_hosts)]
    start_s = time.perf_counter()
    for window, (host, _) in zip(windows, some.hosts, strict=True):
        score_host(window, host, half_life_s=1e15)
    per_host_s = (time.perf_counter() - start_s) / len(windows)
    return {
        "correlation": {"refresh_s": together_s, "ns_per_pair": together_s / pairs * 1e9},
        "correlation, pair by pair": {
            # A correlation has no direction: half as many are enough.
            "refresh_s": per_pair_s * pairs / 2,
            "ns_per_pair": per_pair_s / 2 * 1e9,
        },
        "agent, host by host": {
            "refresh_s": per_host_s * n_hosts,
            "ns_per_pair": per_host_s * n_hosts / pairs * 1e9,
        },
    }


def _window(fleet: MadeFleet, rows: FleetRows, h: int) -> Window:
    """A host's rows as its agent would hold them."""
    demand = rows.demand[h].transpose(1, 2, 0).astype(np.float64)
    nothing = np.zeros_like(demand)
    return replace(
        Window.empty(60.0),
        vms=fleet.hosts[h][1],
        at_s=np.arange(len(demand), dtype=np.float64),
        interval_s=np.ones(len(demand)),
        demand=demand,
        loss=nothing,
        self_limited=nothing,
        background=rows.background[h].T.astype(np.float64),
        slots=np.broadcast_to(rows.norm[h].astype(np.float64), (4, *rows.norm[h].shape)),
        slot_sum=nothing[0],
        slot_weight=nothing[0],
        inside_loss=np.full(demand.shape[:2], np.nan),
    )


@dataclass(frozen=True, slots=True, eq=False)
class MadeFleet:
    """`patterns` (P, R, SAMPLES) of demand as shares, `pattern` (H, N) which a VM follows, `size`
    (H, N, R) its capacity; `quantiles` (H, N, R, Q) and `background` (H, R) as forecast."""

    shape: FleetShape
    hosts: list[tuple[Host, tuple[Vm, ...]]]
    patterns: F32
    pattern: Ints
    size: F32
    quantiles: F32
    background: F32
    traits: Traits

    def first(self, n_hosts: int) -> MadeFleet:
        part = self.hosts[:n_hosts]
        return MadeFleet(
            FleetShape.of(part, self.shape.n_places),
            part,
            self.patterns,
            self.pattern[:n_hosts],
            self.size[:n_hosts],
            self.quantiles[:n_hosts],
            self.background[:n_hosts],
            Traits(self.traits.sensitivity[:n_hosts], self.traits.pressure[:n_hosts]),
        )


def make_fleet(n_hosts: int, n_vms: int, rng: np.random.Generator) -> MadeFleet:
    """Everything follows from `rng`."""
    vcpus = rng.choice(VM_VCPUS, (n_hosts, n_vms), p=VM_VCPUS_ODDS)
    # Two to four vCPUs were sold for each CPU, whatever the host's size.
    cpus = np.array(HOST_CPUS)[
        np.searchsorted(HOST_CPUS, vcpus.sum(axis=1) / rng.uniform(1.2, 3.5, n_hosts)).clip(
            0, len(HOST_CPUS) - 1
        )
    ]
    hosts = [
        _host(h, int(cpus[h]), vcpus[h].tolist(), pinned=bool(rng.random() < PINNED))
        for h in range(n_hosts)
    ]
    panels = [tick_panel(PATTERNS, SAMPLES, rng) for _ in range(N_RESOURCES)]
    shares = [panel.values / np.asarray(panel.capacity)[:, None] for panel in panels]
    patterns = np.stack(shares, axis=1).astype(np.float32)
    size = np.empty((n_hosts, n_vms, N_RESOURCES), np.float32)
    size[:] = rng.lognormal(0, 0.7, size.shape)
    size[..., CPU_AXIS] = vcpus
    size[..., MEMORY_AXIS] = vcpus * MIB_PER_VCPU
    size[..., 2] *= VM_NET_MBIT_S
    size[..., 3] *= VM_IOPS
    pattern = rng.integers(PATTERNS, size=(n_hosts, n_vms))
    of_pattern = row_quantiles(patterns)
    background = np.zeros((n_hosts, N_RESOURCES), np.float32)
    background[:, CPU_AXIS] = rng.uniform(0, 0.05, n_hosts) * cpus
    return MadeFleet(
        shape=FleetShape.of(hosts),
        hosts=hosts,
        patterns=patterns,
        pattern=pattern,
        size=size,
        quantiles=of_pattern[pattern] * size[..., None],
        background=background,
        traits=Traits(
            np.exp(rng.normal(0, 0.3, size.shape)).astype(np.float32),
            np.exp(rng.normal(0, 0.3, size.shape)).astype(np.float32),
        ),
    )


def _host(h: int, n_cpus: int, vcpus: list[int], *, pinned: bool) -> tuple[Host, tuple[Vm, ...]]:
    everywhere = tuple(range(n_cpus))
    halves = (everywhere[: n_cpus // 2], everywhere[n_cpus // 2 :])
    vms = tuple(
        Vm(
            VmId(f"{h}-{v}"),
            f"vm{h}-{v}",
            n,
            n * MIB_PER_VCPU,
            tuning=CpuTuning(((halves[v % 2] if pinned else everywhere),) * n, 1024),
        )
        for v, n in enumerate(vcpus)
    )
    sold_mib = sum(vcpus) * MIB_PER_VCPU
    host = Host(HostId(f"h{h}"), everywhere, 0.6 * sold_mib, NET_MBIT_S, IOPS)
    return host, vms
