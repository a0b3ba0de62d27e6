"""Who may call what. Default deny: a route that declares nothing does not start.

Callers show a token (`Authorization: Bearer`), or, on the page, a session cookie that was given
for a token at /login. The cookie is SameSite=Strict, and with it nothing can be changed unless
the request's Origin is this very server.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from typing import Annotated, Final
from urllib.parse import urlsplit

from anyio.to_thread import run_sync
from fastapi import Request, Security
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.routing import BaseRoute

from evenkeel.api.reader import Principal, Role
from evenkeel.controller.tokens import TokenService
from evenkeel.domain.errors import Forbidden, Unauthenticated
from evenkeel.ports import Clock
from evenkeel.records import TokenRecord

COOKIE: Final = "evenkeel_session"
SESSION_S: Final = 12 * 3600.0
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
PUBLIC_PATHS: Final = frozenset(
    {"/healthz", "/openapi.json", "/login", "/logout", "/static/{path:path}"}
)
"""What anybody may call: it shows nothing of the fleet."""

_bearer = HTTPBearer(auto_error=False, description="A token from `evenkeel token create`.")


class Gate:
    """Turns what a request carries into a principal."""

    def __init__(self, tokens: TokenService, clock: Clock, session_key: bytes) -> None:
        self._tokens = tokens
        self._clock = clock
        self._key = session_key

    def remembered(self, secret: str) -> Principal | None:
        """Whoever showed this token just now; waits for nothing."""
        record = self._tokens.remembered(secret)
        return None if record is None else _principal(record)

    def by_token(self, secret: str) -> Principal:
        """Raises Unauthenticated, TokenRevoked, StoreUnavailable."""
        return _principal(self._tokens.verify(secret))

    def by_cookie(self, cookie: str) -> Principal:
        """Raises Unauthenticated, TokenRevoked, StoreUnavailable."""
        token_id, _, rest = cookie.partition(".")
        expires, _, signature = rest.partition(".")
        if not hmac.compare_digest(signature.encode(), self._sign(token_id, expires).encode()):
            raise Unauthenticated("the session is not valid")
        if float(expires) < self._clock.wall_s():
            raise Unauthenticated("the session has expired", hint="Sign in again.")
        return _principal(self._tokens.verify_id(token_id))

    def new_cookie(self, who: Principal) -> str:
        """Good until it expires or the token is revoked; the token cannot be read from it."""
        expires = f"{self._clock.wall_s() + SESSION_S:.0f}"
        return f"{who.token_id}.{expires}.{self._sign(who.token_id, expires)}"

    def _sign(self, token_id: str, expires: str) -> str:
        message = f"session\x00{token_id}\x00{expires}".encode()
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()


def _principal(record: TokenRecord) -> Principal:
    return Principal(Role(record.role), record.subject, record.id)


class Allow:
    """A dependency that answers the principal if it has one of these roles."""

    def __init__(self, *roles: Role) -> None:
        self.roles = frozenset(roles)

    async def __call__(
        self,
        request: Request,
        credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)] = None,
    ) -> Principal:
        gate: Gate = request.app.state.gate
        cookie = request.cookies.get(COOKIE)
        if credentials is not None:
            secret = credentials.credentials
            who = gate.remembered(secret)
            if who is None:
                who = await run_sync(gate.by_token, secret)
        elif cookie:
            who = await run_sync(gate.by_cookie, cookie)
            if request.method not in SAFE_METHODS:
                require_same_origin(request)
        else:
            raise Unauthenticated("no token was given")
        if who.role not in self.roles:
            raise Forbidden(f"a token of role {who.role.value} may not do that")
        return who


ADMIN: Final = Allow(Role.ADMIN)
READERS: Final = Allow(Role.ADMIN, Role.TENANT)
AGENT: Final = Allow(Role.AGENT)


def require_same_origin(request: Request, *, missing_is_fine: bool = False) -> None:
    """Raises Forbidden when a page of another server made the browser send this."""
    origin = request.headers.get("origin")
    if origin is None and missing_is_fine:
        return
    if origin is None or urlsplit(origin).netloc != request.headers.get("host"):
        raise Forbidden("the request comes from another site", hint="Use the page or a token.")


def declared_roles(route: APIRoute) -> frozenset[Role] | None:
    """The roles a route lets in; None if it declares nothing."""
    for dependency in route.dependant.dependencies:
        if isinstance(dependency.call, Allow):
            return dependency.call.roles
    return None


def every_route(routes: Iterable[BaseRoute]) -> Iterable[BaseRoute]:
    """All routes, those of included routers too (which FastAPI keeps nested)."""
    for route in routes:
        nested = getattr(route, "original_router", None)
        if nested is not None:
            yield from every_route(nested.routes)
        else:
            yield route


def require_declared(routes: Iterable[BaseRoute]) -> None:
    """Raises RuntimeError for a route that nobody decided about."""
    for route in every_route(routes):
        path = getattr(route, "path", None)
        declared = isinstance(route, APIRoute) and declared_roles(route) is not None
        if path not in PUBLIC_PATHS and not declared:
            raise RuntimeError(f"route {path!r} declares no roles and is not public")
