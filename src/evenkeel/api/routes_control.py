"""The operator's hand: GET and PUT /v1/mode, /v1/tokens."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from evenkeel.api import cursor as cursors
from evenkeel.api import render
from evenkeel.api.access import ADMIN, READERS
from evenkeel.api.errors import ERROR_RESPONSES
from evenkeel.api.reader import DEFAULT_LIMIT, MAX_LIMIT, Principal
from evenkeel.api.schemas import ModeIn, ModeOut, Page, TokenIn, TokenOut
from evenkeel.api.services import Services, services_of

router = APIRouter(prefix="/v1", responses=ERROR_RESPONSES)

Wired = Annotated[Services, Depends(services_of)]
Operator = Annotated[Principal, Depends(ADMIN)]
Reader = Annotated[Principal, Depends(READERS)]


@router.get("/mode", tags=["control"], summary="How far Evenkeel may go")
def get_mode(who: Reader, services: Wired) -> ModeOut:
    """A tenant sees the fleet's mode and its own."""
    return services.reader.mode(who)


@router.put("/mode", tags=["control"], summary="Set the mode of the fleet, a host or a tenant")
def put_mode(body: ModeIn, who: Operator, services: Wired) -> ModeOut:
    """Agents follow it from their next batch on."""
    return render.mode_out(
        services.modes.set_mode(body.mode, body.host, body.tenant, who=_name(who))
    )


@router.get("/tokens", tags=["tokens"], summary="All tokens, oldest first, without their secrets")
def list_tokens(
    who: Operator,
    services: Wired,
    cursor: Annotated[str | None, Query(max_length=2000)] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = DEFAULT_LIMIT,
) -> Page[TokenOut]:
    after = (0.0, "")
    if cursor:
        at_s, token_id = cursors.decode(cursor, float, str)
        after = (float(at_s), str(token_id))
    records = services.tokens.list(after, limit)
    key = (records[-1].created_at_s, records[-1].id) if records else None
    return Page(
        items=[render.token_out(record) for record in records],
        next=cursors.following(key, records, limit),
    )


@router.post("/tokens", tags=["tokens"], status_code=201, summary="Create a token; shown once")
def create_token(body: TokenIn, who: Operator, services: Wired) -> TokenOut:
    new = services.tokens.create(body.role, body.subject, who=_name(who))
    return render.token_out(new.record, new.secret)


@router.delete("/tokens/{token_id}", tags=["tokens"], status_code=204, summary="Revoke a token")
def revoke_token(token_id: str, who: Operator, services: Wired) -> None:
    """It is refused from now on, and so are the page's sessions that were opened with it."""
    services.tokens.revoke(token_id, who=_name(who))


def _name(who: Principal) -> str:
    return f"{who.subject} ({who.token_id})"
