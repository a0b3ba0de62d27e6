"""`evenkeel place`: choose a host for a VM (or for many, from a file) and reserve what it needs."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from evenkeel.cli.claim_words import Span, Start, Until
from evenkeel.cli.client import Json, TokenFileOption, UrlOption, connect
from evenkeel.cli.output import JsonFlag, friendly_errors, out, print_json
from evenkeel.cli.show import clean, grid
from evenkeel.cli.times import interval_s
from evenkeel.domain.errors import InvalidRequest

REFUSED_EXIT = 5
DAY = "1d"


def register(app: typer.Typer) -> None:
    """Add the command to the `evenkeel` app."""
    app.command("place", rich_help_panel="Change the fleet")(place)


@friendly_errors
def place(
    vm: Annotated[str, typer.Argument(help="Its UUID or name.")] = "",
    file: Annotated[
        Path | None, typer.Option(help="JSON list of VMs, as POST /v1/placements takes them.")
    ] = None,
    like: Annotated[str | None, typer.Option(help="A VM that it will behave like.")] = None,
    vcpus: Annotated[int | None, typer.Option(min=1, help="Its vCPUs.")] = None,
    memory: Annotated[float | None, typer.Option(min=1, help="Its memory (MiB).")] = None,
    tenant: Annotated[str | None, typer.Option(help="Whose it is.")] = None,
    wants_cpu: Annotated[float | None, typer.Option(min=0, help="Cores it wants.")] = None,
    wants_net: Annotated[float | None, typer.Option(min=0, help="Mbit/s it wants.")] = None,
    wants_iops: Annotated[float | None, typer.Option(min=0, help="Requests/s it wants.")] = None,
    performance: Annotated[str, typer.Option(help="pinned, shared or best-effort.")] = "shared",
    label: Annotated[list[str] | None, typer.Option(help="A label of it; repeat.")] = None,
    near: Annotated[list[str] | None, typer.Option(help="With VMs of this label.")] = None,
    apart: Annotated[list[str] | None, typer.Option(help="Not with VMs of this label.")] = None,
    alone: Annotated[bool, typer.Option("--alone", help="No other tenant on its host.")] = False,
    only: Annotated[list[str] | None, typer.Option(help="One of these hosts; repeat.")] = None,
    never: Annotated[list[str] | None, typer.Option(help="None of these hosts; repeat.")] = None,
    start: Start = "now",
    span: Span = DAY,
    until: Until = None,
    all_or_nothing: Annotated[
        bool, typer.Option("--all-or-nothing", help="Of a file: every VM, or none.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell, take nothing.")] = False,
    precise: Annotated[
        bool, typer.Option("--precise", help="Ask the contention model about the finalists.")
    ] = False,
    as_json: JsonFlag = False,
    url: UrlOption = "",
    token_file: TokenFileOption = "",
) -> None:
    """Where does this VM go? The host with the least contention, reserved at once.

    Exits with 5 if a VM could not be placed.

    Example: [bold]evenkeel place web7 --vcpus 4 --memory 8192 --wants-cpu 1.5 --apart web[/]
    """
    if bool(vm) is (file is not None):
        raise InvalidRequest("which VM?", hint="`evenkeel place NAME ...` or `--file FILE`.")
    one: Json = {
        "vm": vm,
        "like": like,
        "vcpus": vcpus,
        "memory_mib": memory,
        "tenant": tenant,
        "wants": _given({"cpu": wants_cpu, "net": wants_net, "iops": wants_iops}),
        "performance": performance,
        "labels": label or [],
        "rules": _rules(near or [], "together") + _rules(apart or [], "apart"),
        "alone": alone,
        "only": only or [],
        "never": never or [],
    }
    vms = [one] if file is None else _read(file)
    how = {"all_or_nothing": all_or_nothing, "dry_run": dry_run, "precise": precise}
    body: Json = {"vms": vms, **how}
    with connect(url, token_file) as api:
        if (start, span, until) != ("now", DAY, None):  # else by the controller's own clock
            now_s = api.server_time_s() or time.time()
            body["start_s"], body["end_s"] = interval_s(start, span, until, now_s)
        answer = api.post("/v1/placements", body)
    if as_json:
        print_json(answer)
    else:
        _show(answer)
    if answer["n_refused"]:
        raise typer.Exit(REFUSED_EXIT)


def _given(wants: dict[str, float | None]) -> dict[str, float]:
    return {name: amount for name, amount in wants.items() if amount is not None}


def _rules(labels: list[str], relation: str) -> list[Json]:
    return [{"relation": relation, "label": label} for label in labels]


def _read(file: Path) -> list[Json]:
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{file} cannot be read: {error}") from error
    except json.JSONDecodeError as error:
        raise InvalidRequest(f"{file} is not JSON: {error}") from error
    if not isinstance(told, list) or not all(isinstance(one, dict) for one in told):
        raise InvalidRequest(f"{file} holds no list of VMs", hint='[{"vm": "web1", "vcpus": 2}]')
    return told


def _show(answer: dict[str, Any]) -> None:
    placed = [one for one in answer["outcomes"] if one["placed"]]
    if placed:
        table = grid("VM", "host", "cell", "contention", "why")
        for one in placed:
            best = one["options"][0]
            table.add_row(
                clean(one["vm"]),
                clean(one["host"]),
                "all" if best["cell"] < 0 else str(best["cell"]),
                f"{best['contention_pct']:.2f} % of a host",
                clean(one["why"]),
            )
        out.print(table)
    for one in answer["outcomes"]:
        if one["placed"]:
            continue
        out.print(clean(f"{one['vm']} refused ({one['code']}): {one['why']}"))
        for reason in one["reasons"]:
            n_hosts, names = reason["n_hosts"], ", ".join(reason["examples"])
            more = " ..." if n_hosts > len(reason["examples"]) else ""
            out.print(clean(f"  {n_hosts} hosts {reason['text']}: {names}{more}"))
        if one["hint"]:
            out.print(clean(f"  {one['hint']}"))
