"""What the commands about claims share: amounts to shards, and how a claim is shown."""

from __future__ import annotations

from typing import Annotated

import typer

from evenkeel.cli.client import Json
from evenkeel.cli.output import out, print_json
from evenkeel.cli.show import amount, clean, grid
from evenkeel.domain.claim import ClaimInvalid
from evenkeel.domain.instants import shown
from evenkeel.domain.rdv import shards_for
from evenkeel.domain.resources import AXIS, Resource

Cpu = Annotated[float | None, typer.Option(help="Cores, in steps of 0.05.")]
Memory = Annotated[float | None, typer.Option(help="MiB, in steps of 64.")]
Net = Annotated[float | None, typer.Option(help="Mbit/s.")]
Iops = Annotated[float | None, typer.Option(help="Requests/s, in steps of 10.")]
Start = Annotated[str, typer.Option(help="From when: now, +1h, 2026-12-01T08:00 (UTC), epoch.")]
Until = Annotated[str | None, typer.Option(help="Until when, likewise; or say --for.")]
Span = Annotated[str, typer.Option("--for", help="How long: 90m, 8h, 2d.")]
ClaimArgument = Annotated[str, typer.Argument(help="The claim's id.")]


def shards(wanted: dict[str, float | None]) -> dict[str, int]:
    """Whole shards that hold what was named. Raises ClaimInvalid."""
    found = {}
    for resource in AXIS:
        some = wanted[resource.value]
        if some is None:
            continue
        if not 0 <= some < 1e9:
            raise ClaimInvalid(f"{some:g} of {resource.value} is not an amount")
        found[resource.value] = shards_for(resource, some)
    return found


def size(lot: Json) -> str:
    return f"{amount(lot['amount'])} {lot['unit']} {Resource(lot['resource']).value}"


def answer(claim: Json, as_json: bool) -> None:
    if as_json:
        print_json(claim)
        return
    out.print(
        clean(
            f"claim {claim['id']} of {claim['owner']}, {claim['state']}, version "
            f"{claim['version']}: {shown(claim['start_s'])} to {shown(claim['end_s'])} UTC"
        )
    )
    table = grid("lot", "shards", "amount", "class", "from (UTC)", "until", right=("shards",))
    for lot in claim["lots"]:
        table.add_row(
            clean(lot["name"]),
            str(lot["n_shards"]),
            size(lot),
            lot["performance"],
            shown(lot["start_s"]),
            shown(lot["end_s"]),
        )
    if claim["lots"]:
        out.print(table)
