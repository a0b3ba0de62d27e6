"""`FleetReader` on the store: what REST and the page show, as far as the principal may see it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from evenkeel import __version__
from evenkeel.api import cursor as cursors
from evenkeel.api import render, words
from evenkeel.api.reader import DEFAULT_LIMIT, MAX_LIMIT, Principal
from evenkeel.api.reliability import RELIABILITY_HOURS, ReliabilityOut, reliability_out
from evenkeel.api.render_evidence import evidence_out
from evenkeel.api.render_forecast import forecast_out, profile_out
from evenkeel.api.schemas import (
    EventOut,
    HostOut,
    MapOut,
    MitigationOut,
    ModeOut,
    Page,
    PairOut,
    SeriesOut,
    StatusOut,
    VmOut,
    WhyOut,
)
from evenkeel.api.schemas_forecast import ForecastOut, ProfileOut
from evenkeel.api.series import MAX_POINTS, series_out
from evenkeel.api.view import (
    View,
    cell,
    mitigations_out,
    pair_deviations_out,
    pair_key,
    pairs_out,
    vms_out,
)
from evenkeel.api.visibility import Viewer
from evenkeel.controller.forecasting import ForecastService
from evenkeel.domain.errors import Forbidden, ForecastUnavailable, InvalidRequest, NotFound
from evenkeel.domain.ids import HOST_ITSELF, HostId
from evenkeel.domain.resources import Resource
from evenkeel.domain.score import PRESENT_S
from evenkeel.ports import Clock
from evenkeel.ports_store import Store
from evenkeel.records import HostRecord, PairsPassed, VmRecord

N_ALARMS = 10
N_PROBLEMS = 20
N_DEVIATIONS = 24
N_RECENT_MITIGATIONS = 20


class StoreReader:
    """See `evenkeel.api.reader.FleetReader`.

    Tenants are refused hosts (Forbidden): capacity, load and neighbours' count are the operator's.
    They may ask for the map of a host that one of their VMs is on; it shows the pairs that one
    of theirs has a part in.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        pseudonym_key: bytes,
        host_silent_s: float,
        alarm_score: float,
        forecasts: ForecastService | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._key = pseudonym_key
        self._silent_s = host_silent_s
        self._started_at_s = clock.wall_s()
        self._alarm_score = alarm_score
        self._forecasts = forecasts

    @contextmanager
    def _view(self, who: Principal) -> Iterator[View]:
        with self._store.read() as session:
            yield View(session, Viewer(who, session, self._key), self._clock.wall_s())

    def status(self, who: Principal) -> StatusOut:
        with self._view(who) as view:
            tenant = view.viewer.tenant
            alive_since_s = view.now_s - self._silent_s
            inventory = view.session.inventory
            summary = inventory.summary(tenant, alive_since_s, self._alarm_score)
            alarms = inventory.pairs(
                tenant=tenant,
                min_score=self._alarm_score,
                alive_since_s=alive_since_s,
                limit=N_ALARMS,
            )
            troubled = inventory.troubled_hosts(alive_since_s, N_PROBLEMS) if not tenant else []
            return StatusOut(
                version=__version__,
                mode=view.session.access.modes().fleet,
                started_at_s=self._started_at_s,
                n_hosts=summary.n_hosts,
                n_hosts_alive=summary.n_hosts_alive,
                n_vms=summary.n_vms,
                n_pairs_above_threshold=summary.n_pairs_above_threshold,
                n_open_mitigations=summary.n_open_mitigations,
                alarms=pairs_out(view, alarms),
                problems=[
                    words.host_trouble(*trouble, view.now_s, self._silent_s) for trouble in troubled
                ]
                + (self._forecasts.trouble() if self._forecasts and not tenant else []),
            )

    def hosts(
        self, who: Principal, cursor: str | None = None, limit: int = DEFAULT_LIMIT
    ) -> Page[HostOut]:
        after = str(cursors.decode(cursor, str)[0]) if cursor else ""
        with self._view(who) as view:
            _operators_only(view)
            records = view.session.inventory.hosts(after, _bounded(limit))
            key = (records[-1].host.id,) if records else None
            return Page(
                items=self._hosts_out(view, records), next=cursors.following(key, records, limit)
            )

    def host(self, who: Principal, host: str) -> HostOut:
        with self._view(who) as view:
            _operators_only(view)
            return self._hosts_out(view, [_host(view, host)])[0]

    def _hosts_out(self, view: View, records: Sequence[HostRecord]) -> list[HostOut]:
        summaries = view.session.inventory.host_summaries(record.host.id for record in records)
        return [
            render.host_out(record, summaries[record.host.id], self._is_alive(view, record))
            for record in records
        ]

    def _is_alive(self, view: View, record: HostRecord) -> bool:
        return record.last_seen_s >= view.now_s - self._silent_s

    def vms(
        self,
        who: Principal,
        host: str | None = None,
        cursor: str | None = None,
        limit: int = DEFAULT_LIMIT,
    ) -> Page[VmOut]:
        name, last_id = cursors.decode(cursor, str, str) if cursor else ("", "")
        with self._view(who) as view:
            records = view.session.inventory.vms(
                HostId(host) if host is not None else None,
                view.viewer.tenant,
                (str(name), str(last_id)),
                _bounded(limit),
            )
            key = (records[-1].vm.name, records[-1].vm.id) if records else None
            return Page(items=vms_out(view, records), next=cursors.following(key, records, limit))

    def vm(self, who: Principal, vm: str) -> VmOut:
        with self._view(who) as view:
            return vms_out(view, [view.viewer.find(vm)])[0]

    def series(
        self,
        who: Principal,
        vm: str,
        resource: Resource,
        since_s: float,
        until_s: float,
        max_points: int = 720,
    ) -> SeriesOut:
        """Also of a VM that left, while its history is kept. More ticks than points: means."""
        if not 1 <= max_points <= MAX_POINTS:
            raise InvalidRequest(f"max_points is not within 1-{MAX_POINTS}")
        with self._view(who) as view:
            record = view.viewer.find(vm, departed=True)
            series = view.session.history.series(record.vm.id, since_s, until_s)
        return series_out(record.vm.id, resource, series, max_points)

    def why(self, who: Principal, vm: str) -> WhyOut:
        with self._view(who) as view:
            record = view.viewer.find(vm)
            vm_id = record.vm.id
            inventory, chronicle = view.session.inventory, view.session.chronicle
            hurt_by = inventory.pairs(victims=[vm_id], limit=50)
            hurts = inventory.pairs(aggressors=[vm_id], limit=50)
            mitigations = chronicle.mitigations(
                vm=vm_id, tenant=view.viewer.tenant, limit=N_RECENT_MITIGATIONS
            )
            host = inventory.host(record.home) if record.home else None
            advice = [one for one in host.advice if one.victim == vm_id] if host else []
            view.viewer.look_up(
                name
                for one in advice
                for name in (one.aggressor, *(r.target for r in one.rejected))
            )
            shown, pairs = vms_out(view, [record])[0], pairs_out(view, hurt_by)
            silent = host is not None and not self._is_alive(view, host)
            silent_s = view.now_s - host.last_seen_s if host and silent else None
            return WhyOut(
                vm=shown,
                summary=words.summary(shown, pairs, silent_s),
                hurt_by=pairs,
                hurts=pairs_out(view, hurts),
                deviations=render.deviations_out(
                    view.session.history.deviations(vm_id, N_DEVIATIONS)
                ),
                pair_deviations=pair_deviations_out(view, host, vm_id),
                advice=[render.advice_out(one, view.viewer) for one in advice],
                mitigations=mitigations_out(view, mitigations),
                evidence=evidence_out(host, vm_id, view.viewer),
            )

    def _forecast_vm(self, who: Principal, vm: str) -> tuple[ForecastService, VmRecord, str | None]:
        """The VM, and its name where that is its alone: Prometheus knows VMs by name."""
        with self._view(who) as view:
            record = view.viewer.find(vm)
            alone = len(view.session.inventory.vms_named(record.vm.name, None)) == 1
        if self._forecasts is None:
            raise ForecastUnavailable(
                "this controller does not forecast", hint="See forecast.enabled."
            )
        return self._forecasts, record, record.vm.name if alone else None

    def profile(self, who: Principal, vm: str) -> ProfileOut:
        forecasts, record, name = self._forecast_vm(who, vm)
        return profile_out(record.vm.id, record.vm.name, forecasts.profiles(record.vm.id, name))

    def forecast(self, who: Principal, vm: str, resource: Resource | None = None) -> ForecastOut:
        forecasts, record, name = self._forecast_vm(who, vm)
        vector = forecasts.vector(record.vm.id, name)
        if resource is not None and resource not in vector.demands:
            raise ForecastUnavailable(f"there is no forecast of its {resource.value} yet")
        deviations = forecasts.deviations(record.vm.id, name)
        return forecast_out(vector, record.vm.name, self._clock.wall_s(), resource, deviations)

    def contention_map(self, who: Principal, host: str, horizon_s: float = PRESENT_S) -> MapOut:
        with self._view(who) as view:
            tenant = view.viewer.tenant
            record = view.session.inventory.host(HostId(host))
            own = view.session.inventory.vms(HostId(host), tenant, limit=MAX_LIMIT)
            if record is None or (tenant is not None and not own):
                raise NotFound(f"there is no host {host!r}", hint="`evenkeel hosts` lists them.")
            pairs = view.session.inventory.pairs(
                host=HostId(host),
                tenant=tenant,
                min_score=1.0,
                limit=10 * MAX_LIMIT,
                horizon_s=horizon_s,
            )
            ids = [one.vm.id for one in own]
            strangers = {side for p in pairs for side in (p.score.victim, p.score.aggressor)}
            ids += sorted(strangers - {HOST_ITSELF, *ids})
            view.viewer.look_up(ids)
            place = {vm_id: k for k, vm_id in enumerate(ids)} | {HOST_ITSELF: -1}
            return MapOut(
                host=host,
                at_s=record.tick_seen_s,
                alive=self._is_alive(view, record),
                vms=[view.viewer.shown(vm_id)[0] for vm_id in ids],
                names=[view.viewer.name(vm_id) for vm_id in ids],
                cells=[cell(pair, place) for pair in pairs],
                horizon_s=horizon_s,
                deviations=pair_deviations_out(view, record),
            )

    def pairs(
        self,
        who: Principal,
        host: str | None = None,
        min_score: float = 1.0,
        cursor: str | None = None,
        limit: int = DEFAULT_LIMIT,
        horizon_s: float = PRESENT_S,
    ) -> Page[PairOut]:
        after = None
        if cursor:
            score, n_passed = cursors.decode(cursor, float, int)
            after = PairsPassed(float(score), int(n_passed))
        with self._view(who) as view:
            records = view.session.inventory.pairs(
                host=HostId(host) if host is not None else None,
                tenant=view.viewer.tenant,
                min_score=min_score,
                after=after,
                limit=_bounded(limit),
                horizon_s=horizon_s,
            )
            return Page(
                items=pairs_out(view, records),
                next=cursors.following(pair_key(records, after), records, limit),
            )

    def reliability(
        self,
        who: Principal,
        host: str | None = None,
        resource: Resource | None = None,
        horizon_s: float | None = None,
        hours: float = RELIABILITY_HOURS,
    ) -> ReliabilityOut:
        with self._view(who) as view:
            _operators_only(view)
            where = _host(view, host).host.id if host is not None else None
            since_s = view.now_s - 3600 * hours
            found = view.session.reliability.sums(since_s, where, resource, horizon_s)
        return reliability_out(found, since_s, where, resource)

    def mitigations(
        self,
        who: Principal,
        host: str | None = None,
        vm: str | None = None,
        open_only: bool = False,
        cursor: str | None = None,
        limit: int = DEFAULT_LIMIT,
    ) -> Page[MitigationOut]:
        before = None
        if cursor:
            at_s, host_id, last_id = cursors.decode(cursor, float, str, str)
            before = (float(at_s), str(host_id), str(last_id))
        with self._view(who) as view:
            found = view.session.chronicle.mitigations(
                host=HostId(host) if host is not None else None,
                vm=view.viewer.find(vm, departed=True).vm.id if vm is not None else None,
                tenant=view.viewer.tenant,
                open_only=open_only,
                before=before,
                limit=_bounded(limit),
            )
            key = (found[-1].created_at_s, found[-1].host, found[-1].id) if found else None
            return Page(
                items=mitigations_out(view, found), next=cursors.following(key, found, limit)
            )

    def events(
        self,
        who: Principal,
        host: str | None = None,
        vm: str | None = None,
        cursor: str | None = None,
        limit: int = DEFAULT_LIMIT,
    ) -> Page[EventOut]:
        before = int(cursors.decode(cursor, int)[0]) if cursor else None
        with self._view(who) as view:
            found = view.session.chronicle.events(
                host=HostId(host) if host is not None else None,
                vm=view.viewer.find(vm, departed=True).vm.id if vm is not None else None,
                tenant=view.viewer.tenant,
                before=before,
                limit=_bounded(limit),
            )
            return Page(
                items=[render.event_out(one, view.viewer) for one in found],
                next=cursors.following((found[-1].id,) if found else None, found, limit),
            )

    def mode(self, who: Principal) -> ModeOut:
        with self._view(who) as view:
            settings, tenant = view.session.access.modes(), view.viewer.tenant
        if tenant is None:
            return render.mode_out(settings)
        own = {name: mode for name, mode in settings.tenants.items() if name == tenant}
        return render.mode_out(dataclasses.replace(settings, hosts={}, tenants=own))


def _bounded(limit: int) -> int:
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidRequest(f"limit is not within 1-{MAX_LIMIT}")
    return limit


def _operators_only(view: View) -> None:
    if view.viewer.tenant is not None:
        raise Forbidden("hosts are shown to administrators only")


def _host(view: View, host: str) -> HostRecord:
    record = view.session.inventory.host(HostId(host))
    if record is None:
        raise NotFound(f"there is no host {host!r}", hint="`evenkeel hosts` lists them.")
    return record
