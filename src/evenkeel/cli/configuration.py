"""`evenkeel config`: every setting with its default and meaning, and what is in force here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import msgspec
import typer
from rich.table import Table

from evenkeel.cli.output import JsonFlag, friendly_errors, out, print_json
from evenkeel.config import ENV_PREFIX, Config, load


@friendly_errors
def config(
    path: Annotated[
        Path | None, typer.Option("--config", help="TOML file [default: the usual one].")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Show every setting: its value here, its meaning, and the variable that sets it.

    Settings come from /etc/evenkeel/evenkeel.toml ([agent], [controller], [client]), or from the
    environment, which wins. Tokens are not shown.

    Example: EVENKEEL_AGENT__TICK_S=2 evenkeel config
    """
    loaded = load(path)
    rows = [row for group in Config.__struct_fields__ for row in _rows(group, loaded)]
    if as_json:
        print_json(rows)
        return
    table = Table("variable", "value", "meaning")
    for row in rows:
        table.add_row(row["variable"], str(row["value"]), row["meaning"])
    out.print(table)


def _rows(group: str, loaded: Config) -> list[dict[str, Any]]:
    settings = getattr(loaded, group)
    hints = get_type_hints(type(settings), include_extras=True)
    return [
        {
            "variable": f"{ENV_PREFIX}{group.upper()}__{name.upper()}",
            "value": "(set)" if name == "token" and getattr(settings, name) else value,
            "meaning": _meaning(hints[name]),
        }
        for name, value in msgspec.structs.asdict(settings).items()
    ]


def _meaning(hint: Any) -> str:
    """The description in a field's annotation, however deep it is wrapped."""
    found = [m.description for m in get_args(hint) if isinstance(m, msgspec.Meta) and m.description]
    return found[0] if found else ""
