"""The agents' door: POST /v1/agents/{host}/batches."""

from __future__ import annotations

import anyio.to_thread
import structlog
from fastapi import APIRouter, Depends, Request, Response

from evenkeel.api.access import AGENT
from evenkeel.api.body import read_body
from evenkeel.api.errors import ERROR_RESPONSES
from evenkeel.api.reader import Principal
from evenkeel.api.schemas import ErrorBody
from evenkeel.api.services import Services, services_of
from evenkeel.controller.check import checked_batch
from evenkeel.domain.errors import EvenkeelError, Forbidden
from evenkeel.domain.ids import HostId
from evenkeel.wire import encode

MAX_WAITING = 24
"""Threads that may wait for the disk; the rest of the pool stays free for readers."""

router = APIRouter(prefix="/v1/agents", tags=["agents"], responses=ERROR_RESPONSES)
_log = structlog.get_logger("evenkeel.ingest")


@router.post(
    "/{host}/batches",
    summary="Deliver one tick of a host (agents only, each for its own host)",
    response_class=Response,
    responses={
        200: {
            "description": "Durable. `duplicate` says that it was known already. `policy` is what "
            "the agent should follow now. See `evenkeel.wire` for both messages.",
            "content": {"application/json": {}},
        },
        413: {"model": ErrorBody, "description": "Larger than controller.max_body_mib."},
    },
    openapi_extra={
        "requestBody": {"required": True, "content": {"application/json": {"schema": {}}}}
    },
)
async def post_batch(host: str, request: Request, who: Principal = Depends(AGENT)) -> Response:
    services = services_of(request)
    try:
        if who.subject != host:
            raise Forbidden("the token is another host's")
        raw = await read_body(request, services.max_body_bytes)
        reply = await anyio.to_thread.run_sync(
            _accept, services, raw, HostId(host), limiter=request.app.state.ingest_limiter
        )
    except EvenkeelError as error:
        services.ingest.counts[f"refused_{error.code}"] += 1
        _log.warning("batch_refused", host=host[:80], code=error.code, reason=error.message)
        raise
    return Response(reply, media_type="application/json")


def _accept(services: Services, raw: bytes, host: HostId) -> bytes:
    return encode(services.ingest.accept(checked_batch(raw, host)))
