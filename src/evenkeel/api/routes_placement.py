"""Where does this VM go? POST /v1/placements, one VM or many."""

from __future__ import annotations

from typing import Annotated, Final

import numpy as np
from fastapi import APIRouter, Depends, Request, Response

from evenkeel.api.access import ADMIN
from evenkeel.api.errors import ERROR_RESPONSES
from evenkeel.api.reader import Principal
from evenkeel.api.schemas_placement import (
    NewcomerIn,
    OptionOut,
    OutcomeOut,
    PlacementsIn,
    PlacementsOut,
    ReasonOut,
    RuleIn,
)
from evenkeel.api.services import Services, services_of, vm_like
from evenkeel.controller.present import UNSURE
from evenkeel.domain.errors import NotFound
from evenkeel.domain.ids import NO_TENANT, HostId, TenantId, VmId
from evenkeel.domain.placement import (
    Group,
    Newcomer,
    Option,
    Outcome,
    Placed,
    PlacementInvalid,
    Rule,
)
from evenkeel.domain.resources import AXIS, CPU_AXIS, MEMORY_AXIS, N_RESOURCES
from evenkeel.placement.entitlement import Interval

router = APIRouter(prefix="/v1", tags=["placement"], responses=ERROR_RESPONSES)
DAY_S: Final = 86_400


@router.post(
    "/placements",
    summary="Choose hosts for VMs, and reserve what they need there",
    response_model=PlacementsOut,
)
def place(
    request: Request, who: Annotated[Principal, Depends(ADMIN)], asked: PlacementsIn
) -> Response:
    """The least contention wins; among equal hosts the tightest fit, then the best spread.

    A VM that no host takes is an outcome with a code, not an error: others may have been placed.
    """
    services = services_of(request)
    if services.placements is None:
        raise NotFound("this controller places nothing")
    start_s = int(services.clock.wall_s()) if asked.start_s is None else asked.start_s
    end_s = start_s + DAY_S if asked.end_s is None else asked.end_s
    outcomes = services.placements.place(
        [_newcomer(services, who, one) for one in asked.vms],
        Interval(start_s, end_s),
        all_or_nothing=asked.all_or_nothing,
        dry_run=asked.dry_run,
        precise=asked.precise,
    )
    n_placed = sum(isinstance(outcome, Placed) for outcome in outcomes)
    answer = PlacementsOut(
        start_s=start_s,
        end_s=end_s,
        dry_run=asked.dry_run,
        n_placed=n_placed,
        n_refused=len(outcomes) - n_placed,
        outcomes=[_outcome(outcome) for outcome in outcomes],
    )
    # FastAPI would check our own answer once more, on another thread.
    return Response(answer.model_dump_json(), media_type="application/json")


def _newcomer(services: Services, who: Principal, asked: NewcomerIn) -> Newcomer:
    twin = vm_like(services, who, asked.like) if asked.like else None
    n_vcpus = asked.vcpus or (twin.n_vcpus if twin else 0)
    memory_mib = asked.memory_mib or (twin.memory_mib if twin else 0.0)
    if not n_vcpus or not memory_mib:
        raise PlacementInvalid(
            f"how large is VM {asked.vm!r}?", hint="Say vcpus and memory_mib, or like."
        )
    mean, deviation = np.zeros(N_RESOURCES), np.full(N_RESOURCES, np.nan)
    mean[CPU_AXIS], mean[MEMORY_AXIS] = n_vcpus, memory_mib
    deviation[[CPU_AXIS, MEMORY_AXIS]] = 0.0
    if twin is not None and services.standing is not None:
        told_mean, told_deviation = services.standing.expected(twin)
        known = ~np.isnan(told_mean)
        mean[known], deviation[known] = told_mean[known], told_deviation[known]
    for r, resource in enumerate(AXIS):
        if resource in asked.wants:
            mean[r], deviation[r] = asked.wants[resource], np.nan
        if resource in asked.deviation:
            deviation[r] = asked.deviation[resource]
        elif np.isnan(deviation[r]):
            deviation[r] = UNSURE[r] * mean[r]
    tenant = TenantId(asked.tenant) if asked.tenant else twin.tenant if twin else NO_TENANT
    return Newcomer(
        vm=VmId(asked.vm),
        n_vcpus=n_vcpus,
        memory_mib=memory_mib,
        mean=tuple(mean.tolist()),
        deviation=tuple(deviation.tolist()),
        tenant=tenant,
        labels=frozenset(asked.labels),
        performance=asked.performance,
        rules=tuple(_rule(rule, tenant) for rule in asked.rules),
        alone=asked.alone,
        only=frozenset(map(HostId, asked.only)),
        never=frozenset(map(HostId, asked.never)),
    )


def _rule(rule: RuleIn, tenant: TenantId) -> Rule:
    group = Group(TenantId(rule.tenant) if rule.tenant else tenant, rule.label)
    return Rule(rule.relation, group, rule.scope)


def _outcome(outcome: Outcome) -> OutcomeOut:
    if isinstance(outcome, Placed):
        return OutcomeOut(
            vm=outcome.vm,
            placed=True,
            host=outcome.chosen.host,
            claim=outcome.claim or None,
            why=outcome.why,
            n_fit=outcome.n_fit,
            n_hosts=outcome.n_hosts,
            options=tuple(_option(option) for option in outcome.options),
        )
    return OutcomeOut(
        vm=outcome.vm,
        placed=False,
        why=outcome.message,
        code=outcome.code,
        hint=outcome.hint or None,
        n_hosts=sum(reason.n_hosts for reason in outcome.reasons),
        reasons=tuple(
            ReasonOut(
                code=reason.code,
                text=reason.text,
                n_hosts=reason.n_hosts,
                examples=list(reason.examples),
            )
            for reason in outcome.reasons
        ),
    )


def _option(option: Option) -> OptionOut:
    return OptionOut(
        host=option.host,
        cell=option.cell,
        cpus=list(option.cpus),
        contention_pct=round(100 * option.contention, 4),
        free=option.free,
    )
