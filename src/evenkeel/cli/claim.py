"""`evenkeel claim create|change|release|list|show`: shards of hosts, for a while."""

from __future__ import annotations

import time
import uuid
from typing import Annotated, Any

import typer

from evenkeel.cli import claim_parts
from evenkeel.cli.claim_words import (
    ClaimArgument,
    Cpu,
    Iops,
    Memory,
    Net,
    Span,
    Start,
    Until,
    answer,
    shards,
    size,
)
from evenkeel.cli.client import Json, TokenFileOption, UrlOption, connect, segment
from evenkeel.cli.output import JsonFlag, friendly_errors, out, print_json
from evenkeel.cli.show import clean, grid
from evenkeel.cli.times import instant_s, interval_s
from evenkeel.domain.instants import shown
from evenkeel.domain.shard import PerformanceClass

claim_app = typer.Typer(no_args_is_help=True, help="Reserve shards of hosts, and give them back.")
claim_parts.register(claim_app)

Limit = Annotated[int, typer.Option(min=0, help="At most so many; 0: all.")]


@claim_app.command("create")
@friendly_errors
def create(
    hosts: Annotated[list[str], typer.Argument(help="On which hosts: the same on each.")],
    cpu: Cpu = None,
    memory: Memory = None,
    net: Net = None,
    iops: Iops = None,
    performance: Annotated[
        PerformanceClass, typer.Option("--class", help="What it can count on.")
    ] = PerformanceClass.SHARED,
    by_forecast: Annotated[
        bool, typer.Option(help="Count by the forecast of the VM, not in full (shared only).")
    ] = False,
    start: Start = "now",
    span: Span = "1h",
    until: Until = None,
    vm: Annotated[str, typer.Option(help="For which VM (id).")] = "",
    owner: Annotated[str, typer.Option(help="For which tenant.")] = "default",
    key: Annotated[
        str,
        typer.Option(help="Your name for it: said again with the same dates, it is taken once."),
    ] = "",
    as_json: JsonFlag = False,
    url: UrlOption = "",
    token_file: TokenFileOption = "",
) -> None:
    """Take shards on one or several hosts, all of them or none.

    Example: [bold]evenkeel claim create kvm3 --cpu 2 --memory 4096 --for 8h --owner shop[/]
    """
    start_s, end_s = interval_s(start, span, until, time.time())
    wanted = shards({"cpu": cpu, "memory": memory, "net": net, "iops": iops})
    body: Json = {
        "key": key or str(uuid.uuid4()),
        "owner": owner,
        "vm": vm,
        "start_s": start_s,
        "end_s": end_s,
        "asks": [
            {
                "host": host,
                "resource": resource,
                "n_shards": n,
                "performance": performance.value,
                "by_forecast": by_forecast,
            }
            for host in hosts
            for resource, n in wanted.items()
            if n
        ],
    }
    with connect(url, token_file) as api:
        answer(api.post("/v1/claims", body), as_json)


@claim_app.command("change")
@friendly_errors
def change(
    claim: ClaimArgument,
    cpu: Cpu = None,
    memory: Memory = None,
    net: Net = None,
    iops: Iops = None,
    host: Annotated[
        str | None, typer.Option(help="Only what is on this host; none: on each of its hosts.")
    ] = None,
    move_to: Annotated[str | None, typer.Option(help="From then on it is on this host.")] = None,
    start: Annotated[str, typer.Option(help="From when on: now, +1h, a date, epoch.")] = "now",
    until: Annotated[str | None, typer.Option(help="It ends then: extends or shortens.")] = None,
    as_json: JsonFlag = False,
    url: UrlOption = "",
    token_file: TokenFileOption = "",
) -> None:
    """Resize, move, extend or shorten a claim; what is not named stays. 0 gives a resource back.

    Example: [bold]evenkeel claim change 3f2a... --cpu 3 --until +8h[/]
    """
    now_s = time.time()
    wanted = shards({"cpu": cpu, "memory": memory, "net": net, "iops": iops})
    body: Json = {}
    with connect(url, token_file) as api:
        path = f"/v1/claims/{segment(claim)}"
        if wanted or move_to is not None:
            known = api.get(path)
            body |= {
                "asks": _asks(known, wanted, host, move_to),
                "if_version": known["version"],
                "from_s": instant_s(start, now_s),
            }
        if until is not None:
            body["end_s"] = instant_s(until, now_s)
        answer(api.patch(path, body), as_json)


@claim_app.command("release")
@friendly_errors
def release(
    claim: ClaimArgument,
    as_json: JsonFlag = False,
    url: UrlOption = "",
    token_file: TokenFileOption = "",
) -> None:
    """Give back what is left of a claim, from now on.

    Example: [bold]evenkeel claim release 3f2a...[/]
    """
    with connect(url, token_file) as api:
        answer(api.delete(f"/v1/claims/{segment(claim)}"), as_json)


@claim_app.command("show")
@friendly_errors
def show(
    claim: ClaimArgument,
    past: Annotated[bool, typer.Option(help="Also lots that have ended.")] = False,
    as_json: JsonFlag = False,
    url: UrlOption = "",
    token_file: TokenFileOption = "",
) -> None:
    """One claim with its lots.

    Example: [bold]evenkeel claim show 3f2a... --past[/]
    """
    with connect(url, token_file) as api:
        answer(api.get(f"/v1/claims/{segment(claim)}", past=past), as_json)


@claim_app.command("list")
@friendly_errors
def list_claims(
    vm: Annotated[str | None, typer.Option(help="Only this VM's (id).")] = None,
    host: Annotated[str | None, typer.Option(help="Only those with lots on this host.")] = None,
    owner: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None,
    past: Annotated[bool, typer.Option(help="Also those that have ended.")] = False,
    limit: Limit = 100,
    as_json: JsonFlag = False,
    url: UrlOption = "",
    token_file: TokenFileOption = "",
) -> None:
    """Claims that have not ended.

    Example: [bold]evenkeel claim list --host kvm3[/]
    """
    with connect(url, token_file) as api:
        page = api.everything("/v1/claims", limit, vm=vm, host=host, owner=owner, past=past)
    if as_json:
        print_json(page)
        return
    table = grid("claim", "owner", "VM", "state", "from (UTC)", "until", "holds")
    for one in page["items"]:
        table.add_row(
            clean(one["id"]),
            clean(one["owner"]),
            clean(one["vm"]),
            one["state"],
            shown(one["start_s"]),
            shown(one["end_s"]),
            clean(", ".join(f"{size(lot)} on {lot['host']}" for lot in one["lots"])),
        )
    out.print(table if page["items"] else "no claims")


def _asks(
    claim: Json, wanted: dict[str, int], host: str | None, move_to: str | None
) -> list[dict[str, Any]]:
    """All that the claim holds to its end, with what was named changed."""
    lots = [lot for lot in claim["lots"] if lot["end_s"] == claim["end_s"]]
    asks = []
    for lot in lots:
        concerned = host is None or lot["host"] == host
        n = wanted.get(lot["resource"], lot["n_shards"]) if concerned else lot["n_shards"]
        if n:
            place = move_to if concerned and move_to is not None else lot["host"]
            asks.append(_ask(lot, place, n))
    held = {(lot["host"], lot["resource"]) for lot in lots}
    for at in sorted({lot["host"] for lot in lots if host is None or lot["host"] == host}):
        for resource, n in wanted.items():
            if n and (at, resource) not in held:
                asks.append({"host": move_to or at, "resource": resource, "n_shards": n})
    return asks


def _ask(lot: Json, host: str, n: int) -> dict[str, Any]:
    return {
        "host": host,
        "resource": lot["resource"],
        "n_shards": n,
        "performance": lot["performance"],
        "demand": lot["demand"],
    }
