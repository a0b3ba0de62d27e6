"""How every page goes out: rendered with its frame, with strict headers, errors as pages too."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from fastapi.routing import APIRoute
from jinja2 import Environment

from evenkeel.domain.errors import EvenkeelError, InvalidRequest, Unauthenticated

SECURITY_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Pages:
    """Renders templates; `clock` tells the page its own time, in UTC epoch seconds."""

    def __init__(self, env: Environment, clock: Callable[[], float]) -> None:
        self._env = env
        self._clock = clock

    def render(
        self, request: Request, template: str, status_code: int = 200, **context: Any
    ) -> Response:
        """The whole page, or for htmx the part of it that changes."""
        frame = "bare.html" if _is_htmx(request) else "base.html"
        self_url = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        html = self._env.get_template(template).render(
            frame=frame, now_s=self._clock(), self_url=self_url, **{"who": None, **context}
        )
        # A page is one principal's view of one moment: no cache may keep or share it.
        headers = {"Cache-Control": "no-store", "Vary": "HX-Request, Cookie"}
        return HTMLResponse(html, status_code=status_code, headers=headers)

    def error(self, request: Request, error: EvenkeelError) -> Response:
        if isinstance(error, Unauthenticated):
            return _to_login(request)
        if request.url.path.endswith("/charts"):
            body = {"code": error.code, "message": error.message, "hint": error.hint}
            return JSONResponse({"error": body}, status_code=error.http_status)
        return self.render(request, "error.html", error.http_status, error=error)


def page_route(pages: Pages) -> type[APIRoute]:
    """A route class that answers every expected error with a page and adds the headers."""

    class PageRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def handled(request: Request) -> Response:
                try:
                    response = await handle(request)
                except EvenkeelError as error:
                    response = pages.error(request, error)
                except RequestValidationError as error:
                    problem = InvalidRequest("the address has a parameter that makes no sense")
                    problem.__cause__ = error
                    response = pages.error(request, problem)
                response.headers.update(SECURITY_HEADERS)
                return response

            return handled

    return PageRoute


def _is_htmx(request: Request) -> bool:
    return request.headers.get("hx-request") == "true"


def _to_login(request: Request) -> Response:
    """A browser is redirected; a refresh in the background tells htmx to go there."""
    url = "/login"
    if request.url.path != "/" and not request.url.path.endswith("/charts"):
        url += f"?next={quote(request.url.path)}"
    if _is_htmx(request) or request.url.path.endswith("/charts"):
        return Response(status_code=401, headers={"HX-Redirect": url})
    return RedirectResponse(url, status_code=303)
