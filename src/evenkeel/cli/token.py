"""`evenkeel token create|list|revoke`: who may talk to the controller."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer
from rich.table import Table

from evenkeel.cli.client import TokenFileOption, UrlOption, connect, segment
from evenkeel.cli.output import JsonFlag, friendly_errors, out, print_json

token_app = typer.Typer(no_args_is_help=True, help="Create, list and revoke API tokens.")


class TokenRole(StrEnum):
    ADMIN = "admin"
    AGENT = "agent"
    TENANT = "tenant"


@token_app.command("create")
@friendly_errors
def create(
    role: Annotated[TokenRole, typer.Argument(help="What it may do.")],
    subject: Annotated[str, typer.Argument(help="Host id, tenant id, or a person's name.")],
    as_json: JsonFlag = False,
    url: UrlOption = "",
    token_file: TokenFileOption = "",
) -> None:
    """Create a token. It is shown once, on stdout; keep it in a file of mode 0600."""
    with connect(url, token_file) as client:
        made = client.post("/v1/tokens", {"role": role.value, "subject": subject})
    if as_json:
        print_json(made)
    else:
        typer.echo(made["token"])


@token_app.command("list")
@friendly_errors
def list_tokens(
    as_json: JsonFlag = False, url: UrlOption = "", token_file: TokenFileOption = ""
) -> None:
    """List all tokens, revoked ones too; their secrets are not kept anywhere."""
    with connect(url, token_file) as client:
        page = client.everything("/v1/tokens", limit=0)
    if as_json:
        print_json(page)
        return
    table = Table("id", "role", "subject", "state")
    for one in page["items"]:
        state = "revoked" if one["revoked_at_s"] else "valid"
        table.add_row(one["id"], one["role"], one["subject"], state)
    out.print(table)


@token_app.command("revoke")
@friendly_errors
def revoke(
    token_id: Annotated[str, typer.Argument(help="As `evenkeel token list` shows it.")],
    url: UrlOption = "",
    token_file: TokenFileOption = "",
) -> None:
    """Revoke a token for good; it is refused from now on."""
    with connect(url, token_file) as client:
        client.delete(f"/v1/tokens/{segment(token_id)}")
