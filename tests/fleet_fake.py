"""A believable fleet of three hosts behind FleetReader, for the page and the CLI.

host-a: batch7 starves web1. host-b: two small rubs and a VM with a hostile name. host-c: silent.
The tenant `shop` owns web1, web2 and db1; `infra` has a VM on each host. Tenants are refused hosts.
"""

from __future__ import annotations

import math

from fleet_facts import ADMIN, HOSTILE, INFRA, OTHER, PAIRS, SHOP, TICK_S, USUAL, VMS
from forecast_fake import FAKE_PROFILE, fake_demands
from reliability_fake import fake_sums

from evenkeel.api.reader import DEFAULT_LIMIT, Principal, Role
from evenkeel.api.reliability import ReliabilityOut, reliability_out
from evenkeel.api.render_forecast import forecast_out, profile_out
from evenkeel.api.schemas import (
    AdviceOut,
    DeviationOut,
    EventOut,
    EvidenceOut,
    FindingOut,
    HostOut,
    MapCell,
    MapOut,
    MitigationOut,
    ModeOut,
    Page,
    PairDeviationOut,
    PairOut,
    Reading,
    RejectionOut,
    SeriesOut,
    StatusOut,
    SuspicionOut,
    VmOut,
    WhyOut,
)
from evenkeel.api.schemas_forecast import ForecastOut, ProfileOut
from evenkeel.domain.errors import Forbidden, NotFound
from evenkeel.domain.host import Mode
from evenkeel.domain.ids import VmId
from evenkeel.domain.plan import OPEN_STATES, ActionKind, MitigationState
from evenkeel.domain.rdv import DemandVector
from evenkeel.domain.resources import AXIS, SPECS, Resource
from evenkeel.domain.vm import VmState

__all__ = ["ADMIN", "HOSTILE", "INFRA", "SHOP", "FleetFake", "vm_id"]


def vm_id(name: str) -> str:
    """Stable UUID-like id of a VM of this fleet."""
    return f"0e5c2f6a-0000-4000-8000-{list(VMS).index(name):012d}"


class FleetFake:
    """FleetReader over the constants above; `now_s` is the moment everything is as of."""

    def __init__(self, now_s: float, mode: Mode = Mode.ACT, empty: bool = False) -> None:
        self.now_s = now_s
        self.modes = ModeOut(mode=mode, hosts={"host-b": Mode.ADVISE}, tenants={})
        self.names = [] if empty else list(VMS)
        self.page_size = DEFAULT_LIMIT

    def _sees(self, who: Principal, name: str) -> bool:
        return who.role is Role.ADMIN or VMS[name][1] == who.subject

    def _visible(self, who: Principal) -> list[str]:
        return [name for name in self.names if self._sees(who, name)]

    def _shown(self, who: Principal, name: str) -> tuple[str, str]:
        """Id and name as this principal may know them."""
        if name == "host":
            return "host", "the host"
        if self._sees(who, name):
            return vm_id(name), name
        return f"other-{list(VMS).index(name)}", OTHER

    def _find(self, who: Principal, vm: str) -> str:
        for name in self._visible(who):
            if vm in (name, vm_id(name)):
                return name
        raise NotFound(f"there is no VM {vm!r}", hint="`evenkeel vms` lists them.")

    def _page(self, items: list, cursor: str | None, limit: int) -> Page:
        start, size = int(cursor or 0), min(limit, self.page_size)
        end = start + size
        return Page(items=items[start:end], next=str(end) if end < len(items) else None)

    def forecast(self, who, vm: str, resource: Resource | None = None) -> ForecastOut:
        name = self._find(who, vm)
        demands = fake_demands(VMS[name][4], VMS[name][2], self.now_s)
        return forecast_out(DemandVector(VmId(vm_id(name)), demands), name, self.now_s, resource)

    def profile(self, who, vm: str) -> ProfileOut:
        name = self._find(who, vm)
        return profile_out(vm_id(name), name, {Resource.CPU: FAKE_PROFILE})

    def status(self, who: Principal) -> StatusOut:
        alarms = [pair for pair in self._pairs(who) if pair.score >= 20]
        hosts = {VMS[name][0] for name in self._visible(who)}
        return StatusOut(
            version="0.1.0",
            mode=self.modes.mode,
            started_at_s=self.now_s - 90_000,
            n_hosts=len(hosts),
            n_hosts_alive=len(hosts - {"host-c"}),
            n_vms=len(self._visible(who)),
            n_pairs_above_threshold=len(alarms),
            n_open_mitigations=len(self._mitigations(who, open_only=True)),
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
        mine = [name for name in self._visible(who) if VMS[name][0] == host]
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
            worst_score=max([p.score for p in self._pairs(who, host)], default=0.0),
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
        mine = [n for n in self._visible(who) if host is None or VMS[n][0] == host]
        return self._page([self.vm(who, name) for name in mine], cursor, limit)

    def vm(self, who, vm: str) -> VmOut:
        name = self._find(who, vm)
        host, tenant, n_vcpus, memory_mib, demand, loss = VMS[name]
        worst = max(self._pairs(who, victim=name), key=lambda p: p.score, default=None)
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
        name = self._find(who, vm)
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
        name = self._find(who, vm)
        pairs = self._pairs(who, victim=name)
        advice = []
        if name == "web1":
            advice = [self._advice(who)]
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
            hurts=[p for p in self._pairs(who) if p.aggressor == vm_id(name)],
            deviations=[deviation] if name == "web1" else [],
            pair_deviations=self._pair_deviations(who, VMS[name][0], vm_id(name)),
            advice=advice,
            mitigations=self._mitigations(who, vm=vm_id(name)),
            evidence=self._evidence(who) if name == "web1" else None,
        )

    def _evidence(self, who: Principal) -> EvidenceOut:
        aggressor, aggressor_name = self._shown(who, "batch7")
        return EvidenceOut(
            resource=Resource.CPU,
            measured_loss=0.42,
            predicted_loss=0.36,
            witnesses={"cpu": 0.42, "memory": 0.0, "inside": 0.5, "unexplained": 0.14, "net": None},
            suspects=[
                SuspicionOut(
                    who=aggressor,
                    name=aggressor_name,
                    attributed_loss=0.35,
                    probability=0.93,
                    loss_without=0.04,
                ),
                SuspicionOut(
                    who="",
                    name="nobody known",
                    attributed_loss=0.07,
                    probability=0.02,
                    loss_without=None,
                ),
            ],
            findings=[
                FindingOut(
                    suspect=aggressor,
                    suspect_name=aggressor_name,
                    verdict="confirmed",
                    at_s=self.now_s - 60,
                    expected_drop=0.09,
                    loss_free=0.41,
                    loss_throttled=0.3,
                    n_free=12,
                    n_throttled=6,
                    reason="",
                )
            ],
        )

    def _pair_deviations(self, who, host, vm=None) -> list[PairDeviationOut]:
        """batch7 costs web2 more memory than it should."""
        if "web2" not in self.names or not self._sees(who, "web2") or host != "host-a":
            return []
        aggressor, aggressor_name = self._shown(who, "batch7")
        one = PairDeviationOut(
            host="host-a",
            victim=vm_id("web2"),
            victim_name="web2",
            aggressor=aggressor,
            aggressor_name=aggressor_name,
            resource=Resource.MEMORY,
            predicted_loss=0.02,
            measured_loss=0.24,
            since_s=self.now_s - 1500,
            n_minutes=25,
            horizon_s=5,
        )
        return [one] if vm in (None, one.victim, one.aggressor) else []

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

    def _advice(self, who: Principal) -> AdviceOut:
        aggressor, aggressor_name = self._shown(who, "batch7")
        rejected = [
            (ActionKind.BOOST, "web1", 0.18, "helps less than pinning apart"),
            (ActionKind.QUOTA, "batch7", 0.05, "would take half of what it wants"),
        ]
        return AdviceOut(
            victim=vm_id("web1"),
            aggressor=aggressor,
            resource=Resource.CPU,
            score=36.0,
            answer=f"keep {aggressor_name} off the CPUs of web1",
            change=f"{aggressor_name}: vCPUs 0-3 pinned to CPUs 4-7",
            predicted_loss=0.03,
            rejected=[
                RejectionOut(
                    kind=kind,
                    target=self._shown(who, target)[0],
                    target_name=self._shown(who, target)[1],
                    predicted_loss=loss,
                    why=why,
                )
                for kind, target, loss, why in rejected
            ],
        )

    def contention_map(self, who, host: str, horizon_s: float = 5.0) -> MapOut:
        known = self._host(who, host)
        names = [name for name in self.names if VMS[name][0] == host]
        shown = [self._shown(who, name) for name in names]
        ids = [vm for vm, _ in shown]
        cells = [
            MapCell(
                victim=ids.index(p.victim),
                aggressor=-1 if p.aggressor == "host" else ids.index(p.aggressor),
                resource=p.resource,
                score=p.score,
                confidence=p.confidence,
            )
            for p in self._pairs(who, host)
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
            deviations=self._pair_deviations(who, host),
        )

    def pairs(
        self, who, host=None, min_score=1.0, cursor=None, limit=DEFAULT_LIMIT, horizon_s=5.0
    ) -> Page[PairOut]:
        found = [
            p for p in self._pairs(who, host) if p.score >= min_score and p.horizon_s == horizon_s
        ]
        return self._page(found, cursor, limit)

    def _pairs(self, who, host=None, victim=None) -> list[PairOut]:
        found = []
        for v, a, resource, score, probability, severity, confidence in PAIRS:
            wanted = host in (None, VMS[v][0]) and victim in (None, v)
            if v not in self.names or not wanted or not self._sees(who, v):
                continue
            (vid, vname), (aid, aname) = self._shown(who, v), self._shown(who, a)
            found.append(
                PairOut(
                    host=VMS[v][0],
                    victim=vid,
                    victim_name=vname,
                    aggressor=aid,
                    aggressor_name=aname,
                    resource=resource,
                    score=score,
                    probability=probability,
                    severity=severity,
                    confidence=confidence,
                    window_s=60,
                    n_samples=12,
                    horizon_s=5,
                    at_s=self.now_s - 3,
                )
            )
        return found

    def mitigations(
        self, who, host=None, vm=None, open_only=False, cursor=None, limit=DEFAULT_LIMIT
    ) -> Page[MitigationOut]:
        found = self._mitigations(who, vm, open_only)
        return self._page([m for m in found if host in (None, m.host)], cursor, limit)

    def _mitigations(self, who, vm=None, open_only=False) -> list[MitigationOut]:
        if "web1" not in self.names or not self._sees(who, "web1"):
            return []
        rows = [
            ("m-3", ActionKind.PIN_APART, MitigationState.ACTIVE, 12, 12, None, ""),
            ("m-2", ActionKind.BOOST, MitigationState.INEFFECTIVE, 700, 640, 0.37, "loss stayed"),
            ("m-1", ActionKind.QUOTA, MitigationState.ROLLED_BACK, 2900, 2700, 0.05, "calm again"),
        ]
        victim, (aggressor, aggressor_name) = vm_id("web1"), self._shown(who, "batch7")
        found = []
        for id_, kind, state, age, state_age, measured, reason in rows:
            on_victim = kind is ActionKind.BOOST
            found.append(
                MitigationOut(
                    id=id_,
                    host="host-a",
                    kind=kind,
                    state=state,
                    target=victim if on_victim else aggressor,
                    target_name="web1" if on_victim else aggressor_name,
                    victim=victim,
                    victim_name="web1",
                    aggressor=aggressor,
                    aggressor_name=aggressor_name,
                    resource=Resource.CPU,
                    change={
                        ActionKind.PIN_APART: "vCPUs 0-3 pinned to CPUs 4-7",
                        ActionKind.BOOST: "CPU shares 1024 to 4096",
                        ActionKind.QUOTA: "CPU quota 2.0 cores",
                    }[kind],
                    reason="score 36 for 2 ticks",
                    created_at_s=self.now_s - age,
                    expires_at_s=self.now_s - age + 120,
                    state_at_s=self.now_s - state_age,
                    state_reason=reason,
                    loss_before=0.42,
                    predicted_loss=0.03,
                    measured_loss=measured,
                )
            )
        return [
            m
            for m in found
            if vm in (None, m.victim, m.target) and (not open_only or m.state in OPEN_STATES)
        ]

    def events(self, who, host=None, vm=None, cursor=None, limit=DEFAULT_LIMIT) -> Page[EventOut]:
        rows = [
            (5, 12, "mitigation_applied", "info", "batch7 pinned apart from web1", "host-a"),
            (4, 260, "host_fell_silent", "warning", "host-c is silent", "host-c"),
            (3, 640, "mitigation_undone", "info", "boost of web1 did not help, undone", "host-a"),
            (2, 700, "mitigation_applied", "info", "web1 boosted", "host-a"),
            (1, 9000, "agent_failed", "error", "the journal's disk is full", "host-b"),
        ]
        hosts = {VMS[name][0] for name in self._visible(who)}
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
