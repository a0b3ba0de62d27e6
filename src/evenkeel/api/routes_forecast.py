"""What VMs will want: GET /v1/vms/{vm}/forecast, and /v1/models with promotion and roll-back."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from evenkeel.api.access import ADMIN, READERS, Allow
from evenkeel.api.errors import ERROR_RESPONSES
from evenkeel.api.reader import FleetReader, Principal, Role
from evenkeel.api.render_forecast import model_out
from evenkeel.api.schemas import Page
from evenkeel.api.schemas_forecast import ForecastOut, ModelOut, ProfileOut, RollbackIn, ServingOut
from evenkeel.api.services import services_of
from evenkeel.controller.contention_model import NAME as CONTENTION
from evenkeel.controller.models import ModelService
from evenkeel.domain.errors import ForecastUnavailable
from evenkeel.domain.resources import Resource

router = APIRouter(prefix="/v1", tags=["forecasts"], responses=ERROR_RESPONSES)

SERVERS = Allow(Role.ADMIN, Role.AGENT)

Reader = Annotated[Principal, Depends(READERS)]
Operator = Annotated[Principal, Depends(ADMIN)]


def _reader(request: Request) -> FleetReader:
    return services_of(request).reader


def _models(request: Request) -> ModelService:
    models = services_of(request).models
    if models is None:
        raise ForecastUnavailable("this controller does not forecast", hint="See forecast.enabled.")
    return models


Models = Annotated[ModelService, Depends(_models)]


@router.get("/vms/{vm}/forecast", summary="How much a VM will want, when, and with what odds")
def forecast(
    vm: str,
    who: Reader,
    fleet: Annotated[FleetReader, Depends(_reader)],
    resource: Resource | None = None,
) -> ForecastOut:
    """Quantiles of demand per time ahead, of the peak per window, and the odds of shards needed."""
    return fleet.forecast(who, vm, resource)


@router.get("/vms/{vm}/profile", summary="How a VM behaves: steady, daily, in bursts, chaotic")
def profile(vm: str, who: Reader, fleet: Annotated[FleetReader, Depends(_reader)]) -> ProfileOut:
    """By resource: the class, how sure, when it spikes, for how long and how often."""
    return fleet.profile(who, vm)


@router.get("/models", summary="Versions of trained models, newest first")
def models(who: Operator, service: Models, resource: Resource | None = None) -> Page[ModelOut]:
    return Page(items=[model_out(record) for record in service.models(resource)])


@router.get(
    "/models/{model_id}",
    summary="What a model learnt (administrators; agents: those that serve)",
    response_class=Response,
    responses={
        200: {
            "description": "The model's bytes; the ETag is their SHA-256.",
            "content": {"application/octet-stream": {}},
        }
    },
)
def model(model_id: str, request: Request, who: Annotated[Principal, Depends(SERVERS)]) -> Response:
    if model_id.startswith(f"{CONTENTION}-"):
        blob = services_of(request).ingest.contention_model.blob(model_id)
        return Response(blob, media_type="application/octet-stream")
    record, blob = _models(request).blob(model_id, serving_only=who.role is Role.AGENT)
    headers = {"ETag": f'"{record.info.sha256}"', "Evenkeel-Forecaster": record.info.forecaster}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return Response(blob, media_type="application/octet-stream", headers=headers)


@router.post("/models/{model_id}/promote", summary="Let a model serve, from the next slot on")
def promote(model_id: str, who: Operator, service: Models) -> ServingOut:
    record = service.promote(model_id, f"{who.subject} ({who.token_id})")
    info = record.info
    return ServingOut(resource=info.resource, horizon=info.horizon, model=model_out(record))


@router.post("/models/rollback", summary="Let the former model of a resource serve again")
def rollback(body: RollbackIn, who: Operator, service: Models) -> ServingOut:
    """With no former one, the built-in forecaster serves. Sent twice, it goes back twice."""
    record = service.rollback(body.resource, f"{who.subject} ({who.token_id})", body.horizon)
    model = model_out(record) if record else None
    return ServingOut(resource=body.resource, horizon=body.horizon, model=model)
