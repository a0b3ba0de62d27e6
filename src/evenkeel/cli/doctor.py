"""`evenkeel doctor`: what works here, what does not, and what to do about it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer
from rich.table import Table
from rich.text import Text

from evenkeel import config
from evenkeel.cli import show
from evenkeel.cli.checks import Check, Verdict, check_client, check_host, looks_like_host
from evenkeel.cli.client import TokenFileOption, UrlOption, client_settings
from evenkeel.cli.output import JsonFlag, friendly_errors, out, print_json
from evenkeel.domain.errors import ConfigInvalid

_GLYPH: Final = {
    Verdict.OK: ("✓", "green"),
    Verdict.WARN: ("!", "bold yellow"),
    Verdict.FAIL: ("✗", "bold red"),
}


def register(app: typer.Typer) -> None:
    """Add the command to the `evenkeel` app."""
    app.command("doctor", rich_help_panel="See the fleet")(doctor)


@friendly_errors
def doctor(
    host: Annotated[
        bool | None,
        typer.Option(
            "--host/--no-host",
            help="Check this machine as a libvirt host; else decided by what is found here.",
        ),
    ] = None,
    config_file: Annotated[
        Path | None, typer.Option("--config", help="TOML file [default: as the daemons read it].")
    ] = None,
    as_json: JsonFlag = False,
    url: UrlOption = "",
    token_file: TokenFileOption = "",
) -> None:
    """Check configuration, controller, token, clock and, on a host, libvirt and the state on disk.

    Exit code 1 if any check fails; warnings alone are fine.

    Example: [bold]evenkeel doctor[/]
    """
    checks = examine(host, config_file, url, token_file)
    if as_json:
        print_json({"items": [check.as_json() for check in checks], "next": None})
    else:
        _print(checks)
    if any(check.verdict is Verdict.FAIL for check in checks):
        raise typer.Exit(1)


def examine(host: bool | None, config_file: Path | None, url: str, token_file: str) -> list[Check]:
    """All checks, in the order in which they help: each stands on those before it."""
    try:
        known = config.load(config_file)
        settings = client_settings(url, token_file, config_file)
    except ConfigInvalid as error:
        return [Check("config", Verdict.FAIL, error.message, error.hint)]
    checks = [Check("config", Verdict.OK, "parses")]
    checks += check_client(settings)
    if host or (host is None and looks_like_host(known.agent)):
        checks += check_host(known.agent)
    elif host is None:
        line = "this machine looks like no libvirt host; host checks left out"
        checks.append(Check("host", Verdict.OK, line, "`evenkeel doctor --host` checks it anyway."))
    return checks


def _print(checks: list[Check]) -> None:
    table = Table.grid(padding=(0, 2, 0, 0))
    for check in checks:
        line = show.clean(check.line)
        if check.hint and check.verdict is not Verdict.OK:
            line.append(f"\n{check.hint}", style="dim")
        table.add_row(Text(*_GLYPH[check.verdict]), check.name, line)
    out.print(table)
    n_bad = sum(check.verdict is Verdict.FAIL for check in checks)
    n_warn = sum(check.verdict is Verdict.WARN for check in checks)
    out.print(Text(f"{len(checks)} checks, {n_bad} failed, {n_warn} warnings", style="dim"))
