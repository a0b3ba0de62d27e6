"""`evenkeel token create|list|revoke`: who may talk to the controller."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.table import Table

from evenkeel import config as configuration
from evenkeel.cli.output import JsonFlag, friendly_errors, out, print_json
from evenkeel.config import ClientConfig
from evenkeel.domain.errors import ConfigInvalid, ControllerUnavailable, EvenkeelError

token_app = typer.Typer(no_args_is_help=True, help="Create, list and revoke API tokens.")

ConfigFile = Annotated[Path | None, typer.Option("--config", help="TOML file to read.")]


class TokenRole(StrEnum):
    ADMIN = "admin"
    AGENT = "agent"
    TENANT = "tenant"


class Refused(EvenkeelError):
    """What the controller answered, with the controller's own code."""

    def __init__(self, status: int, code: str, message: str, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.code = code  # type: ignore[misc]  # the server's word, known at run time only
        self.exit_code = 4 if status in (401, 403) else 1  # type: ignore[misc]


@token_app.command("create")
@friendly_errors
def create(
    role: Annotated[TokenRole, typer.Argument(help="What it may do.")],
    subject: Annotated[str, typer.Argument(help="Host id, tenant id, or a person's name.")],
    as_json: JsonFlag = False,
    config: ConfigFile = None,
) -> None:
    """Create a token. It is shown once, on stdout; keep it in a file of mode 0600."""
    made = _request(config, "POST", "/v1/tokens", {"role": role.value, "subject": subject})
    if as_json:
        print_json(made)
    else:
        typer.echo(made["token"])


@token_app.command("list")
@friendly_errors
def list_tokens(as_json: JsonFlag = False, config: ConfigFile = None) -> None:
    """List all tokens; their secrets are not kept anywhere."""
    items: list[dict[str, Any]] = []
    cursor = ""
    while True:
        query = f"?cursor={quote(cursor)}" if cursor else ""
        page = _request(config, "GET", f"/v1/tokens{query}")
        items += page["items"]
        cursor = page["next"] or ""
        if not cursor:
            break
    if as_json:
        print_json(items)
        return
    table = Table("id", "role", "subject", "state")
    for one in items:
        table.add_row(
            one["id"], one["role"], one["subject"], "revoked" if one["revoked_at_s"] else "valid"
        )
    out.print(table)


@token_app.command("revoke")
@friendly_errors
def revoke(
    token_id: Annotated[str, typer.Argument(help="As `evenkeel token list` shows it.")],
    config: ConfigFile = None,
) -> None:
    """Revoke a token for good; it is refused from now on."""
    _request(config, "DELETE", f"/v1/tokens/{quote(token_id, safe='')}")


def _request(config: Path | None, method: str, path: str, body: Any = None) -> Any:
    """Raises ControllerUnavailable, ConfigInvalid, Refused."""
    import httpx2

    client = configuration.load(config).client
    headers = {"Authorization": f"Bearer {_token(client)}"}
    try:
        answer = httpx2.request(
            method,
            client.url.rstrip("/") + path,
            json=body,
            headers=headers,
            timeout=client.timeout_s,
        )
    except httpx2.HTTPError as error:
        raise ControllerUnavailable(f"{client.url} does not answer: {error}") from error
    if answer.is_success:
        return answer.json() if answer.content else None
    try:
        detail = answer.json()["error"]
        raise Refused(answer.status_code, detail["code"], detail["message"], detail["hint"])
    except (ValueError, KeyError, TypeError) as error:
        raise ControllerUnavailable(
            f"{client.url} answered {answer.status_code}, and not as a controller does"
        ) from error


def _token(client: ClientConfig) -> str:
    if client.token or not client.token_file:
        return client.token
    try:
        return Path(client.token_file).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigInvalid(f"client.token_file: {error}") from error
