"""`evenkeel maintenance`: hosts on which nothing new is placed."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from evenkeel.cli.client import TokenFileOption, UrlOption, connect, segment
from evenkeel.cli.output import JsonFlag, friendly_errors, out, print_json
from evenkeel.cli.show import clean, grid
from evenkeel.domain.errors import InvalidRequest


def register(app: typer.Typer) -> None:
    """Add the command to the `evenkeel` app."""
    app.command("maintenance", rich_help_panel="Change the fleet")(maintenance)


@friendly_errors
def maintenance(
    host: Annotated[str, typer.Argument(help="Left out: list them.")] = "",
    end: Annotated[bool, typer.Option("--end", help="It is over.")] = False,
    reason: Annotated[str, typer.Option(help="Why, for others to read.")] = "",
    as_json: JsonFlag = False,
    url: UrlOption = "",
    token_file: TokenFileOption = "",
) -> None:
    """Place nothing new on a host, until `--end`; what runs there is left alone.

    Example: [bold]evenkeel maintenance host-a --reason "new disks"[/]
    """
    if end and not host:
        raise InvalidRequest("of which host?", hint="`evenkeel maintenance HOST --end`.")
    with connect(url, token_file) as api:
        if host and end:
            api.delete(f"/v1/maintenance/{segment(host)}")
        elif host:
            api.put(f"/v1/maintenance/{segment(host)}", {"reason": reason})
        closed = api.get("/v1/maintenance")
    if as_json:
        print_json(closed)
        return
    if not closed["items"]:
        out.print("no host is in maintenance", highlight=False)
        return
    table = grid("host", "since", "reason")
    for one in closed["items"]:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(one["since_s"]))
        table.add_row(clean(one["host"]), f"{since} UTC", clean(one["reason"]))
    out.print(table)
