"""Which VMs should move, and why? GET /v1/plans/consolidate and /v1/plans/rebalance: advice."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from pydantic import Field

from evenkeel.api.access import ADMIN
from evenkeel.api.errors import ERROR_RESPONSES
from evenkeel.api.reader import Principal
from evenkeel.api.schemas import Body
from evenkeel.api.services import Services, services_of
from evenkeel.controller.plans import LOST_H, Plans, Told, Wanted
from evenkeel.domain.errors import NotFound
from evenkeel.domain.resources import Resource
from evenkeel.placement.keeping import Turn
from evenkeel.placement.plan import SAY, Outlook, Why
from evenkeel.placement.problem import NO_LIMIT, Limits

router = APIRouter(prefix="/v1/plans", tags=["placement"], responses=ERROR_RESPONSES)

HOURS_MOST = 24.0 * 366


class LotMoved(Body):
    """A lot of the VM that goes with it; the target's calendar takes it for all of its time."""

    name: str
    resource: Resource
    n_shards: int
    start_s: int
    end_s: int


class MoveOut(Body):
    """In order; those of one wave may go at the same time, after the former wave is through."""

    vm: str
    name: str
    source: str
    target: str
    wave: int
    lots: list[LotMoved] = Field(description="What is promised to it, and moves from now on.")


class OutlookOut(Body):
    """Over the slots ahead: the next minutes to two days."""

    n_in_use: int = Field(description="Hosts with a VM.")
    n_at_risk: int = Field(description="Hosts that run short with more than the accepted odds.")
    worst_odds: float
    lost_pct: float = Field(
        description="Work that all are expected to lose to contention, in percent of a host."
    )


class LeftOut(Body):
    host: str
    code: Why
    why: str


class PlanOut(Body):
    """Nothing of it was done. Without moves: nothing is worth doing."""

    moves: list[MoveOut]
    why: str = Field(description="What it brings and costs, in words.")
    n_waves: int
    before: OutlookOut
    after: OutlookOut
    saved_host_hours: float = Field(description="Within the payback time, less the moves' cost.")
    floor_hosts: int = Field(description="No packing of these VMs has fewer hosts in use.")
    gap: float = Field(description="By what share the hosts in use are above a floor, afterwards.")
    from_best: float | None = Field(description="0: nothing is better; null: not known.")
    left: list[LeftOut] = Field(description="Hosts that were looked at and stay as they are.")


class AdviceOut(PlanOut):
    """The plan that stands: what is still to be done of it, on the fleet as it was last seen."""

    since_s: float = Field(description="When it was first given; UTC epoch seconds.")
    looked_at_s: float = Field(description="When the fleet was last looked at.")
    turn: Turn = Field(description="Why it took the place of the former one.")
    seconds: float = Field(description="What the last look took.")
    alarm: float = Field(description="Odds of a shortfall from which a host is at risk here.")
    trouble: str = Field(description="Why a later look failed; empty: none did.")


class AdviceUnavailable(NotFound):
    code = "advice_unavailable"
    default_hint = (
        "The first look is a minute after the controller began, if `plans.enabled` is on; "
        "`evenkeel plan consolidate` looks now."
    )


def _wanted(
    risk: Annotated[
        float | None, Query(gt=0, lt=0.5, description="Accepted odds of a shortfall per host.")
    ] = None,
    moves: Annotated[int | None, Query(ge=0, description="Moves at most.")] = None,
    inflow: Annotated[int | None, Query(ge=0, description="VMs that a host may take.")] = None,
    at_once: Annotated[int, Query(ge=1, description="Moves a host is part of at a time.")] = 2,
    payback_h: Annotated[float, Query(ge=0, le=HOURS_MOST)] = 24.0,
    cooldown_s: Annotated[
        float, Query(ge=0, le=HOURS_MOST * 3600, description="VMs moved since then stay.")
    ] = 3600.0,
    move_h: Annotated[
        float, Query(ge=0, le=HOURS_MOST, description="Host hours that moving 16 GiB costs.")
    ] = 0.1,
    lost_h: Annotated[
        float,
        Query(ge=0, le=1e6, description="Host hours that an hour's work of a host is worth."),
    ] = LOST_H,
) -> Wanted:
    return Wanted(
        limits=Limits(
            moves=NO_LIMIT if moves is None else moves,
            inflow=NO_LIMIT if inflow is None else inflow,
            at_once=at_once,
            payback_h=payback_h,
            cooldown_s=cooldown_s,
        ),
        move_h=move_h,
        lost_h=lost_h,
        epsilon=risk,
    )


@router.get("/consolidate", summary="Hosts that could be emptied, and the moves it takes")
def consolidate(
    request: Request,
    who: Annotated[Principal, Depends(ADMIN)],
    wanted: Annotated[Wanted, Depends(_wanted)],
) -> PlanOut:
    """By forecasts up to a day ahead and reservations up to two. Checked; nothing is executed."""
    return _told(_plans(request).consolidate(wanted), wanted)


@router.get("/rebalance", summary="Moves that relieve hosts at risk of a shortfall")
def rebalance(
    request: Request,
    who: Annotated[Principal, Depends(ADMIN)],
    wanted: Annotated[Wanted, Depends(_wanted)],
    alarm: Annotated[
        float | None, Query(gt=0, lt=0.5, description="Relieve from these odds on.")
    ] = None,
) -> PlanOut:
    """By forecasts up to a day ahead and reservations up to two. Checked; nothing is executed."""
    asked = replace(wanted, alarm=alarm)
    return _told(_plans(request).rebalance(asked), asked)


@router.get("/advice", summary="The plan that stands: looked at every few minutes, and kept")
def advice(request: Request, who: Annotated[Principal, Depends(ADMIN)]) -> AdviceOut:
    """It stands until it is done, cannot be done, helps fewer hosts than another one, or another
    one saves clearly more; nothing is executed."""
    found = newest_advice(services_of(request))
    if found is None:
        raise AdviceUnavailable("the fleet has not been looked at yet")
    return found


def newest_advice(services: Services) -> AdviceOut | None:
    """None: there is none yet, or this controller gives none."""
    newest = services.advice.newest() if services.advice else None
    if newest is None or services.advice is None:
        return None
    return AdviceOut(
        **_told(newest.told, newest.wanted).model_dump(),
        since_s=newest.since_s,
        looked_at_s=newest.looked_at_s,
        turn=newest.turn,
        seconds=round(newest.seconds, 3),
        alarm=newest.alarm,
        trouble=services.advice.trouble(),
    )


def _plans(request: Request) -> Plans:
    plans = services_of(request).plans
    if plans is None:
        raise NotFound("this controller plans nothing")
    return plans


def _told(told: Told, wanted: Wanted) -> PlanOut:
    plan, vms, hosts = told.plan, told.fleet.vms, told.fleet.records
    proposal = told.proposal
    return PlanOut(
        moves=[
            MoveOut(
                vm=vms[move.vm].id,
                name=vms[move.vm].name,
                source=hosts[move.source].host.id,
                target=hosts[move.target].host.id,
                wave=wave,
                lots=_lots(told, move.vm),
            )
            for move, wave in zip(plan.moves, plan.wave.tolist(), strict=True)
        ],
        why=told.why,
        n_waves=plan.n_waves,
        before=_outlook(plan.before),
        after=_outlook(plan.after),
        saved_host_hours=round(plan.saved(wanted.limits.payback_h), 3),
        floor_hosts=proposal.floor.n_hosts,
        gap=round(proposal.gap, 4),
        from_best=None if proposal.from_best is None else round(proposal.from_best, 6),
        left=[
            LeftOut(host=hosts[h].host.id, code=why, why=SAY[why])
            for h, why in sorted(plan.left.items())
        ],
    )


def _lots(told: Told, vm: int) -> list[LotMoved]:
    promises = told.fleet.problem.promises
    taken = set(told.plan.lots.get(vm, ()))
    if promises is None or not taken:
        return []
    return [
        LotMoved(
            name=str(lot.name),
            resource=lot.resource,
            n_shards=lot.n_shards,
            start_s=max(lot.start_s, promises.now_s),
            end_s=lot.end_s,
        )
        for lot in promises.carried[vm]
        if lot.id in taken
    ]


def _outlook(outlook: Outlook) -> OutlookOut:
    return OutlookOut(
        n_in_use=outlook.n_in_use,
        n_at_risk=outlook.n_at_risk,
        worst_odds=round(outlook.worst_odds, 6),
        lost_pct=round(100.0 * outlook.lost, 4),
    )
