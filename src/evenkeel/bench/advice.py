"""What it costs the controller to keep advice: looks at a made-up fleet, one after another.

Hosts are in a store, as agents reported them; a tenth of the VMs keep apart by label and half have
claims. Between looks demand changes a little, and a part of the advice is done.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np

from evenkeel.adapters.clock import SystemClock
from evenkeel.adapters.store.store import SqlStore
from evenkeel.bench.consolidate import OnStep
from evenkeel.controller.advising import AdviceService, Advising
from evenkeel.controller.outlook import LiveOutlook
from evenkeel.controller.plans import Plans, Wanted
from evenkeel.controller.present import Present
from evenkeel.domain.arrays import F64
from evenkeel.domain.claim import Claim, ClaimId
from evenkeel.domain.host import Host, Mode
from evenkeel.domain.ids import HostId, TenantId, VmId
from evenkeel.domain.placement import Group, Relation, Rule, Terms
from evenkeel.domain.resources import AXIS, N_RESOURCES, Resource
from evenkeel.domain.shard import Location, Lot, LotId, PerformanceClass
from evenkeel.domain.vm import Vm
from evenkeel.envelope import Result
from evenkeel.placement.fleet import Chance
from evenkeel.placement.keeping import NamedMove
from evenkeel.records import HostRecord
from evenkeel.wire import TickBody

CORES, MEMORY_MIB = 32, 262_144.0
LOOKS: Final = 4
SWING: Final = 0.03
"""Of what a VM wants, from look to look."""
LOAD: Final = 0.35
"""Of the fleet's cores that VMs want."""
DONE: Final = 0.5
"""Of the advised moves that are done between two looks."""
SHOP: Final = TenantId("shop")


class _Fleet:
    """VMs and where they are; writes what agents would have reported."""

    def __init__(self, n_hosts: int, n_vms: int, rng: np.random.Generator) -> None:
        self.rng = rng
        self.host = rng.integers(0, n_hosts, n_vms)
        self.vcpus = rng.choice([1, 2, 4, 8], n_vms, p=[0.4, 0.3, 0.2, 0.1])
        level = self.vcpus * rng.beta(1.2, 4.0, n_vms)
        self.level = level * LOAD * n_hosts * CORES / level.sum()
        self.level = np.minimum(self.level, self.vcpus)
        self.n_hosts = n_hosts
        self.began_s = time.time()
        self.claims: dict[int, Claim] = {}

    def report(self, store: SqlStore) -> None:
        now_s = time.time()
        wants = self.level * self.rng.uniform(1 - SWING, 1 + SWING, len(self.level))
        with store.write() as session:
            for h in range(self.n_hosts):
                session.inventory.put_host(self._record(h, wants, now_s))

    def _record(self, h: int, wants: F64, now_s: float) -> HostRecord:
        here = np.flatnonzero(self.host == h).tolist()
        vms = tuple(
            Vm(VmId(f"vm{v}"), f"vm{v}", int(self.vcpus[v]), float(2048 * self.vcpus[v]), SHOP)
            for v in here
        )
        demand: list[list[float | None]] = [
            [float(wants[v]), float(1536 * self.vcpus[v]), 10.0, 50.0] for v in here
        ]
        nothing: list[list[float | None]] = [[0.0] * N_RESOURCES] * len(here)
        tick = TickBody(
            now_s, 5.0, vms, demand, demand, nothing, nothing, [0.1, 512.0, 0.0, 0.0],
            ((),) * len(here), (None, None, None),
        )  # fmt: skip
        host = Host(HostId(f"h{h}"), tuple(range(CORES)), MEMORY_MIB)
        return HostRecord(host, "bench", 1, now_s, now_s, Mode.ADVISE, tick=tick, tick_seen_s=now_s)

    def place(self, store: SqlStore) -> None:
        """Labels, and claims of half of the VMs for the next days."""
        start_s = int(self.began_s)
        terms = {}
        for v in range(len(self.host)):
            if v % 10 == 0:
                rule = Rule(Relation.APART, Group(SHOP, f"g{v // 50}"))
                terms[VmId(f"vm{v}")] = Terms(SHOP, frozenset({f"g{v // 50}"}), (rule,))
            if v % 2 == 0:
                self.claims[v] = self._claim(v, start_s)
        with store.write() as session:
            session.terms.put(terms, self.began_s)
            session.claims.add(list(self.claims.values()))

    def _claim(self, v: int, start_s: int) -> Claim:
        name, end_s = ClaimId(f"c{v}"), start_s + int(self.rng.integers(1, 20)) * 86_400
        sizes = {Resource.CPU: 5 * int(self.vcpus[v]), Resource.MEMORY: 32 * int(self.vcpus[v])}
        lots = tuple(
            Lot(
                LotId(f"{name}.{k}"), Location(HostId(f"h{self.host[v]}")), resource, n, start_s,
                end_s, PerformanceClass.SHARED, SHOP,
            )
            for k, (resource, n) in enumerate(sizes.items())
        )  # fmt: skip
        return Claim(name, name, SHOP, VmId(f"vm{v}"), start_s, end_s, lots, 1, "", 0.0)

    def do(self, store: SqlStore, moves: tuple[NamedMove, ...]) -> None:
        """The first of them, with their lots."""
        changed = []
        for move in moves[: int(DONE * len(moves))]:
            v = int(move.vm[2:])
            self.host[v] = int(move.target[1:])
            if v in self.claims:
                lots = self.claims[v].lots
                lots = tuple(replace(lot, location=Location(move.target)) for lot in lots)
                self.claims[v] = replace(self.claims[v], lots=lots)
                changed.append(self.claims[v])
        with store.write() as session:
            session.claims.change(changed, ())


def bench_advice(n_hosts: int, n_vms: int, seed: int, report: OnStep) -> Result:
    """Looks at `n_hosts` hosts with `n_vms` VMs."""
    began_s = time.perf_counter()
    fleet = _Fleet(n_hosts, n_vms, np.random.default_rng(seed))
    metrics: dict[str, float] = {"hosts": n_hosts, "vms": n_vms}
    with TemporaryDirectory(prefix="evenkeel-advice-") as directory:
        store = SqlStore(f"sqlite:///{Path(directory)}/bench.db")
        try:
            report("making a fleet")
            fleet.report(store)
            fleet.place(store)
            looked, turns = _looks(store, fleet, report)
        finally:
            store.close()
    seconds = time.perf_counter() - began_s
    return Result("advice", seconds, metrics | looked, seed=seed, detail={"turns": turns})


def _looks(store: SqlStore, fleet: _Fleet, report: OnStep) -> tuple[dict[str, float], list[str]]:
    clock = SystemClock()
    chance = Chance(0.01, np.full(len(AXIS), 0.2))
    plans = Plans(LiveOutlook(Present(store, clock, dict, 1e9), chance))
    # Every look may empty hosts.
    service = AdviceService(plans, store, clock, Advising(drain_slots=1))
    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    plans.laid_out(Wanted(service.how.limits))
    out = {
        "layout_s": time.perf_counter() - start_s,
        "layout_cpu_s": time.process_time() - start_cpu_s,
    }
    turns: list[str] = []
    for k in range(LOOKS):
        report(f"look {k + 1} of {LOOKS}")
        start_cpu_s = time.process_time()
        advice = service.look()
        if advice is None:
            raise RuntimeError(service.trouble())
        out[f"look_{k + 1}_s"] = advice.seconds
        out[f"look_{k + 1}_cpu_s"] = time.process_time() - start_cpu_s
        out[f"moves_{k + 1}"] = len(advice.told.plan.moves)
        if not k:
            out["hosts_before"] = advice.told.plan.before.n_in_use
            out["hosts_after"] = advice.told.plan.after.n_in_use
        turns.append(advice.turn.value)
        moves = advice.moves
        fleet.do(store, moves)
        fleet.report(store)
    with store.read() as session:
        told = session.chronicle.events(limit=1000)
    out["plans_told"] = sum(record.event.kind == "plan_advised" for record in told)
    return out, turns
