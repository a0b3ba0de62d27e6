"""Hosts in maintenance: /v1/maintenance."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import Field

from evenkeel.api.access import ADMIN
from evenkeel.api.errors import ERROR_RESPONSES
from evenkeel.api.reader import Principal
from evenkeel.api.schemas import Body
from evenkeel.api.services import Services, services_of
from evenkeel.controller.maintenance import MaintenanceService
from evenkeel.domain.errors import NotFound
from evenkeel.domain.ids import HostId

router = APIRouter(prefix="/v1/maintenance", tags=["placement"], responses=ERROR_RESPONSES)
Wired = Annotated[Services, Depends(services_of)]
Operator = Annotated[Principal, Depends(ADMIN)]


class MaintenanceIn(Body):
    reason: str = Field("", max_length=200)


class MaintenanceOut(Body):
    host: str
    since_s: float
    reason: str


class MaintenanceList(Body):
    items: list[MaintenanceOut]


@router.get("", summary="Hosts on which nothing new is placed")
def list_maintenance(_: Operator, services: Wired) -> MaintenanceList:
    items = [
        MaintenanceOut(host=host, since_s=of.since_s, reason=of.reason)
        for host, of in sorted(_service(services).hosts().items())
    ]
    return MaintenanceList(items=items)


@router.put("/{host}", summary="Place nothing new on a host", status_code=204)
def begin(host: str, body: MaintenanceIn, who: Operator, services: Wired) -> None:
    """What runs there is left alone."""
    _service(services).begin(HostId(host), body.reason, who.subject)


@router.delete("/{host}", summary="Maintenance is over", status_code=204)
def end(host: str, who: Operator, services: Wired) -> None:
    _service(services).end(HostId(host), who.subject)


def _service(services: Services) -> MaintenanceService:
    if services.maintenance is None:
        raise NotFound("this controller knows no maintenance")
    return services.maintenance
