"""`evenkeel what-if`: where would a VM fit, and what would it do to those who are there?"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from evenkeel.cli.client import TokenFileOption, UrlOption, connect
from evenkeel.cli.output import JsonFlag, friendly_errors, out, print_json
from evenkeel.cli.show import DASH, clean, grid, label, score
from evenkeel.domain.resources import AXIS


def register(app: typer.Typer) -> None:
    """Add the command to the `evenkeel` app."""
    app.command("what-if", rich_help_panel="See the fleet")(what_if)


@friendly_errors
def what_if(
    like: Annotated[str | None, typer.Option(help="A VM that it will behave like.")] = None,
    vcpus: Annotated[int | None, typer.Option(min=1, help="Its vCPUs.")] = None,
    memory: Annotated[float | None, typer.Option(min=1, help="Its memory (MiB).")] = None,
    tenant: Annotated[str | None, typer.Option(help="Whose it is.")] = None,
    wants_cpu: Annotated[float | None, typer.Option(min=0, help="Cores it wants.")] = None,
    wants_net: Annotated[float | None, typer.Option(min=0, help="Mbit/s it wants.")] = None,
    wants_iops: Annotated[float | None, typer.Option(min=0, help="Requests/s it wants.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The best so many hosts.")] = 20,
    as_json: JsonFlag = False,
    url: UrlOption = "",
    token_file: TokenFileOption = "",
) -> None:
    """Where would this VM fit? What it would lose on each host, and what the others would.

    By the forecasts an hour ahead. A VM that is not `--like` another, and of which nothing more is
    said, is taken to want all its vCPUs and all its memory.

    Example: [bold]evenkeel what-if --vcpus 4 --memory 8192 --wants-cpu 2.5[/]
    """
    with connect(url, token_file) as api:
        answer = api.get(
            "/v1/what-if",
            like=like,
            vcpus=vcpus,
            memory_mib=memory,
            tenant=tenant,
            cpu=wants_cpu,
            net=wants_net,
            iops=wants_iops,
            limit=limit,
        )
    if as_json:
        print_json(answer)
        return
    if not answer["hosts"]:
        out.print("no host has been heard from lately", highlight=False)
        return
    table = grid("host", "VMs", "it would lose", "the others, more", right=("VMs",))
    for fit in answer["hosts"]:
        table.add_row(
            clean(fit["host"]),
            str(fit["n_vms"]),
            _losses(fit["score"]),
            _losses(fit["residents_score"]),
        )
    out.print(table)
    if answer["n_hosts"] > len(answer["hosts"]):
        out.print(f"and {answer['n_hosts'] - len(answer['hosts'])} more hosts", highlight=False)


def _losses(by_resource: dict[str, Any]) -> Any:
    """The largest, and of what."""
    if not by_resource:
        return DASH
    worst = max((r.value for r in AXIS if r.value in by_resource), key=lambda r: by_resource[r])
    if by_resource[worst] < 1:
        return "next to nothing"
    return score(by_resource[worst]).append(f" % {label(worst)}", style="dim")
