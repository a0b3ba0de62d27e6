"""Reading the fleet: GET /v1/status, hosts, vms, pairs, mitigations, events."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from evenkeel.api.access import ADMIN, READERS
from evenkeel.api.errors import ERROR_RESPONSES
from evenkeel.api.reader import DEFAULT_LIMIT, MAX_LIMIT, FleetReader, Principal
from evenkeel.api.reliability import RELIABILITY_HOURS, ReliabilityOut
from evenkeel.api.schemas import (
    EventOut,
    HostOut,
    MapOut,
    MitigationOut,
    Page,
    PairOut,
    SeriesOut,
    StatusOut,
    VmOut,
    WhyOut,
)
from evenkeel.api.series import MAX_POINTS
from evenkeel.api.services import services_of
from evenkeel.domain.resources import Resource
from evenkeel.domain.score import PRESENT_S

router = APIRouter(prefix="/v1", tags=["fleet"], responses=ERROR_RESPONSES)

Cursor = Annotated[
    str | None, Query(max_length=2000, description="`next` of the page before; none: the first.")
]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Items per page.")]
OfHost = Annotated[str | None, Query(description="Only what is on this host.")]
OfVm = Annotated[str | None, Query(description="Only what concerns this VM (id or name).")]
OfHorizon = Annotated[float, Query(gt=0, le=86_400, description="Scores for the next so many s.")]
Reader = Annotated[Principal, Depends(READERS)]
Operator = Annotated[Principal, Depends(ADMIN)]


def _reader(request: Request) -> FleetReader:
    return services_of(request).reader


Fleet = Annotated[FleetReader, Depends(_reader)]


@router.get("/status", summary="The fleet in one look: counts, alarms, problems")
def status(who: Reader, fleet: Fleet) -> StatusOut:
    return fleet.status(who)


@router.get("/hosts", summary="Hosts by id (administrators only)")
def hosts(
    who: Operator, fleet: Fleet, cursor: Cursor = None, limit: Limit = DEFAULT_LIMIT
) -> Page[HostOut]:
    return fleet.hosts(who, cursor, limit)


@router.get("/hosts/{host}", summary="One host (administrators only)")
def host(host: str, who: Operator, fleet: Fleet) -> HostOut:
    return fleet.host(who, host)


@router.get("/hosts/{host}/map", summary="The contention map of one host")
def contention_map(
    host: str, who: Reader, fleet: Fleet, horizon_s: OfHorizon = PRESENT_S
) -> MapOut:
    """A tenant gets it for hosts that one of its VMs is on, with only the pairs they are in."""
    return fleet.contention_map(who, host, horizon_s)


@router.get("/vms", summary="VMs by name")
def vms(
    who: Reader,
    fleet: Fleet,
    host: OfHost = None,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
) -> Page[VmOut]:
    return fleet.vms(who, host, cursor, limit)


@router.get("/vms/{vm}", summary="One VM, by id or by a name that only one VM has")
def vm(vm: str, who: Reader, fleet: Fleet) -> VmOut:
    return fleet.vm(who, vm)


@router.get("/vms/{vm}/series", summary="A VM's demand, usage and loss over time")
def series(
    vm: str,
    request: Request,
    who: Reader,
    fleet: Fleet,
    resource: Resource = Resource.CPU,
    since_s: Annotated[
        float | None, Query(description="UTC epoch seconds; default: an hour before until_s.")
    ] = None,
    until_s: Annotated[float | None, Query(description="UTC epoch seconds; default: now.")] = None,
    max_points: Annotated[int, Query(ge=1, le=MAX_POINTS)] = 720,
) -> SeriesOut:
    """Where there are more ticks than points, each point is the mean of several."""
    until = services_of(request).clock.wall_s() if until_s is None else until_s
    since = until - 3600 if since_s is None else since_s
    return fleet.series(who, vm, resource, since, until, max_points)


@router.get("/vms/{vm}/why", summary="Who hurts this VM, with what evidence, what would help")
def why(vm: str, who: Reader, fleet: Fleet) -> WhyOut:
    return fleet.why(who, vm)


@router.get("/pairs", summary="Directed pairs that score, worst first")
def pairs(
    who: Reader,
    fleet: Fleet,
    host: OfHost = None,
    min_score: Annotated[float, Query(ge=0, le=100)] = 1.0,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
    horizon_s: OfHorizon = PRESENT_S,
) -> Page[PairOut]:
    return fleet.pairs(who, host, min_score, cursor, limit, horizon_s)


@router.get("/reliability", summary="Is predicted loss what comes? (administrators only)")
def reliability(
    who: Operator,
    fleet: Fleet,
    host: OfHost = None,
    resource: Annotated[Resource | None, Query(description="Only this one; none: all.")] = None,
    horizon_s: Annotated[
        float | None, Query(gt=0, le=86_400, description="Only predictions for so many s ahead.")
    ] = None,
    hours: Annotated[
        float,
        Query(gt=0, le=24 * 366, description="Whole hours, those that end in the last so many."),
    ] = RELIABILITY_HOURS,
) -> ReliabilityOut:
    """Predicted losses against those that came, binned by the prediction: one curve a horizon.

    Without a resource the curves are of all resources together.
    """
    return fleet.reliability(who, host, resource, horizon_s, hours)


@router.get("/mitigations", summary="What was changed, newest first")
def mitigations(
    who: Reader,
    fleet: Fleet,
    host: OfHost = None,
    vm: OfVm = None,
    open_only: Annotated[bool, Query(description="Only those in place now.")] = False,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
) -> Page[MitigationOut]:
    return fleet.mitigations(who, host, vm, open_only, cursor, limit)


@router.get("/events", summary="What happened, newest first")
def events(
    who: Reader,
    fleet: Fleet,
    host: OfHost = None,
    vm: OfVm = None,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
) -> Page[EventOut]:
    """A tenant sees the events of its own VMs, without text that might name a neighbour."""
    return fleet.events(who, host, vm, cursor, limit)
