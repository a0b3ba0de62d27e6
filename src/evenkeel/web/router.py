"""The page's routes. `build_web` is mounted by wiring beside the REST API.

`/` the fleet, `/?host=H` one host, `/vms/{id}` one VM, `/vms/{id}/charts` its series as JSON,
`/vms/{id}/forecast/charts` its forecast, `/reliability` predicted against measured loss, `/login`
the form that POSTs to the API's `/login`, `/static/...` what they are made of. A request by htmx
(its 5 s refresh) gets the inner part alone, from the same URL.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from evenkeel import __version__
from evenkeel.api.reader import FleetReader, Principal, Role
from evenkeel.api.routes_plans import AdviceOut
from evenkeel.domain.errors import NotFound
from evenkeel.domain.resources import Resource
from evenkeel.web import words
from evenkeel.web.board import is_silent, read_board
from evenkeel.web.charts import DEFAULT_RANGE_S, RANGES, Charts, read_charts
from evenkeel.web.fans import Fans, read_fans
from evenkeel.web.pages import Pages, page_route
from evenkeel.web.reliability import Chosen, read_reliability
from evenkeel.web.static_files import static_files, static_url

Authenticate = Callable[..., Awaitable[Principal]]
Clock = Callable[[], float]

LOGIN_TROUBLE: Final = {
    "unauthenticated": "The controller does not know this token. Is it complete?",
    "token_revoked": "This token was revoked. Ask an administrator for a new one.",
    "forbidden": "This token belongs to an agent; the page needs an admin's or a tenant's.",
}


def build_web(
    reader: FleetReader,
    authenticate: Authenticate,
    clock: Clock = time.time,
    advice: Callable[[], AdviceOut | None] = lambda: None,
) -> APIRouter:
    """The router of the page.

    Parameters
    ----------
    reader
        What may be seen; the same reader as behind the REST API.
    authenticate
        A FastAPI dependency that gives the Principal of the session cookie (or bearer token) and
        raises Unauthenticated otherwise, which becomes a redirect to `/login`.
    clock
        UTC epoch seconds.
    advice
        The plan of moves that stands, for operators.
    """
    pages = Pages(_environment(), clock)
    router = APIRouter(route_class=page_route(pages), include_in_schema=False)
    _add_open_routes(router, pages)
    _add_fleet_routes(router, pages, reader, authenticate, clock, advice)
    return router


def _environment() -> Environment:
    env = Environment(
        loader=PackageLoader("evenkeel.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters.update(words.FILTERS)
    env.globals.update(
        static_url=static_url,
        version=__version__,
        ranges=RANGES,
        heat_bounds=words.HEAT_BOUNDS,
    )
    return env


def _add_open_routes(router: APIRouter, pages: Pages) -> None:
    """What needs no token."""

    @router.get("/login", response_class=HTMLResponse)
    def login_page(
        request: Request, error: str = "", then: Annotated[str, Query(alias="next")] = "/"
    ) -> Response:
        signed_out = error == "signed_out"
        known = LOGIN_TROUBLE.get(error, "Signing in failed.")
        trouble = known if error and not signed_out else ""
        return pages.render(
            request,
            "login.html",
            trouble=trouble,
            signed_out=signed_out,
            next=_local_path(then),
        )

    @router.get("/static/{path:path}")
    def static_file(path: str, request: Request) -> Response:
        file = static_files().get(path)
        if file is None:
            raise NotFound(f"there is no file {path!r}", hint="")
        etag = f'"{file.digest}"'
        headers = {"ETag": etag, "Cache-Control": "public, max-age=31536000, immutable"}
        if request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers=headers)
        return Response(file.content, media_type=file.media_type, headers=headers)


def _add_fleet_routes(
    router: APIRouter,
    pages: Pages,
    reader: FleetReader,
    authenticate: Authenticate,
    clock: Clock,
    advice: Callable[[], AdviceOut | None],
) -> None:
    @router.get("/", response_class=HTMLResponse)
    def fleet(
        request: Request, host: str | None = None, who: Principal = Depends(authenticate)
    ) -> Response:
        board = read_board(reader, who, host or None)
        plan = advice() if who.role is Role.ADMIN and not host else None
        return pages.render(request, "fleet.html", who=who, board=board, plan=plan)

    @router.get("/reliability", response_class=HTMLResponse)
    def reliability(
        request: Request,
        host: str = "",
        resource: Annotated[Resource | Literal[""], Query()] = "",
        hours: Annotated[int, Query(ge=1, le=8784)] = 24,
        who: Principal = Depends(authenticate),
    ) -> Response:
        page = read_reliability(reader, who, Chosen(host, resource, hours))
        return pages.render(request, "reliability.html", who=who, **page)

    @router.get("/vms/{vm}", response_class=HTMLResponse)
    def vm_page(
        vm: str,
        request: Request,
        range_s: Annotated[int, Query(alias="range")] = DEFAULT_RANGE_S,
        who: Principal = Depends(authenticate),
    ) -> Response:
        why = reader.why(who, vm)
        chosen = range_s if range_s in RANGES else DEFAULT_RANGE_S
        stale = is_silent(reader, who, why.vm.host)
        return pages.render(request, "vm.html", who=who, why=why, range_s=chosen, stale=stale)

    @router.get("/vms/{vm}/charts", response_model=Charts)
    def vm_charts(
        vm: str,
        range_s: Annotated[int, Query(alias="range")] = DEFAULT_RANGE_S,
        who: Principal = Depends(authenticate),
    ) -> Any:
        chosen = range_s if range_s in RANGES else DEFAULT_RANGE_S
        return read_charts(reader, who, vm, chosen, clock())

    @router.get("/vms/{vm}/forecast/charts", response_model=Fans)
    def vm_fans(vm: str, who: Principal = Depends(authenticate)) -> Any:
        return read_fans(reader, who, vm)


def _local_path(target: str) -> str:
    """Only a path on this server: nobody is sent elsewhere after signing in."""
    safe = target.startswith("/") and not target.startswith(("//", "/\\"))
    return target if safe and target.isprintable() else "/"
