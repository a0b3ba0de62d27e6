"""Where would a VM fit? GET /v1/what-if."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from pydantic import Field

from evenkeel.api.access import ADMIN
from evenkeel.api.errors import ERROR_RESPONSES
from evenkeel.api.reader import Principal
from evenkeel.api.schemas import Body
from evenkeel.api.services import services_of, vm_like
from evenkeel.controller.present import AHEAD_S
from evenkeel.controller.whatif import Asked
from evenkeel.domain.errors import InvalidRequest, NotFound
from evenkeel.domain.ids import NO_TENANT, TenantId
from evenkeel.domain.resources import Resource

router = APIRouter(prefix="/v1", tags=["fleet"], responses=ERROR_RESPONSES)

Wanted = Annotated[float | None, Query(ge=0)]


class FitOut(Body):
    """One host, should the VM come there. Both by resource, where its capacity is known."""

    host: str
    n_vms: int
    worst: float = Field(description="The largest of all below; hosts come with the least first.")
    score: dict[Resource, float] = Field(
        description="0-100: what the VM is expected to lose there, in percent of what it wants."
    )
    residents_score: dict[Resource, float] = Field(
        description="What all that run there are expected to lose more, in percent likewise."
    )


class WhatIfOut(Body):
    ahead_s: float
    hosts: list[FitOut]
    n_hosts: int


@router.get("/what-if", summary="One VM that is asked about, against every host, best first")
def what_if(
    request: Request,
    who: Annotated[Principal, Depends(ADMIN)],
    like: Annotated[
        str | None, Query(description="A VM (id or name) whose forecast it has.")
    ] = None,
    vcpus: Annotated[int | None, Query(ge=1)] = None,
    memory_mib: Annotated[float | None, Query(gt=0)] = None,
    tenant: str | None = None,
    cpu: Wanted = None,
    memory: Wanted = None,
    net: Wanted = None,
    iops: Wanted = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 20,
) -> WhatIfOut:
    """By forecasts an hour ahead. What is not told it wants is, without `like`, all that it may."""
    services = services_of(request)
    twin = vm_like(services, who, like) if like else None
    if twin is None and (vcpus is None or memory_mib is None):
        raise InvalidRequest("how large is the VM?", hint="Say vcpus and memory_mib, or like.")
    if services.whatif is None:
        raise NotFound("this controller cannot be asked")
    told = {"cpu": cpu, "memory": memory, "net": net, "iops": iops}
    asked = Asked(
        n_vcpus=vcpus or (twin.n_vcpus if twin else 1),
        memory_mib=memory_mib or (twin.memory_mib if twin else 1.0),
        tenant=TenantId(tenant) if tenant else twin.tenant if twin else NO_TENANT,
        wants={Resource(name): amount for name, amount in told.items() if amount is not None},
        like=twin,
    )
    fits = services.whatif.ask(asked)
    return WhatIfOut(
        ahead_s=AHEAD_S,
        n_hosts=len(fits),
        hosts=[
            FitOut(
                host=fit.host,
                n_vms=fit.n_vms,
                worst=fit.worst,
                score=dict(fit.score),
                residents_score=dict(fit.residents_score),
            )
            for fit in fits[:limit]
        ],
    )
