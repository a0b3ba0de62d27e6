"""A believable fleet of three hosts behind FleetReader, for the page and the CLI.

host-a: batch7 starves web1. host-b: two small rubs and a VM with a hostile name. host-c: silent.
The tenant `shop` owns web1, web2 and db1; `infra` has a VM on each host. Tenants are refused hosts.
"""

from __future__ import annotations

import math

import fleet_story as story
from fleet_facts import ADMIN, HOSTILE, INFRA, SHOP, TICK_S, USUAL, VMS
from fleet_story import Sight, vm_id
from forecast_fake import FAKE_PROFILE, fake_demands
from reliability_fake import fake_sums

from evenkeel.api.reader import DEFAULT_LIMIT, Principal, Role
from evenkeel.api.reliability import ReliabilityOut, reliability_out
from evenkeel.api.render_forecast import forecast_out, profile_out
from evenkeel.api.schemas import (
    DeviationOut,
    EventOut,
    HostOut,
    MapCell,
    MapOut,
    MitigationOut,
    ModeOut,
    Page,
    PairOut,
    Reading,
    SeriesOut,
    StatusOut,
    VmOut,
    WhyOut,
)
from evenkeel.api.schemas_forecast import ForecastOut, ProfileOut
from evenkeel.domain.errors import Forbidden, NotFound
from evenkeel.domain.host import Mode
from evenkeel.domain.ids import VmId
from evenkeel.domain.rdv import DemandVector
from evenkeel.domain.resources import AXIS, SPECS, Resource
from evenkeel.domain.vm import VmState

__all__ = ["ADMIN", "HOSTILE", "INFRA", "SHOP", "FleetFake", "vm_id"]


class FleetFake:
    """FleetReader over the constants above; `now_s` is the moment everything is as of."""

    def __init__(self, now_s: float, mode: Mode = Mode.ACT, empty: bool = False) -> None:
        self.now_s = now_s
        self.modes = ModeOut(mode=mode, hosts={"host-b": Mode.ADVISE}, tenants={})
        self.names = [] if empty else list(VMS)
        self.page_size = DEFAULT_LIMIT

    def _sight(self, who: Principal) -> Sight:
        return Sight(who, self.names, self.now_s)

    def _page(self, items: list, cursor: str | None, limit: int) -> Page:
        start, size = int(cursor or 0), min(limit, self.page_size)
        end = start + size
        return Page(items=items[start:end], next=str(end) if end < len(items) else None)

    def forecast(self, who, vm: str, resource: Resource | None = None) -> ForecastOut:
        name = self._sight(who).find(vm)
        demands = fake_demands(VMS[name][4], VMS[name][2], self.now_s)
        return forecast_out(DemandVector(VmId(vm_id(name)), demands), name, self.now_s, resource)

    def profile(self, who, vm: str) -> ProfileOut:
        name = self._sight(who).find(vm)
        return profile_out(vm_id(name), name, {Resource.CPU: FAKE_PROFILE})

    def status(self, who: Principal) -> StatusOut:
        sight = self._sight(who)
        alarms = [pair for pair in story.pairs(sight) if pair.score >= 20]
        hosts = {VMS[name][0] for name in sight.visible()}
        return StatusOut(
            version="0.1.0",
            mode=self.modes.mode,
            started_at_s=self.now_s - 90_000,
            n_hosts=len(hosts),
            n_hosts_alive=len(hosts - {"host-c"}),
            n_vms=len(sight.visible()),
            n_pairs_above_threshold=len(alarms),
            n_open_mitigations=len(story.mitigations(sight, open_only=True)),
            alarms=alarms,
            problems=[
                problem
                for problem in ("host-b: journal_unavailable", "host-c: silent for 260 s")
                if who.role is Role.ADMIN and problem.split(":")[0] in hosts
            ],
        )

    def hosts(self, who, cursor=None, limit=DEFAULT_LIMIT) -> Page[HostOut]:
        if who.role is not Role.ADMIN:
            raise Forbidden("hosts are the operator's")
        names = sorted({VMS[name][0] for name in self.names})
        return self._page([self._host(who, name) for name in names], cursor, limit)

    def host(self, who, host: str) -> HostOut:
        if who.role is not Role.ADMIN:
            raise Forbidden("hosts are the operator's")
        return self._host(who, host)

    def _host(self, who, host: str) -> HostOut:
        sight = self._sight(who)
        mine = [name for name in sight.visible() if VMS[name][0] == host]
        if not mine:
            raise NotFound(f"there is no host {host!r}", hint="`evenkeel hosts` lists them.")
        alive = host != "host-c"
        demand = sum(VMS[name][4] for name in mine)
        return HostOut(
            id=host,
            hypervisor="QEMU 7.2.0",
            cpus=8,
            memory_mib=65536,
            net_mbit_s=10_000,
            iops=None,
            capabilities=["balloon", "pin", "psi", "quota", "shares"],
            mode=self.modes.hosts.get(host, self.modes.mode),
            alive=alive,
            last_seen_s=self.now_s - (3 if alive else 260),
            problem="journal_unavailable" if host == "host-b" else "",
            agent_version="0.1.0",
            n_vms=len(mine),
            n_open_mitigations=1 if host == "host-a" else 0,
            worst_score=max([p.score for p in story.pairs(sight, host)], default=0.0),
            cpu_demand_cores=demand if alive else None,
            cpu_usage_cores=demand * 0.86 if alive else None,
            psi_cpu_some=0.31 if host == "host-a" else 0.04,
            psi_memory_some=0.01,
            psi_io_some=0.06,
            spool_batches=0 if alive else 4,
            spool_dropped=0,
            tick_ms=31.0,
        )

    def vms(self, who, host=None, cursor=None, limit=DEFAULT_LIMIT) -> Page[VmOut]:
        mine = [n for n in self._sight(who).visible() if host is None or VMS[n][0] == host]
        return self._page([self.vm(who, name) for name in mine], cursor, limit)

    def vm(self, who, vm: str) -> VmOut:
        sight = self._sight(who)
        name = sight.find(vm)
        host, tenant, n_vcpus, memory_mib, demand, loss = VMS[name]
        worst = max(story.pairs(sight, victim=name), key=lambda p: p.score, default=None)
        readings = [
            Reading(
                resource=r,
                unit=SPECS[r].unit,
                demand=demand if r is Resource.CPU else USUAL[r],
                usage=demand * (1 - loss) if r is Resource.CPU else USUAL[r],
                loss=loss if r is Resource.CPU else 0.0,
                self_limited=0.0 if r is not Resource.IOPS else None,
            )
            for r in AXIS
        ]
        return VmOut(
            id=vm_id(name),
            name=name,
            host=host,
            tenant=tenant,
            state=VmState.RUNNING,
            n_vcpus=n_vcpus,
            memory_mib=memory_mib,
            exempt=name == "db1",
            priority=2.0 if name == "web1" else 1.0,
            cpus=list(range(4)),
            readings=readings,
            flaws=["no_balloon_stats"] if name == "cache1" else [],
            last_seen_s=self.now_s - (3 if host != "host-c" else 260),
            worst_score=worst.score if worst else 0.0,
            worst_aggressor=worst.aggressor if worst else None,
            worst_aggressor_name=worst.aggressor_name if worst else None,
        )

    def series(self, who, vm, resource, since_s, until_s, max_points=720) -> SeriesOut:
        name = self._sight(who).find(vm)
        step = max(TICK_S, (until_s - since_s) / max_points)
        at = [since_s + i * step for i in range(int((until_s - since_s) / step))]
        base = VMS[name][4] if resource is Resource.CPU else USUAL[resource]
        demand, loss = [], []
        for t in at:
            ago = self.now_s - t
            wave = 1 + 0.12 * math.sin(t / 47) + 0.05 * math.sin(t / 9)
            noisy = name == "web1" and resource is Resource.CPU and (600 < ago < 790 or ago < 75)
            demand.append(base * wave)
            loss.append((0.40 if noisy else 0.02) * (1 + 0.1 * math.sin(t / 5)))
        gap = range(len(at) // 3, len(at) // 3 + 4)  # the agent was restarted here
        return SeriesOut(
            vm=vm_id(name),
            resource=resource,
            unit=SPECS[resource].unit,
            at_s=at,
            demand=[None if i in gap else value for i, value in enumerate(demand)],
            usage=[
                None if i in gap else d * (1 - x)
                for i, (d, x) in enumerate(zip(demand, loss, strict=True))
            ],
            loss=[None if i in gap else value for i, value in enumerate(loss)],
            self_limited=[0.0 for _ in at],
        )

    def why(self, who, vm: str) -> WhyOut:
        sight = self._sight(who)
        name = sight.find(vm)
        pairs = story.pairs(sight, victim=name)
        advice = []
        if name == "web1":
            advice = [story.advice(sight)]
            summary = (
                f"{name} is expected to lose 36 % of the CPU it wants because of "
                f"{pairs[0].aggressor_name}; pinning them apart brings that to 3 %."
            )
        elif pairs:
            summary = f"{name} suffers a little from {pairs[0].aggressor_name}."
        else:
            summary = f"{name} gets what it wants."
        deviation = DeviationOut(
            vm=vm_id(name),
            resource=Resource.CPU,
            predicted_loss=0.36,
            measured_loss=0.42,
            at_s=self.now_s - 8,
        )
        return WhyOut(
            vm=self.vm(who, name),
            summary=summary,
            hurt_by=pairs,
            hurts=[p for p in story.pairs(sight) if p.aggressor == vm_id(name)],
            deviations=[deviation] if name == "web1" else [],
            pair_deviations=story.pair_deviations(sight, VMS[name][0], vm_id(name)),
            advice=advice,
            mitigations=story.mitigations(sight, vm=vm_id(name)),
            evidence=story.evidence(sight) if name == "web1" else None,
        )

    def reliability(
        self, who, host=None, resource=None, horizon_s=None, hours=24.0
    ) -> ReliabilityOut:
        if who.role is not Role.ADMIN:
            raise Forbidden("the reliability of the scores is the operator's")
        if host is not None:
            self._host(who, host)
        found = fake_sums() if self.names else {}
        found = {
            key: sums
            for key, sums in found.items()
            if resource in (None, key[1]) and horizon_s in (None, key[0])
        }
        return reliability_out(found, self.now_s - 3600 * hours, host, resource)

    def contention_map(self, who, host: str, horizon_s: float = 5.0) -> MapOut:
        sight = self._sight(who)
        known = self._host(who, host)
        names = [name for name in self.names if VMS[name][0] == host]
        shown = [sight.shown(name) for name in names]
        ids = [vm for vm, _ in shown]
        cells = [
            MapCell(
                victim=ids.index(p.victim),
                aggressor=-1 if p.aggressor == "host" else ids.index(p.aggressor),
                resource=p.resource,
                score=p.score,
                confidence=p.confidence,
            )
            for p in story.pairs(sight, host)
            if horizon_s == p.horizon_s
        ]
        return MapOut(
            host=host,
            at_s=known.last_seen_s,
            alive=known.alive,
            vms=ids,
            names=[name for _, name in shown],
            cells=cells,
            horizon_s=horizon_s,
            deviations=story.pair_deviations(sight, host),
        )

    def pairs(
        self, who, host=None, min_score=1.0, cursor=None, limit=DEFAULT_LIMIT, horizon_s=5.0
    ) -> Page[PairOut]:
        found = [
            p
            for p in story.pairs(self._sight(who), host)
            if p.score >= min_score and p.horizon_s == horizon_s
        ]
        return self._page(found, cursor, limit)

    def mitigations(
        self, who, host=None, vm=None, open_only=False, cursor=None, limit=DEFAULT_LIMIT
    ) -> Page[MitigationOut]:
        found = story.mitigations(self._sight(who), vm, open_only)
        return self._page([m for m in found if host in (None, m.host)], cursor, limit)

    def events(self, who, host=None, vm=None, cursor=None, limit=DEFAULT_LIMIT) -> Page[EventOut]:
        rows = [
            (5, 12, "mitigation_applied", "info", "batch7 pinned apart from web1", "host-a"),
            (4, 260, "host_fell_silent", "warning", "host-c is silent", "host-c"),
            (3, 640, "mitigation_undone", "info", "boost of web1 did not help, undone", "host-a"),
            (2, 700, "mitigation_applied", "info", "web1 boosted", "host-a"),
            (1, 9000, "agent_failed", "error", "the journal's disk is full", "host-b"),
        ]
        hosts = {VMS[name][0] for name in self._sight(who).visible()}
        found = [
            EventOut(
                id=id_,
                at_s=self.now_s - age,
                kind=kind,
                severity=severity,
                message=message,
                host=where,
                vm=None,
                detail={},
            )
            for id_, age, kind, severity, message, where in rows
            if where in hosts and host in (None, where) and who.role is Role.ADMIN
        ]
        return self._page(found, cursor, limit)

    def mode(self, who) -> ModeOut:
        return self.modes
