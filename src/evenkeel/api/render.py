"""Turns what the store keeps into what the API says, as far as the viewer may see it."""

from __future__ import annotations

from collections.abc import Sequence

from evenkeel.api import words
from evenkeel.api.schemas import (
    AdviceOut,
    DeviationOut,
    EventOut,
    HostOut,
    MitigationOut,
    ModeOut,
    PairDeviationOut,
    PairOut,
    Reading,
    RejectionOut,
    TokenOut,
    VmOut,
)
from evenkeel.api.visibility import Viewer
from evenkeel.domain.ids import HostId, VmId
from evenkeel.domain.placement import Terms
from evenkeel.domain.plan import Advice, Mitigation
from evenkeel.domain.resources import AXIS, CPU_AXIS, SPECS
from evenkeel.domain.score import PairDeviation
from evenkeel.records import (
    DeviationRecord,
    EventRecord,
    HostRecord,
    HostSummary,
    ModeSettings,
    PairRecord,
    TokenRecord,
    VmRecord,
)
from evenkeel.wire import Matrix, TickBody

_SAFE_FOR_TENANTS = frozenset({"vm_appeared", "vm_moved", "vm_left"})


def host_out(record: HostRecord, summary: HostSummary, alive: bool) -> HostOut:
    host, health, tick = record.host, record.health, record.tick
    psi = tick.psi if tick else (None, None, None)
    return HostOut(
        id=host.id,
        hypervisor=host.hypervisor,
        cpus=len(host.cpus),
        memory_mib=host.memory_mib,
        net_mbit_s=host.net_mbit_s,
        iops=host.iops,
        capabilities=sorted(host.capabilities),
        mode=record.mode,
        alive=alive,
        last_seen_s=record.last_seen_s,
        problem=health.problem or ("clock_skewed" if record.skewed else ""),
        agent_version=health.agent_version,
        n_vms=len(tick.vms) if tick else 0,
        n_open_mitigations=summary.n_open_mitigations,
        worst_score=summary.worst_score,
        cpu_demand_cores=_total(tick.demand) if tick else None,
        cpu_usage_cores=_total(tick.usage) if tick else None,
        psi_cpu_some=psi[0],
        psi_memory_some=psi[1],
        psi_io_some=psi[2],
        spool_batches=health.spool_batches,
        spool_dropped=health.spool_dropped,
        tick_ms=health.tick_ms,
    )


def _total(matrix: Matrix) -> float | None:
    known = [row[CPU_AXIS] for row in matrix]
    cores = [value for value in known if value is not None]
    return round(sum(cores), 5) if cores else None


def vm_out(
    record: VmRecord,
    host: HostRecord | None,
    worst: PairRecord | None,
    terms: Terms,
    viewer: Viewer,
) -> VmOut:
    vm, tick = record.vm, host.tick if host else None
    row = next((k for k, one in enumerate(tick.vms) if one.id == vm.id), None) if tick else None
    return VmOut(
        id=vm.id,
        name=vm.name,
        host=record.home or record.last_home,
        tenant=vm.tenant,
        state=vm.state,
        n_vcpus=vm.n_vcpus,
        memory_mib=vm.memory_mib,
        exempt=vm.exempt,
        priority=vm.priority,
        labels=sorted(terms.labels),
        rules=terms.said(viewer.tenant),
        cpus=sorted(vm.tuning.cpuset),
        readings=_readings(tick, row) if tick is not None and row is not None else [],
        inside_loss=_inside(tick, row),
        flaws=sorted(tick.flaws[row]) if tick is not None and row is not None else [],
        last_seen_s=(host.tick_seen_s if host else None) or record.left_at_s or 0.0,
        worst_score=worst.score.score if worst else 0.0,
        worst_aggressor=viewer.shown(worst.score.aggressor)[0] if worst else None,
        worst_aggressor_name=viewer.name(worst.score.aggressor) if worst else None,
    )


def _inside(tick: TickBody | None, row: int | None) -> float | None:
    if tick is None or row is None or tick.inside_loss is None:
        return None
    return tick.inside_loss[row]


def _readings(tick: TickBody, row: int) -> list[Reading]:
    return [
        Reading(
            resource=resource,
            unit=SPECS[resource].unit,
            demand=tick.demand[row][k],
            usage=tick.usage[row][k],
            loss=tick.loss[row][k],
            self_limited=tick.self_limited[row][k],
        )
        for k, resource in enumerate(AXIS)
    ]


def pair_out(record: PairRecord, viewer: Viewer) -> PairOut:
    score = record.score
    victim, victim_name = viewer.shown(score.victim)
    aggressor, aggressor_name = viewer.shown(score.aggressor)
    return PairOut(
        host=record.host,
        victim=victim,
        victim_name=victim_name,
        aggressor=aggressor,
        aggressor_name=aggressor_name,
        resource=score.resource,
        score=score.score,
        probability=score.probability,
        severity=score.severity,
        confidence=score.confidence,
        window_s=score.window_s,
        n_samples=score.n_samples,
        horizon_s=score.horizon_s,
        at_s=record.at_s,
    )


def pair_deviation_out(host: HostId, one: PairDeviation, viewer: Viewer) -> PairDeviationOut:
    victim, victim_name = viewer.shown(one.victim)
    aggressor, aggressor_name = viewer.shown(one.aggressor)
    return PairDeviationOut(
        host=host,
        victim=victim,
        victim_name=victim_name,
        aggressor=aggressor,
        aggressor_name=aggressor_name,
        resource=one.resource,
        predicted_loss=one.predicted_loss,
        measured_loss=one.measured_loss,
        since_s=one.since_s,
        n_minutes=one.n_minutes,
        horizon_s=one.horizon_s,
    )


def mitigation_out(one: Mitigation, viewer: Viewer) -> MitigationOut:
    target, target_name = viewer.shown(one.target)
    victim, victim_name = viewer.shown(one.victim)
    aggressor, aggressor_name = viewer.shown(one.aggressor)
    open_text = viewer.may_name(one.target, one.victim, one.aggressor)
    return MitigationOut(
        id=one.id,
        host=one.host,
        kind=one.kind,
        state=one.state,
        target=target,
        target_name=target_name,
        victim=victim,
        victim_name=victim_name,
        aggressor=aggressor,
        aggressor_name=aggressor_name,
        resource=one.resource,
        change=_change(one, viewer),
        reason=one.reason if open_text else f"to cut what {victim_name} loses",
        created_at_s=one.created_at_s,
        expires_at_s=one.expires_at_s,
        state_at_s=one.state_at_s,
        state_reason=one.state_reason if open_text else "",
        loss_before=one.loss_before,
        predicted_loss=one.predicted_loss,
        measured_loss=one.measured_loss,
    )


def _change(one: Mitigation, viewer: Viewer) -> str:
    if not viewer.owns(one.target):
        return "the neighbour was changed"
    return words.change(one.instruction, len(one.prior.vcpu_pins))


def involved_in(one: Advice) -> list[VmId]:
    """Every VM that an advice's free text may name."""
    targets = [rejection.target for rejection in one.rejected]
    if one.best is not None:
        targets.append(one.best.target)
    return [one.victim, one.aggressor, *targets]


def advice_out(one: Advice, viewer: Viewer) -> AdviceOut:
    open_text = viewer.may_name(*involved_in(one))
    change = _change(one.best, viewer) if one.best else None
    if open_text:
        answer = one.answer
    else:
        answer = "a change to the neighbour or to this VM" if change else "no beneficial action"
    return AdviceOut(
        victim=viewer.shown(one.victim)[0],
        aggressor=viewer.shown(one.aggressor)[0],
        resource=one.resource,
        score=one.score,
        answer=answer,
        change=change,
        predicted_loss=one.best.predicted_loss if one.best else None,
        rejected=[
            RejectionOut(
                kind=rejection.kind,
                target=viewer.shown(rejection.target)[0],
                target_name=viewer.name(rejection.target),
                predicted_loss=rejection.predicted_loss,
                why=rejection.why,
            )
            for rejection in (one.rejected if open_text else ())
        ],
    )


def deviations_out(records: Sequence[DeviationRecord]) -> list[DeviationOut]:
    return [
        DeviationOut(
            vm=record.deviation.vm,
            resource=record.deviation.resource,
            predicted_loss=record.deviation.predicted_loss,
            measured_loss=record.deviation.measured_loss,
            at_s=record.at_s,
        )
        for record in records
    ]


def event_out(record: EventRecord, viewer: Viewer) -> EventOut:
    """A tenant gets an event's kind; its text might name a neighbour."""
    event = record.event
    open_text = viewer.tenant is None or event.kind in _SAFE_FOR_TENANTS
    return EventOut(
        id=record.id,
        at_s=event.at_s,
        kind=event.kind,
        severity=event.severity.value,
        message=event.message if open_text else event.kind.replace("_", " "),
        host=event.host,
        vm=event.vm,
        detail=dict(event.detail) if open_text else {},
    )


def token_out(record: TokenRecord, secret: str | None = None) -> TokenOut:
    return TokenOut(
        id=record.id,
        role=record.role,
        subject=record.subject,
        created_at_s=record.created_at_s,
        revoked_at_s=record.revoked_at_s,
        token=secret,
    )


def mode_out(settings: ModeSettings) -> ModeOut:
    return ModeOut(
        mode=settings.fleet,
        hosts={str(name): mode for name, mode in settings.hosts.items()},
        tenants={str(name): mode for name, mode in settings.tenants.items()},
    )
