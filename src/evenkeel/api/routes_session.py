"""Signing in to the page: POST /login and /logout. The form itself is the page's."""

from __future__ import annotations

from urllib.parse import parse_qs

import anyio.to_thread
from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from evenkeel.api.access import COOKIE, SESSION_S, Gate, require_same_origin
from evenkeel.api.body import read_body
from evenkeel.api.reader import Principal, Role
from evenkeel.domain.errors import EvenkeelError, Forbidden

MAX_FORM_BYTES = 4096

router = APIRouter(include_in_schema=False)


@router.post("/login")
async def login(request: Request) -> Response:
    """Form fields `token` and `next`. Answers a redirect: there, or back to the form."""
    require_same_origin(request, missing_is_fine=True)
    form = parse_qs((await read_body(request, MAX_FORM_BYTES)).decode("utf-8", "replace"))
    token = form.get("token", [""])[0].strip()
    gate: Gate = request.app.state.gate
    try:
        who = await anyio.to_thread.run_sync(_reader_by_token, gate, token)
    except EvenkeelError as error:
        return RedirectResponse(f"/login?error={error.code}", status_code=303)
    response = RedirectResponse(_local(form.get("next", ["/"])[0]), status_code=303)
    response.set_cookie(
        COOKIE,
        gate.new_cookie(who),
        max_age=int(SESSION_S),
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return response


@router.post("/logout")
def logout(request: Request) -> Response:
    require_same_origin(request, missing_is_fine=True)
    response = RedirectResponse("/login?error=signed_out", status_code=303)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return response


def _reader_by_token(gate: Gate, token: str) -> Principal:
    who = gate.by_token(token)
    if who.role is Role.AGENT:
        raise Forbidden("an agent's token does not open the page")
    return who


def _local(target: str) -> str:
    """Only a path on this server: nobody is sent elsewhere after signing in."""
    local = target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable()
    return target if local else "/"
