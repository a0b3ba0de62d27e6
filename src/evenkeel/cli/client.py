"""The CLI's way to the controller: one HTTP client that speaks in EvenkeelErrors.

It knows no response bodies: what the API answers is passed on as parsed JSON, so that the core
install needs neither pydantic nor FastAPI.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote

import httpx2
import typer

from evenkeel import config
from evenkeel.domain.errors import (
    ConfigInvalid,
    ControllerUnavailable,
    EvenkeelError,
    InvalidRequest,
)

UrlOption = Annotated[
    str, typer.Option("--url", help="Controller's base URL; else EVENKEEL_URL or client.url.")
]
TokenFileOption = Annotated[
    str,
    typer.Option("--token-file", help="File with the token; else EVENKEEL_TOKEN or client.token."),
]
PAGE_LIMIT: Final = 1000

Json = dict[str, Any]
Params = dict[str, str | int | float | bool | None]


class ApiClient:
    """Every method raises ControllerUnavailable, or the API's own error with its code and hint."""

    def __init__(
        self,
        settings: config.ClientConfig,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        token = settings.token or _read_token(settings.token_file)
        headers = {"Accept": "application/json", "User-Agent": "evenkeel-cli"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        self.url = settings.url.rstrip("/")
        try:
            self._http = httpx2.Client(
                base_url=self.url, headers=headers, timeout=settings.timeout_s, transport=transport
            )
        except (httpx2.InvalidURL, ValueError) as error:
            raise ConfigInvalid(f"{self.url!r} is not a URL: {error}") from error

    def __enter__(self) -> ApiClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, **params: str | int | float | bool | None) -> Json:
        return self._ask("GET", path, params=_given(params))

    def put(self, path: str, body: Json) -> Json:
        return self._ask("PUT", path, body=body)

    def post(self, path: str, body: Json) -> Json:
        return self._ask("POST", path, body=body)

    def patch(self, path: str, body: Json) -> Json:
        return self._ask("PATCH", path, body=body)

    def delete(self, path: str) -> Json:
        return self._ask("DELETE", path)

    def server_time_s(self) -> float | None:
        """UTC epoch seconds by the controller's `Date` header (whole seconds), if it sends one."""
        response = self._send("GET", "/v1/status", {}, None)
        try:
            return parsedate_to_datetime(response.headers["date"]).timestamp()
        except (KeyError, ValueError):
            return None

    def pages(self, path: str, params: Params) -> Iterator[Json]:
        """Follow `next`; every page has `items` and `next`."""
        cursor: str | None = None
        while True:
            page = self.get(path, **{**params, "cursor": cursor})
            yield page
            cursor = page["next"]
            if cursor is None:
                return

    def everything(self, path: str, limit: int, **params: str | int | float | bool | None) -> Json:
        """One page made of all of them, or of the first `limit` items (0: no limit)."""
        items: list[Json] = []
        after: str | None = None
        size = min(limit, PAGE_LIMIT) if limit else PAGE_LIMIT
        for page in self.pages(path, {**params, "limit": size}):
            items += page["items"]
            after = page["next"]
            if limit and len(items) >= limit:
                return {"items": items[:limit], "next": after}
        return {"items": items, "next": None}

    def _ask(
        self, method: str, path: str, params: Params | None = None, body: Json | None = None
    ) -> Json:
        response = self._send(method, path, params or {}, body)
        if response.status_code == 204:
            return {}
        try:
            answer = response.json()
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ControllerUnavailable(
                f"{self.url} answered, but not as an Evenkeel controller would",
                hint="Does the URL name the controller itself, and not another service?",
            ) from error
        if response.is_success and isinstance(answer, dict):
            return answer
        raise _error_of(response.status_code, answer)

    def _send(self, method: str, path: str, params: Params, body: Json | None) -> httpx2.Response:
        try:
            return self._http.request(method, path, params=params, json=body)
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
            raise ConfigInvalid(f"{self.url!r} is not a usable URL: {error}") from error
        except httpx2.TimeoutException as error:
            raise ControllerUnavailable(f"{self.url} did not answer in time") from error
        except httpx2.HTTPError as error:
            raise ControllerUnavailable(f"cannot reach {self.url}: {error}") from error


def connect(url: str = "", token_file: str = "") -> ApiClient:
    """A client from the configuration; options given on the command line win."""
    return ApiClient(client_settings(url, token_file))


def client_settings(
    url: str, token_file: str, config_file: Path | None = None
) -> config.ClientConfig:
    known = config.load(config_file).client
    return config.ClientConfig(
        url=url or known.url,
        token="" if token_file else known.token,
        token_file=token_file or known.token_file,
        timeout_s=known.timeout_s,
    )


def segment(name: str) -> str:
    """A name as one segment of a path."""
    return quote(name, safe="")


def _given(params: Params) -> Params:
    return {key: value for key, value in params.items() if value is not None}


def _read_token(path: str) -> str:
    if not path:
        return ""
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        hint = "Give --token-file a file that you may read."
        raise ConfigInvalid(f"token file {path}: {error}", hint=hint) from error


def _error_of(status: int, answer: Any) -> EvenkeelError:
    """The error tree's own class where the code is known, so that exit codes are kept."""
    detail = answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(detail, dict):
        refused = InvalidRequest if status in {400, 422} else ControllerUnavailable
        return refused(f"the controller answered {status}", hint="See the controller's log.")
    code, message = str(detail.get("code", "")), str(detail.get("message", ""))
    kind: type[EvenkeelError] = _classes().get(code) or type(
        "ApiError", (EvenkeelError,), {"code": code or "internal"}
    )
    return kind(message, hint=str(detail.get("hint", "")))


def _classes() -> dict[str, type[EvenkeelError]]:
    found: dict[str, type[EvenkeelError]] = {}
    todo = list(EvenkeelError.__subclasses__())
    while todo:
        error = todo.pop()
        found.setdefault(error.code, error)
        todo += error.__subclasses__()
    return found
