"""The fleet as it was last told: who is heard from, who runs there and wants what, what is claimed.

Placement (`standing`), plans of moves (`outlook`) and questions (`whatif`) all begin with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from evenkeel.controller.near import Latest
from evenkeel.domain.arrays import F32, F64, Bools, Ints
from evenkeel.domain.claim import Claim
from evenkeel.domain.ids import HostId, VmId
from evenkeel.domain.placement import Terms, terms_of
from evenkeel.domain.quantiles import N_QUANTILES, moments
from evenkeel.domain.resources import AXIS, CPU_AXIS, MEMORY_AXIS, N_RESOURCES, Resource
from evenkeel.domain.vm import Vm, VmState
from evenkeel.placement.fleet import Hosts
from evenkeel.ports import Clock
from evenkeel.ports_store import Store
from evenkeel.records import HostRecord
from evenkeel.wire import body_to_tick

PAGE: Final = 1000
MOST_EVENTS: Final = 20_000
AHEAD_S: Final = 3600.0
UNSURE: Final = np.array([0.1 if r == MEMORY_AXIS else 0.5 for r in range(N_RESOURCES)])
"""(R,) standard deviation of a demand that is not forecast, in parts of what it is now."""


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """H hosts that ever told of their VMs, and the V VMs that run (or pause) there, host by host.

    `host` (V,) position of each VM's host; `wants` (V, R) and `background` (H, R) by the newest
    ticks; `heard` (H,): lately, and by a clock that agrees; `closed` (H,): in maintenance.
    """

    at_s: float
    records: tuple[HostRecord, ...]
    vms: tuple[Vm, ...]
    host: Ints
    wants: F64
    background: F64
    heard: Bools
    closed: Bools
    latest: Mapping[Resource, Latest]
    placed: Mapping[VmId, Terms]
    """By the id or name under which a VM was placed."""

    def terms(self) -> list[Terms]:
        """(V,) on what each VM stands."""
        return [terms_of(vm, self.placed) for vm in self.vms]

    def hosts(self) -> Hosts:
        """Those that are heard from and not in maintenance are open."""
        told = [record.host.capacity for record in self.records]
        capacity = [[np.inf if of[r] is None else of[r] for r in AXIS] for of in told]
        return Hosts(
            ids=tuple(record.host.id for record in self.records),
            capacity=np.array(capacity, dtype=np.float64).reshape(-1, N_RESOURCES),
            is_open=self.heard & ~self.closed,
            fault_domain=_fault_domains(self.records),
        )

    def ahead(self, ahead_s: float = AHEAD_S) -> tuple[F64, F64]:
        """(V, R) mean and deviation of demand about `ahead_s` from now: forecast, else as now; no
        more than a VM has of CPU and memory."""
        most = np.full((len(self.vms), N_RESOURCES), np.inf)
        most[:, CPU_AXIS] = [vm.n_vcpus for vm in self.vms]
        most[:, MEMORY_AXIS] = [vm.memory_mib for vm in self.vms]
        quantiles = forecast_ahead(self.latest, self.vms, ahead_s)
        mean, deviation = moments(quantiles, most)
        is_known = ~np.isnan(mean)
        now = np.minimum(self.wants, most)
        return np.where(is_known, mean, now), np.where(is_known, deviation, UNSURE * now)


class Present:
    """Thread-safe: it keeps nothing.

    Parameters
    ----------
    latest : the newest forecasts by resource
    silent_s : a host not heard from for so long is silent
    closed : hosts in maintenance
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        latest: Callable[[], Mapping[Resource, Latest]],
        silent_s: float,
        closed: Callable[[], frozenset[HostId]] = frozenset,
    ) -> None:
        self.clock = clock
        self.latest = latest
        self._store = store
        self._silent_s = silent_s
        self._closed = closed

    def look(self, *, with_terms: bool = True) -> Seen:
        """Raises StoreUnavailable. Terms are left out for those who ask often and need none.

        A host whose clock is off is as good as silent for whoever decides: its ticks are counted
        to slots in which they were not taken, so what is forecast from them cannot be relied on.
        """
        records = tuple(self._reported())
        there = [running(record.tick.vms) if record.tick else () for record in records]
        wants, background = _wanted(records, there)
        now_s, closed = self.clock.wall_s(), self._closed()
        heard = [r.last_seen_s >= now_s - self._silent_s and not r.skewed for r in records]
        return Seen(
            at_s=now_s,
            records=records,
            vms=tuple(vm for those in there for vm in those),
            host=np.repeat(np.arange(len(records)), [len(those) for those in there]),
            wants=wants,
            background=background,
            heard=np.array(heard, dtype=bool),
            closed=np.array([r.host.id in closed for r in records], dtype=bool),
            latest=self.latest(),
            placed=self._placed() if with_terms else {},
        )

    def _reported(self) -> Iterator[HostRecord]:
        """Hosts that ever sent a tick, by id."""
        after = ""
        while True:
            with self._store.read() as session:
                page = session.inventory.hosts(after, PAGE)
            yield from (record for record in page if record.tick is not None)
            if len(page) < PAGE:
                return
            after = page[-1].host.id

    def _placed(self) -> dict[VmId, Terms]:
        out: dict[VmId, Terms] = {}
        after = ""
        while True:
            with self._store.read() as session:
                page = session.terms.all(after, PAGE)
            out |= page
            if len(page) < PAGE:
                return out
            after = max(page)

    def claims(self) -> Iterator[Claim]:
        """Claims that have not ended, by id, with their lots that have not. StoreUnavailable."""
        after, now_s = "", int(self.clock.wall_s())
        while True:
            with self._store.read() as session:
                page = session.claims.claims(now_s, after=after, limit=PAGE)
            yield from page
            if len(page) < PAGE:
                return
            after = page[-1].id

    def moved(self, within_s: float) -> dict[VmId, float]:
        """How long ago each VM moved last, of those that did lately. Raises StoreUnavailable."""
        out: dict[VmId, float] = {}
        now_s, before, n_seen = self.clock.wall_s(), None, 0
        while within_s > 0 and n_seen < MOST_EVENTS:
            with self._store.read() as session:
                page = session.chronicle.events(before=before, limit=PAGE)
            for record in page:
                event = record.event
                if event.kind == "vm_moved" and event.vm:
                    ago_s = max(now_s - event.at_s, 0.0)
                    out[event.vm] = min(out.get(event.vm, ago_s), ago_s)
            if len(page) < PAGE or page[-1].event.at_s < now_s - within_s:
                break
            before, n_seen = page[-1].id, n_seen + len(page)
        return out


def running(vms: Sequence[Vm]) -> tuple[Vm, ...]:
    return tuple(vm for vm in vms if vm.state in (VmState.RUNNING, VmState.PAUSED))


def forecast_ahead(
    latest: Mapping[Resource, Latest], vms: Sequence[Vm], ahead_s: float = AHEAD_S
) -> F32:
    """(N, R, Q) demand about `ahead_s` ahead, NaN where it is not forecast."""
    out: F32 = np.full((len(vms), N_RESOURCES, N_QUANTILES), np.nan, np.float32)
    for r, resource in enumerate(AXIS):
        newest = latest.get(resource)
        if newest is None:
            continue
        at = int(np.argmin(np.abs(np.array(newest.fleet.horizons_s) - ahead_s)))
        for i, vm in enumerate(vms):
            row = newest.row_of.get(vm.id, newest.row_of.get(vm.name))
            if row is not None:
                out[i, r] = newest.fleet.values[row, at]
    return out


def _wanted(records: Sequence[HostRecord], there: Sequence[tuple[Vm, ...]]) -> tuple[F64, F64]:
    """(V, R) what VMs want by the newest ticks, and (H, R) what their hosts take themselves."""
    demand = [np.empty((0, N_RESOURCES))]
    background = np.zeros((len(records), N_RESOURCES))
    for h, (record, vms) in enumerate(zip(records, there, strict=True)):
        assert record.tick is not None
        tick = body_to_tick(record.host, record.tick)
        place = {vm.id: i for i, vm in enumerate(tick.vms)}
        if vms:
            demand.append(np.nan_to_num(tick.demand[[place[vm.id] for vm in vms]]))
        background[h] = np.nan_to_num(tick.background)
    return np.concatenate(demand), background


def _fault_domains(records: Sequence[HostRecord]) -> Ints:
    """Codes; a host of which none is told is one by itself."""
    names = [r.host.fault_domain or f"host {r.host.id}" for r in records]
    codes = {name: i for i, name in enumerate(dict.fromkeys(names))}
    return np.array([codes[name] for name in names], dtype=np.intp)
