"""Durable placements a second, and what each step of it costs.

The store is SQLite on this machine's disk, every commit waits for the disk, and a placement counts
when its claim is durable. Some are always in flight, as from as many clients. Beside it: the same
without regard to contention, decisions without durability, decisions that scan every host anew,
and, if asked for, OpenStack Placement on the same arrivals (bench/openstack.py).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np

from evenkeel.adapters.clock import SystemClock
from evenkeel.adapters.store.store import SqlStore
from evenkeel.bench.openstack_calls import IN_PROCESS, OVER_HTTP
from evenkeel.bench.placement_fleet import CHANCE, make_allocator, make_hosts, make_newcomers
from evenkeel.controller.claims import Claims
from evenkeel.controller.placing import Pending, PlacementService
from evenkeel.domain.host import Host, Mode
from evenkeel.domain.ids import HostId
from evenkeel.domain.placement import Newcomer, Placed
from evenkeel.envelope import Result
from evenkeel.placement.allocate import Allocator
from evenkeel.placement.entitlement import Interval
from evenkeel.placement.slices import Layout, Load
from evenkeel.records import HostRecord
from evenkeel.runtime.interpreter import settle

IN_FLIGHT: Final = 12
ALONE: Final = 2_000
"""So many are also placed one after another, as the peer places them."""
MOST_TIMED: Final = 20_000
SCANNED: Final = 300
GROWTH: Final = (100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)
VMS_PER_HOST: Final = 10
DAY_S: Final = 86_400
OnStep = Callable[[str], None]


def bench_placement(
    n_hosts: int,
    n_vms: int,
    seed: int,
    report: OnStep,
    *,
    peer: Callable[[Layout, Sequence[Newcomer]], dict[str, dict[str, float]]] | None = None,
    http: Callable[[Sequence[Newcomer]], dict[str, float]] | None = None,
    growth: bool = True,
) -> Result:
    """Place `n_vms` on `n_hosts`, durably; `http` and `peer` place the same, or some of them, and
    answer their metrics, `peer` by way of being asked."""
    began_s = time.perf_counter()
    rng = np.random.default_rng(seed)
    layout = make_hosts(n_hosts, rng)
    newcomers = list(make_newcomers(n_vms, rng))
    metrics: dict[str, float] = {"hosts": n_hosts, "vms": n_vms}
    metrics |= durable(layout, newcomers, report, aware=True)
    blind = durable(layout, newcomers, report, aware=False)
    alone = durable(layout, newcomers[:ALONE], report, aware=True, in_flight=1)
    metrics["alone_placements_per_s"] = alone["placements_per_s"]
    metrics["blind_placements_per_s"] = blind["placements_per_s"]
    metrics["blind_p99_ms"] = blind["p99_ms"]
    metrics["aware_cost"] = blind["placements_per_s"] / metrics["placements_per_s"]
    metrics |= decided(layout, newcomers, report)
    baselines = {"every host anew": scanned(layout, newcomers[:SCANNED], report)}
    if http is not None:
        report("placements over HTTP")
        metrics |= http(newcomers)
    if peer is not None:
        theirs = peer(layout, newcomers)
        baselines |= theirs
        metrics |= times(metrics, theirs[OVER_HTTP], theirs[IN_PROCESS])
    detail: dict[str, Any] = {"in_flight": IN_FLIGHT, "blind": blind}
    if growth:
        detail["by_hosts"] = {n: _growth(n, seed, report) for n in GROWTH}
    return Result(
        name="placement",
        seconds=time.perf_counter() - began_s,
        seed=seed,
        metrics=metrics,
        baselines=baselines,
        detail=detail,
    )


def times(
    ours: Mapping[str, float], over_http: Mapping[str, float], in_process: Mapping[str, float]
) -> dict[str, float]:
    """How many times theirs ours is, like against like: what is asked over HTTP against theirs
    over HTTP, and what is not against theirs in process."""
    out = {}
    for name, rate in ours.items():
        kind, is_rate, _ = name.rpartition("placements_per_s")
        if is_rate and not kind.startswith("blind"):
            theirs = over_http if kind.startswith("http") else in_process
            out[f"{kind}times_peer"] = rate / theirs["placements_per_s"]
    return out


def durable(
    layout: Layout,
    newcomers: Sequence[Newcomer],
    report: OnStep,
    *,
    aware: bool,
    in_flight: int = IN_FLIGHT,
) -> dict[str, float]:
    """Placements a second and their time, from the question to the durable answer."""
    what = f"{'aware of contention' if aware else 'blind'}, {in_flight} in flight"
    report(f"{len(newcomers):,} placements on {layout.n_hosts:,} hosts, {what}")
    with open_store(layout) as store, open_desk(store) as desk:
        allocator = make_allocator(layout, aware=aware)
        service = PlacementService(lambda: allocator, desk, SystemClock())
        _warm(allocator, newcomers)
        settle()
        took, placed = [], 0
        waiting: deque[tuple[float, Pending]] = deque()

        def finish() -> int:
            asked_s, pending = waiting.popleft()
            outcome = service.finish(pending)
            took.append(time.perf_counter() - asked_s)
            return isinstance(outcome, Placed)

        start_s, start_cpu_s = time.perf_counter(), time.process_time()
        for vm in newcomers:
            asked_s = time.perf_counter()
            now_s = int(time.time())
            pending = service.begin(vm, Interval(now_s, now_s + DAY_S))
            if isinstance(pending, Pending):
                waiting.append((asked_s, pending))
            if len(waiting) >= in_flight:
                placed += finish()
        while waiting:
            placed += finish()
        wall_s = time.perf_counter() - start_s
        cpu_s = time.process_time() - start_cpu_s
    ms = np.array(took) * 1e3
    lost = allocator.slices.lost / np.where(layout.capacity > 0, layout.capacity, 1.0)
    return {
        "placements_per_s": placed / wall_s,
        "p50_ms": float(np.percentile(ms, 50)),
        "p99_ms": float(np.percentile(ms, 99)),
        "cpu_ms": 1e3 * cpu_s / max(placed, 1),
        "refused": float(len(newcomers) - placed),
        "hosts_used": float((allocator.slices.n_vms > 0).sum()),
        "contention_hosts": float(lost.sum()),
    }


def decided(layout: Layout, newcomers: Sequence[Newcomer], report: OnStep) -> dict[str, float]:
    """Decisions alone, in microseconds of CPU: aware, blind, and of loads never seen."""
    report("decisions without durability")
    out = {}
    some = newcomers[:MOST_TIMED]
    for name, aware in (("decide_us", True), ("blind_decide_us", False)):
        out[name] = float(np.mean(_decide_all(make_allocator(layout, aware=aware), some)))
    out["aware_decide_cost"] = out["decide_us"] / out["blind_decide_us"]
    unlike = list(make_newcomers(SCANNED, np.random.default_rng(0), unlike=True))
    out["unlike_decide_us"] = float(np.mean(_decide_all(make_allocator(layout), unlike)))
    return out


def scanned(layout: Layout, newcomers: Sequence[Newcomer], report: OnStep) -> dict[str, float]:
    """Decisions that keep nothing from one to the next, by the same code."""
    report("decisions that scan every host")
    took = _decide_all(make_allocator(layout), newcomers, forget=True)
    return {"decide_us": float(np.mean(took)), "placements_per_s": 1e6 / float(np.mean(took))}


def _decide_all(
    allocator: Allocator, newcomers: Sequence[Newcomer], *, forget: bool = False
) -> list[float]:
    """Microseconds of CPU that each takes; others that use this machine do not count."""
    took = []
    _warm(allocator, newcomers[:1])
    for vm in newcomers:
        if forget:
            allocator.forget()
        start_s = time.thread_time()
        load = Load.of(vm)
        outcome = allocator.decide(vm, load)
        if isinstance(outcome, Placed):
            allocator.put_at(vm, load, outcome.chosen)
        took.append(1e6 * (time.thread_time() - start_s))
    return took


def _warm(allocator: Allocator, newcomers: Sequence[Newcomer]) -> None:
    """The compiler's time is no part of any figure; the first look at each load is."""
    vm = newcomers[0]
    load = Load.of(vm)
    outcome = allocator.decide(vm, load)
    assert isinstance(outcome, Placed)
    allocator.put_at(vm, load, outcome.chosen)
    allocator.remove(vm.vm)
    allocator.forget()


def _growth(n_hosts: int, seed: int, report: OnStep) -> dict[str, float]:
    """Decisions on a fleet of another size, once it is half full."""
    report(f"decisions on {n_hosts:,} hosts")
    rng = np.random.default_rng(seed)
    layout = make_hosts(n_hosts, rng)
    newcomers = list(make_newcomers(min(MOST_TIMED, VMS_PER_HOST * n_hosts), rng))
    took = np.array(_decide_all(make_allocator(layout), newcomers))
    blind = np.array(_decide_all(make_allocator(layout, aware=False), newcomers))
    later = slice(len(newcomers) // 2, None)
    return {
        "decide_us": float(took[later].mean()),
        "decide_p99_us": float(np.percentile(took[later], 99)),
        "blind_decide_us": float(blind[later].mean()),
    }


@contextmanager
def open_store(layout: Layout) -> Iterator[SqlStore]:
    """A new SQLite file that knows these hosts."""
    with TemporaryDirectory(prefix="evenkeel-placement-") as directory:
        store = SqlStore(f"sqlite:///{Path(directory)}/bench.db")
        with store.write() as session:
            for host, capacity in zip(layout.hosts.ids, layout.hosts.capacity, strict=True):
                session.inventory.put_host(_record(host, capacity.tolist()))
        try:
            yield store
        finally:
            store.close()


@contextmanager
def open_desk(store: SqlStore) -> Iterator[Claims]:
    """Claims on it, with the books of all hosts open."""
    claims = Claims(store, SystemClock(), CHANCE, max_span_s=400 * DAY_S)
    claims.warm()
    try:
        yield claims
    finally:
        claims.close()


def _record(host: HostId, capacity: Sequence[float]) -> HostRecord:
    cpus, memory_mib, net, iops = capacity
    of = Host(host, tuple(range(int(cpus))), memory_mib, net, iops)
    now_s = time.time()
    return HostRecord(of, "bench", 1, now_s, now_s, Mode.ADVISE)
