"""The live fleet as planners of moves read it: who is where, what is wanted and reserved ahead.

From each host's newest tick, the latest forecasts and the claims. Laid out when somebody asks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from evenkeel.controller.layout import UNSURE, capacity_of, moments
from evenkeel.controller.near import Latest
from evenkeel.controller.present import claims_ahead, forecast_ahead, reported, running
from evenkeel.domain.arrays import F64
from evenkeel.domain.ids import HostId, VmId
from evenkeel.domain.resources import CPU_AXIS, MEMORY_AXIS, N_RESOURCES, Resource, axis_of
from evenkeel.domain.vm import Vm, VmState
from evenkeel.placement.fleet import Chance, Fleet, Hosts, Vms
from evenkeel.placement.problem import Problem, over_slots
from evenkeel.ports import Clock
from evenkeel.ports_store import Store
from evenkeel.records import HostRecord
from evenkeel.wire import body_to_tick

HOUR_S: Final = 3600.0
AHEAD_S: Final = (0.25 * HOUR_S, HOUR_S, 3 * HOUR_S, 6 * HOUR_S, 12 * HOUR_S, 24 * HOUR_S)
"""Instants that stand for the slots of the calendar: up to the first, between two, and so on."""
UNTIL_S: Final = 48 * HOUR_S
"""The last slot ends here."""
PAGE: Final = 1000
PAGES: Final = 20


@dataclass(frozen=True, slots=True, eq=False)
class LiveFleet:
    """`problem` at plain costs; `records` (H,) and `vms` (V,) in its order."""

    problem: Problem
    records: tuple[HostRecord, ...]
    vms: tuple[Vm, ...]


class LiveOutlook:
    """Thread-safe: it keeps nothing.

    Parameters
    ----------
    latest : the newest forecasts by resource
    chance : the accepted risk of one slot, (R,)
    silent_s : hosts not heard from for so long take nobody, and their VMs stay
    closed : hosts in maintenance: they take nobody, their VMs may leave
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        latest: Callable[[], Mapping[Resource, Latest]],
        chance: Chance,
        silent_s: float,
        closed: Callable[[], frozenset[HostId]] = frozenset,
    ) -> None:
        self._store = store
        self._clock = clock
        self._latest = latest
        self._chance = chance
        self._silent_s = silent_s
        self._closed = closed

    def lay_out(self, cooldown_s: float) -> LiveFleet:
        """The fleet from now on. VMs of which two hosts tell, or that are paused, stay where they
        are. Raises StoreUnavailable."""
        records = tuple(reported(self._store))
        there = [running(record.tick.vms) if record.tick else () for record in records]
        vms = tuple(vm for those in there for vm in those)
        host = np.repeat(np.arange(len(records)), [len(those) for those in there])
        now, background = _now(records, there)
        mean, deviation = self._ahead(vms, now)
        since_s = self._clock.wall_s() - self._silent_s
        is_heard = np.array(
            [r.last_seen_s >= since_s and not r.skewed for r in records], dtype=bool
        )
        closed = self._closed()
        in_maintenance = np.array([r.host.id in closed for r in records], dtype=bool)
        told = Counter(vm.id for vm in vms)
        exempt = np.array(
            [vm.exempt or vm.state is not VmState.RUNNING or told[vm.id] > 1 for vm in vms],
            dtype=bool,
        )
        tenants = {tenant: i for i, tenant in enumerate(sorted({vm.tenant for vm in vms}))}
        fleet = Fleet(
            Hosts(
                ids=tuple(record.host.id for record in records),
                capacity=np.array([capacity_of(r.host) for r in records]).reshape(-1, N_RESOURCES),
                is_open=is_heard & ~in_maintenance,
                fault_domain=np.arange(len(records)),
            ),
            Vms(
                ids=tuple(vm.id for vm in vms),
                host=host,
                mean=mean[0],
                deviation=deviation[0],
                tenant=np.array([tenants[vm.tenant] for vm in vms], dtype=np.intp),
                exempt=exempt | ~is_heard[host],
            ),
        )
        reserved = self._reserved(fleet) + background
        n_slots = len(AHEAD_S)
        problem = replace(
            over_slots(fleet, mean, deviation, reserved),
            chance=Chance(self._chance.epsilon, np.tile(self._chance.correlation, n_slots)),
            since_moved_s=self._since_moved(fleet.vms.ids, cooldown_s),
        )
        return LiveFleet(problem, records, vms)

    def _ahead(self, vms: Sequence[Vm], now: F64) -> tuple[F64, F64]:
        """(S, V, R) mean and deviation; what is not forecast stays as it is now."""
        means, deviations = [], []
        most = np.full((len(vms), N_RESOURCES), np.inf)
        most[:, CPU_AXIS] = [vm.n_vcpus for vm in vms]
        most[:, MEMORY_AXIS] = [vm.memory_mib for vm in vms]
        latest = self._latest()
        for ahead_s in AHEAD_S:
            mean, deviation = moments(forecast_ahead(latest, vms, ahead_s).astype(np.float64))
            sure = ~np.isnan(mean)
            means.append(np.minimum(np.where(sure, mean, now), most))
            deviations.append(np.where(sure, deviation, UNSURE * now))
        return np.array(means), np.array(deviations)

    def _reserved(self, fleet: Fleet) -> F64:
        """(S, H, R) lots that hold sometime in a slot, but for those of VMs that run there: these
        take what they want already, and their claims go where they go."""
        place = {host: h for h, host in enumerate(fleet.hosts.ids)}
        home = {
            vm: fleet.hosts.ids[h]
            for vm, h in zip(fleet.vms.ids, fleet.vms.host.tolist(), strict=True)
        }
        begins = np.array([0.0, *AHEAD_S[1:]])
        ends = np.append(begins[1:], UNTIL_S)
        now_s = self._clock.wall_s()
        out = np.zeros((len(AHEAD_S), len(place), N_RESOURCES))
        for claim in claims_ahead(self._store, now_s):
            for lot in claim.lots:
                on = lot.location.host
                if on not in place or (claim.vm and home.get(claim.vm) == on):
                    continue
                held = (lot.start_s < now_s + ends) & (lot.end_s > now_s + begins)
                out[held, place[on], axis_of(lot.resource)] += lot.amount
        return out

    def _since_moved(self, vms: Sequence[VmId], cooldown_s: float) -> F64:
        """(V,) inf: not within the cooldown."""
        out = np.full(len(vms), np.inf)
        if cooldown_s <= 0:
            return out
        row = {vm: i for i, vm in enumerate(vms)}
        now_s, before = self._clock.wall_s(), None
        for _ in range(PAGES):
            with self._store.read() as session:
                page = session.chronicle.events(before=before, limit=PAGE)
            for record in page:
                event = record.event
                if event.kind == "vm_moved" and event.vm in row:
                    i = row[event.vm]
                    out[i] = min(out[i], max(now_s - event.at_s, 0.0))
            if len(page) < PAGE or page[-1].event.at_s < now_s - cooldown_s:
                break
            before = page[-1].id
        return out


def _now(records: Sequence[HostRecord], there: Sequence[tuple[Vm, ...]]) -> tuple[F64, F64]:
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
