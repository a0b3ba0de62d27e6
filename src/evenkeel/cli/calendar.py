"""`evenkeel calendar`: what of a host is promised, from when to when, and what is free."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from evenkeel.cli.client import TokenFileOption, UrlOption, connect, segment
from evenkeel.cli.output import JsonFlag, friendly_errors, out, print_json
from evenkeel.cli.show import amount, clean, grid, label
from evenkeel.cli.times import instant_s
from evenkeel.domain.instants import shown


@friendly_errors
def calendar(
    host: Annotated[str, typer.Argument(help="The host's id.")],
    start: Annotated[str, typer.Option(help="From when: now, +1h, a date (UTC), epoch.")] = "now",
    until: Annotated[str, typer.Option(help="Until when, likewise.")] = "+1d",
    as_json: JsonFlag = False,
    url: UrlOption = "",
    token_file: TokenFileOption = "",
) -> None:
    """What of a host is promised, slot by slot, and what is free.

    Example: [bold]evenkeel calendar kvm3 --until +7d[/]
    """
    now_s = time.time()
    with connect(url, token_file) as api:
        told = api.get(
            f"/v1/hosts/{segment(host)}/calendar",
            since_s=instant_s(start, now_s),
            until_s=instant_s(until, now_s),
        )
    if as_json:
        print_json(told)
        return
    table = grid("resource", "from (UTC)", "until", "promised", "free", "of", "unit")
    for one in told["resources"]:
        if one["capacity"] is None:
            unknown = "how much there is, nobody knows"
            table.add_row(label(one["resource"]), "", "", "", "", unknown, one["unit"])
            continue
        for slot in one["slots"]:
            table.add_row(
                label(one["resource"]),
                shown(slot["start_s"]),
                "" if slot["end_s"] is None else shown(slot["end_s"]),
                amount(slot["committed"] * one["shard"]),
                amount(slot["free"] * one["shard"]),
                amount(one["capacity"] * one["shard"]),
                one["unit"],
            )
    out.print(table)
    out.print(clean(f"{len(told['lots'])} lots on {told['host']}"))
