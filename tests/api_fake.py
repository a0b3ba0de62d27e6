"""The REST API's read routes over a fleet fake, as a transport for the CLI's HTTP client."""

from __future__ import annotations

import json
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import httpx2
from fleet_fake import ADMIN, SHOP, FleetFake
from pydantic import BaseModel

from evenkeel.api.schemas import ErrorBody, ErrorDetail, ModeIn, Page, TokenOut
from evenkeel.domain.errors import EvenkeelError, Forbidden, NotFound, Unauthenticated
from evenkeel.domain.resources import Resource

TOKENS = {"admin-token": ADMIN, "shop-token": SHOP}
Answer = Callable[..., BaseModel]


class ApiFake(httpx2.BaseTransport):
    """Keeps what was asked in `asked`; `broken` is raised instead of an answer."""

    def __init__(self, fleet: FleetFake) -> None:
        self.fleet = fleet
        self.asked: list[tuple[str, str]] = []
        self.broken: Exception | None = None
        self.skew_s = 0.0

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append((request.method, request.url.raw_path.decode()))
        if self.broken is not None:
            raise self.broken
        headers = {"Date": formatdate(self.fleet.now_s + self.skew_s, usegmt=True)}
        try:
            body: BaseModel = self._answer(request)
            status = 200
        except EvenkeelError as error:
            detail = ErrorDetail(code=error.code, message=error.message, hint=error.hint)
            body, status = ErrorBody(error=detail), error.http_status
        return httpx2.Response(status, json=body.model_dump(mode="json"), headers=headers)

    def _answer(self, request: httpx2.Request) -> BaseModel:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if token == "agent-token":
            raise Forbidden("an agent may only report")
        if token not in TOKENS:
            raise Unauthenticated("no valid token")
        who, fleet = TOKENS[token], self.fleet
        query: dict[str, Any] = dict(request.url.params)
        if "limit" in query:
            query["limit"] = int(query["limit"])
        if "open_only" in query:
            query["open_only"] = query["open_only"] == "true"
        if request.method == "PUT":
            return self._put_mode(ModeIn.model_validate_json(request.read()))
        # The path arrives decoded; no name in the fake holds a slash of its own.
        match request.url.path.removeprefix("/v1/").split("/", 1):
            case ["status" | "mode" as noun]:
                return getattr(fleet, noun)(who)
            case ["hosts" | "vms" | "mitigations" | "events" as noun]:
                return getattr(fleet, noun)(who, **query)
            case ["hosts", rest] if rest.endswith("/map"):
                horizon_s = float(query.get("horizon_s", 5))
                return fleet.contention_map(who, rest.removesuffix("/map"), horizon_s)
            case ["vms", rest] if rest.endswith("/why"):
                return fleet.why(who, rest.removesuffix("/why"))
            case ["vms", rest] if rest.endswith("/forecast"):
                resource = Resource(query["resource"]) if "resource" in query else None
                return fleet.forecast(who, rest.removesuffix("/forecast"), resource)
            case ["reliability"]:
                return fleet.reliability(
                    who,
                    query.get("host"),
                    Resource(query["resource"]) if "resource" in query else None,
                    float(query["horizon_s"]) if "horizon_s" in query else None,
                    float(query["hours"]),
                )
            case ["tokens"] if who is ADMIN:
                return Page[TokenOut](items=[])
            case ["tokens"]:
                raise Forbidden("only an admin lists tokens")
        raise NotFound(f"no route {request.url.path}")

    def _put_mode(self, body: ModeIn) -> BaseModel:
        modes = json.loads(self.fleet.modes.model_dump_json())
        if body.host or body.tenant:
            group, name = ("hosts", body.host) if body.host else ("tenants", body.tenant)
            modes[group].pop(name, None)
            if body.mode:
                modes[group][name] = body.mode
        else:
            modes["mode"] = body.mode
        self.fleet.modes = type(self.fleet.modes).model_validate(modes)
        return self.fleet.modes
