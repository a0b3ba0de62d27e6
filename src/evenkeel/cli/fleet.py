"""The read commands and `mode`: what the fleet looks like, who hurts whom, and why."""

from __future__ import annotations

import json
import time
from typing import Annotated

import typer
from rich.text import Text

from evenkeel.cli import show
from evenkeel.cli.client import ApiClient, Json, TokenFileOption, UrlOption, connect, segment
from evenkeel.cli.evidence_view import print_evidence
from evenkeel.cli.map_view import print_map
from evenkeel.cli.output import JsonFlag, err, friendly_errors, out, print_json
from evenkeel.domain.errors import Forbidden, InvalidRequest
from evenkeel.domain.host import Mode
from evenkeel.domain.score import PRESENT_S

FOLLOW_S = 2.0
LimitOption = Annotated[
    int, typer.Option("--limit", min=0, help="At most this many items; 0: all of them.")
]
HostOption = Annotated[str | None, typer.Option("--host", help="Only this host.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the `evenkeel` app."""
    for command in (status, hosts, vms, contention_map, why, mitigations, mode, events):
        name = "map" if command is contention_map else command.__name__
        app.command(name, rich_help_panel="See the fleet")(command)


@friendly_errors
def status(
    as_json: JsonFlag = False, url: UrlOption = "", token_file: TokenFileOption = ""
) -> None:
    """Is all well? Mode, hosts alive, alarms worst first, problems.

    Example: [bold]evenkeel status[/]
    """
    with connect(url, token_file) as api:
        now = api.get("/v1/status")
    if as_json:
        return print_json(now)
    silent = now["n_hosts"] - now["n_hosts_alive"]
    out.print(
        Text.assemble(
            ("mode ", "dim"),
            show.mode(now["mode"]),
            ("   hosts ", "dim"),
            f"{now['n_hosts_alive']}/{now['n_hosts']} alive",
            (f" ({silent} silent)" if silent else "", "bold red"),
            ("   VMs ", "dim"),
            str(now["n_vms"]),
            ("   fixes in place ", "dim"),
            str(now["n_open_mitigations"]),
        )
    )
    if not now["n_hosts"]:
        out.print("No agent has reported yet. On a libvirt host run: evenkeel agent", style="dim")
    for pair in now["alarms"]:
        out.print(show.pair_sentence(pair), soft_wrap=True)
    if now["n_hosts_alive"] and not now["alarms"]:
        out.print("No pair is above the alarm threshold.", style="dim")
    for problem in now["problems"]:
        out.print(Text.assemble(("problem ", "bold yellow"), show.clean(problem)))
    return None


@friendly_errors
def hosts(
    limit: LimitOption = 0,
    as_json: JsonFlag = False,
    url: UrlOption = "",
    token_file: TokenFileOption = "",
) -> None:
    """The hosts: alive or silent, mode, load, worst score.

    Example: [bold]evenkeel hosts[/]
    """
    with connect(url, token_file) as api:
        page = api.everything("/v1/hosts", limit)
    if as_json:
        return print_json(page)
    if not page["items"]:
        out.print("No agent has reported yet. On a libvirt host run: evenkeel agent", style="dim")
        return None
    out.print(show.host_table(page["items"]))
    return _say_more(page)


@friendly_errors
def vms(
    host: HostOption = None,
    limit: LimitOption = 0,
    as_json: JsonFlag = False,
    url: UrlOption = "",
    token_file: TokenFileOption = "",
) -> None:
    """The VMs: what they want, what they get, who hurts them most.

    Example: [bold]evenkeel vms --host host-a[/]
    """
    with connect(url, token_file) as api:
        page = api.everything("/v1/vms", limit, host=host)
    if as_json:
        return print_json(page)
    if not page["items"]:
        out.print("No VM is reported here.", style="dim")
        return None
    out.print(show.vm_table(page["items"]))
    return _say_more(page)


@friendly_errors
def contention_map(
    host: HostOption = None,
    min_score: Annotated[
        float, typer.Option("--min-score", min=0, max=100, help="Leave out lower scores.")
    ] = 1.0,
    horizon: Annotated[
        float, typer.Option("--horizon", min=1, help="Scores for the next so many seconds.")
    ] = PRESENT_S,
    as_json: JsonFlag = False,
    url: UrlOption = "",
    token_file: TokenFileOption = "",
) -> None:
    """Who hurts whom: victims down, aggressors across, the score in the cell.

    A score of 20 means: the victim is expected to lose 20 % of what it wants because of that
    neighbour. With --json always a list of maps, one per host.

    Example: [bold]evenkeel map --host host-a --min-score 5[/]
    """
    with connect(url, token_file) as api:
        names = [host] if host else _host_names(api)
        maps = [api.get(f"/v1/hosts/{segment(name)}/map", horizon_s=horizon) for name in names]
    for each in maps:
        each["cells"] = [cell for cell in each["cells"] if cell["score"] >= min_score]
    if as_json:
        return print_json({"items": maps, "next": None})
    if not maps:
        out.print("No agent has reported yet. On a libvirt host run: evenkeel agent", style="dim")
    for each in maps:
        print_map(out, each)
    return None


def _host_names(api: ApiClient) -> list[str]:
    """Where a tenant may not list hosts, those that its VMs are on."""
    try:
        return [host["id"] for host in api.everything("/v1/hosts", 0)["items"]]
    except Forbidden:
        return sorted({vm["host"] for vm in api.everything("/v1/vms", 0)["items"]})


@friendly_errors
def why(
    vm: Annotated[str, typer.Argument(help="Name or id of the VM.")],
    as_json: JsonFlag = False,
    url: UrlOption = "",
    token_file: TokenFileOption = "",
) -> None:
    """Who hurts this VM, with what evidence, and what would help.

    Example: [bold]evenkeel why web1[/]
    """
    with connect(url, token_file) as api:
        answer = api.get(f"/v1/vms/{segment(vm)}/why")
    if as_json:
        return print_json(answer)
    out.print(Text(show.clean(answer["summary"]).plain, style="bold"))
    out.print(show.reading_table(answer["vm"]["readings"]))
    for pair in answer["hurt_by"]:
        out.print(show.pair_sentence(pair), soft_wrap=True)
        out.print(
            f"  {pair['n_samples']} samples in {pair['window_s']:.0f} s, "
            f"for the next {pair['horizon_s']:.0f} s",
            style="dim",
        )
    for deviation in answer["pair_deviations"]:
        out.print(show.deviation_sentence(deviation), soft_wrap=True)
    if answer["deviations"]:
        out.print(show.predicted_table(answer["deviations"]))
    for pair in answer["hurts"]:
        out.print(Text.assemble(("also: ", "dim"), show.pair_sentence(pair)))
    print_evidence(answer["evidence"])
    for advice in answer["advice"]:
        _print_advice(advice)
    if answer["mitigations"]:
        out.print(show.mitigation_table(answer["mitigations"]))
    return None


def _print_advice(advice: Json) -> None:
    out.print(Text.assemble(("what would help: ", "bold cyan"), show.clean(advice["answer"])))
    if advice["change"]:
        out.print(
            Text.assemble(
                "  ",
                show.clean(advice["change"]),
                f"; predicted loss afterwards {show.percent(advice['predicted_loss'])}",
            )
        )
    for line in dict.fromkeys(map(_not_taken, advice["rejected"])):  # of equal effect: once
        out.print(Text(show.clean(line).plain, style="dim"))


def _not_taken(no: Json) -> str:
    kind, loss = no["kind"].replace("_", " "), show.percent(no["predicted_loss"])
    return f"  not {kind} of {no['target_name']} (loss {loss}): {no['why']}"


@friendly_errors
def mitigations(
    open_only: Annotated[bool, typer.Option("--open", help="Only those in force now.")] = False,
    vm: Annotated[str | None, typer.Option("--vm", help="For or on this VM.")] = None,
    host: HostOption = None,
    limit: LimitOption = 100,
    as_json: JsonFlag = False,
    url: UrlOption = "",
    token_file: TokenFileOption = "",
) -> None:
    """What was changed, why, and what it brought: loss predicted and measured. Newest first.

    Example: [bold]evenkeel mitigations --open[/]
    """
    only = True if open_only else None
    with connect(url, token_file) as api:
        page = api.everything("/v1/mitigations", limit, host=host, vm=vm, open_only=only)
    if as_json:
        return print_json(page)
    if not page["items"]:
        out.print("No mitigation. `evenkeel mode` says whether any may be made.", style="dim")
        return None
    out.print(show.mitigation_table(page["items"]))
    return _say_more(page)


@friendly_errors
def mode(
    new: Annotated[
        Mode | None, typer.Argument(metavar="[observe|advise|act]", help="Left out: show modes.")
    ] = None,
    host: Annotated[str | None, typer.Option("--host", help="For this host only.")] = None,
    tenant: Annotated[str | None, typer.Option("--tenant", help="For this tenant only.")] = None,
    unset: Annotated[
        bool, typer.Option("--unset", help="Back to the fleet's mode for that host or tenant.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before acting.")] = False,
    as_json: JsonFlag = False,
    url: UrlOption = "",
    token_file: TokenFileOption = "",
) -> None:
    """Show or set how far Evenkeel may go: observe, advise or act.

    Example: [bold]evenkeel mode act --host host-a[/]
    """
    if host and tenant:
        raise InvalidRequest("--host and --tenant together", hint="Set one, then the other.")
    if unset and (new is not None or not (host or tenant)):
        raise InvalidRequest("--unset goes with --host or --tenant and no mode", hint="")
    if new is None and not unset and (host or tenant):
        raise InvalidRequest("which mode?", hint="Name observe, advise or act, or give --unset.")
    if new is Mode.ACT and not yes:
        where = f"host {host}" if host else f"tenant {tenant}" if tenant else "the whole fleet"
        typer.confirm(f"Let Evenkeel change VMs on its own on {where}?", abort=True, err=True)
    with connect(url, token_file) as api:
        if new is None and not unset:
            modes = api.get("/v1/mode")
        else:
            body = {"mode": new.value if new else None, "host": host, "tenant": tenant}
            modes = api.put("/v1/mode", body)
    if as_json:
        return print_json(modes)
    table = show.grid("where", "mode")
    table.add_row("fleet", show.mode(modes["mode"]))
    for kind in ("host", "tenant"):
        for name, value in sorted(modes[f"{kind}s"].items()):
            table.add_row(show.clean(f"{kind} {name}"), show.mode(value))
    out.print(table)
    return None


@friendly_errors
def events(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on; Ctrl-C ends it.")] = False,
    host: HostOption = None,
    vm: Annotated[str | None, typer.Option("--vm", help="Only about this VM.")] = None,
    limit: LimitOption = 50,
    as_json: JsonFlag = False,
    url: UrlOption = "",
    token_file: TokenFileOption = "",
) -> None:
    """What happened, oldest of the latest first. --follow --json prints one object a line.

    Example: [bold]evenkeel events --follow --host host-a[/]
    """
    with connect(url, token_file) as api:
        page = api.everything("/v1/events", limit, host=host, vm=vm)
        if as_json and not follow:
            return print_json(page)
        last = _print_events(page["items"], -1, as_json)
        if not page["items"] and not follow:
            out.print("Nothing happened yet.", style="dim")
        while follow:
            try:
                time.sleep(FOLLOW_S)
                news = []
                for each in api.pages("/v1/events", {"host": host, "vm": vm, "limit": 100}):
                    news += each["items"]
                    if not each["items"] or each["items"][-1]["id"] <= last:
                        break
            except KeyboardInterrupt:
                return None
            last = _print_events(news, last, as_json)
    return None


def _print_events(newest_first: list[Json], after: int, as_json: bool) -> int:
    """Print those with a higher id than `after`; gives the highest id seen."""
    for event in reversed(newest_first):
        if event["id"] > after:
            if as_json:
                typer.echo(json.dumps(event, allow_nan=False))
            else:
                out.print(show.event_line(event), soft_wrap=True)
            after = event["id"]
    return after


def _say_more(page: Json) -> None:
    if page["next"] is not None:
        err.print("There are more: raise --limit, or --limit 0 for all.", style="dim")
