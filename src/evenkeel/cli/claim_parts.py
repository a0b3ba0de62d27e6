"""`evenkeel claim split|merge`: a part of a claim as another claim, and the way back."""

from __future__ import annotations

import time
import uuid
from typing import Annotated

import typer

from evenkeel.cli.claim_words import ClaimArgument, Cpu, Iops, Memory, Net, answer, shards
from evenkeel.cli.client import TokenFileOption, UrlOption, connect, segment
from evenkeel.cli.output import JsonFlag, friendly_errors
from evenkeel.cli.times import instant_s
from evenkeel.domain.claim import ClaimInvalid


def register(app: typer.Typer) -> None:
    """Add the commands to `evenkeel claim`."""
    app.command("split")(split)
    app.command("merge")(merge)


@friendly_errors
def split(
    claim: ClaimArgument,
    cpu: Cpu = None,
    memory: Memory = None,
    net: Net = None,
    iops: Iops = None,
    host: Annotated[str | None, typer.Option(help="Of which host, if it is on several.")] = None,
    vm: Annotated[str, typer.Option(help="For which VM (id).")] = "",
    owner: Annotated[str, typer.Option(help="For which tenant; none: the claim's.")] = "",
    start: Annotated[str, typer.Option(help="From when on: now, +1h, a date, epoch.")] = "now",
    key: Annotated[str, typer.Option(help="Your name for the new claim. Else a new one.")] = "",
    as_json: JsonFlag = False,
    url: UrlOption = "",
    token_file: TokenFileOption = "",
) -> None:
    """Make a part of a claim another claim, of the same tenant or another one.

    Example: [bold]evenkeel claim split 3f2a... --cpu 1 --owner bank[/]
    """
    wanted = shards({"cpu": cpu, "memory": memory, "net": net, "iops": iops})
    with connect(url, token_file) as api:
        path = f"/v1/claims/{segment(claim)}"
        known = api.get(path)
        parts = {
            (lot["host"], lot["resource"], lot["performance"]): wanted[lot["resource"]]
            for lot in known["lots"]
            if lot["resource"] in wanted and host in (None, lot["host"])
        }
        if len(parts) != len(wanted):
            raise ClaimInvalid(
                "which shards is not clear, or the claim has none such",
                hint="Name the host (--host), and resources that `evenkeel claim show` lists.",
            )
        body = {
            "key": key or str(uuid.uuid4()),
            "owner": owner or known["owner"],
            "vm": vm,
            "asks": [
                {"host": at, "resource": resource, "n_shards": n, "performance": performance}
                for (at, resource, performance), n in parts.items()
            ],
            "from_s": instant_s(start, time.time()),
        }
        answer(api.post(f"{path}/split", body), as_json)


@friendly_errors
def merge(
    claim: ClaimArgument,
    other: Annotated[str, typer.Argument(help="The claim whose lots it gets; it ends.")],
    as_json: JsonFlag = False,
    url: UrlOption = "",
    token_file: TokenFileOption = "",
) -> None:
    """Put all that another claim of the same tenant has into a claim.

    Example: [bold]evenkeel claim merge 3f2a... 91cc...[/]
    """
    with connect(url, token_file) as api:
        answer(api.post(f"/v1/claims/{segment(claim)}/merge", {"other": other}), as_json)
