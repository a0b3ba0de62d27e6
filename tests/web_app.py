"""The page on a fleet fake, with the smallest sign-in that can be: a token is the cookie."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from urllib.parse import parse_qs

from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse
from fastapi.testclient import TestClient
from fleet_fake import ADMIN, INFRA, SHOP, FleetFake

from evenkeel.api.reader import FleetReader, Principal
from evenkeel.api.routes_plans import AdviceOut
from evenkeel.domain.errors import Unauthenticated
from evenkeel.web import build_web

NOW_S = 1_800_000_000.0
TOKENS = {"admin-token": ADMIN, "shop-token": SHOP, "infra-token": INFRA}


def authenticate(request: Request) -> Principal:
    token = request.cookies.get("session", "")
    if token not in TOKENS:
        raise Unauthenticated("no session")
    return TOKENS[token]


def build_app(
    reader: FleetReader,
    clock: Callable[[], float] = time.time,
    advice: Callable[[], AdviceOut | None] = lambda: None,
) -> FastAPI:
    app = FastAPI()
    app.include_router(build_web(reader, authenticate, clock, advice))

    @app.post("/login")
    async def login(request: Request) -> Response:
        form = parse_qs((await request.body()).decode())
        token = form.get("token", [""])[0]
        if token not in TOKENS:
            return RedirectResponse("/login?error=unauthenticated", status_code=303)
        response = RedirectResponse(form.get("next", ["/"])[0], status_code=303)
        response.set_cookie("session", token, httponly=True, samesite="strict")
        return response

    @app.post("/logout")
    def logout() -> Response:
        response = RedirectResponse("/login?error=signed_out", status_code=303)
        response.delete_cookie("session")
        return response

    return app


def client_for(
    fleet: FleetFake,
    token: str = "admin-token",
    advice: Callable[[], AdviceOut | None] = lambda: None,
) -> TestClient:
    app: FastAPI = build_app(fleet, lambda: NOW_S, advice)
    cookies = {"session": token} if token else {}
    return TestClient(app, cookies=cookies, follow_redirects=False)


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html)).replace("\u202f", " ")
