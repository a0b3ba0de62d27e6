"""How every command speaks: tables for people, `--json` for machines, errors with a next step."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Annotated, Any, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.markup import escape

from evenkeel.domain.errors import EvenkeelError

out = Console()
err = Console(stderr=True)

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]

RayFlag = Annotated[
    str, typer.Option("--ray", metavar="ADDRESS", help="Ray cluster: HOST:PORT or auto.")
]

P = ParamSpec("P")
R = TypeVar("R")


def print_json(value: Any) -> None:
    """Plain JSON on stdout, without colours or wrapping."""
    typer.echo(json.dumps(value, indent=2, default=str, allow_nan=False))


def friendly_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Print an EvenkeelError as message, hint and stable code; exit with its exit code."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except EvenkeelError as error:
            what = f"{escape(error.message)} [dim]({error.code})[/]"
            err.print(f"[bold red]error[/] {what}", highlight=False)
            if error.hint:
                err.print(f"[dim]hint:[/] {escape(error.hint)}", highlight=False)
            raise typer.Exit(error.exit_code) from error

    return wrapped
