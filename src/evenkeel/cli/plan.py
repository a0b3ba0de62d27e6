"""`evenkeel plan consolidate` and `evenkeel plan rebalance`: which VMs should move, as advice."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from evenkeel.cli.client import TokenFileOption, UrlOption, connect
from evenkeel.cli.output import JsonFlag, friendly_errors, out, print_json
from evenkeel.cli.show import ago, clean, grid
from evenkeel.domain.instants import shown

plan_app = typer.Typer(
    invoke_without_command=True, help="Which VMs should move; nothing is executed."
)

Risk = Annotated[
    float | None, typer.Option(min=0, max=0.5, help="Accepted odds of a shortfall per host.")
]
Moves = Annotated[int | None, typer.Option(min=0, help="Moves at most.")]
Inflow = Annotated[int | None, typer.Option(min=0, help="VMs that one host may take.")]
AtOnce = Annotated[int, typer.Option(min=1, help="Moves that a host is part of at a time.")]
Payback = Annotated[float, typer.Option(min=0, help="Hours within which moves are to pay.")]
Cooldown = Annotated[float, typer.Option(min=0, help="Seconds that a moved VM stays.")]
MoveHours = Annotated[float, typer.Option(min=0, help="Host hours that moving 16 GiB costs.")]
PAYBACK_H, COOLDOWN_S, MOVE_H = 24.0, 3600.0, 0.1


@plan_app.callback()
@friendly_errors
def advice(
    ctx: typer.Context,
    as_json: JsonFlag = False,
    url: UrlOption = "",
    token_file: TokenFileOption = "",
) -> None:
    """Which VMs should move: the plan that stands. The controller looks every few minutes, and
    keeps a plan until it is done, cannot be done, or a clearly better one is there. Nothing is
    executed.

    Example: evenkeel plan
    """
    if ctx.invoked_subcommand is not None:
        return
    with connect(url, token_file) as api:
        kept = api.get("/v1/plans/advice")
    _show(kept, as_json)
    if not as_json:
        fresh = kept["since_s"] == kept["looked_at_s"]
        said = "fresh" if fresh else f"kept since {shown(kept['since_s'])} UTC"
        out.print(f"{said}; looked at {ago(kept['looked_at_s'])}", highlight=False)
        if kept["trouble"]:
            out.print(clean(f"the last look failed: {kept['trouble']}"), highlight=False)


@plan_app.command()
@friendly_errors
def consolidate(
    risk: Risk = None,
    moves: Moves = None,
    inflow: Inflow = None,
    at_once: AtOnce = 2,
    payback_h: Payback = PAYBACK_H,
    cooldown_s: Cooldown = COOLDOWN_S,
    move_h: MoveHours = MOVE_H,
    as_json: JsonFlag = False,
    url: UrlOption = "",
    token_file: TokenFileOption = "",
) -> None:
    """Which hosts could be emptied, and the moves it takes, in an order that can be done.

    Example: evenkeel plan consolidate --payback-h 8 --moves 50
    """
    asked = {"risk": risk, "moves": moves, "inflow": inflow, "at_once": at_once}
    asked |= {"payback_h": payback_h, "cooldown_s": cooldown_s, "move_h": move_h}
    with connect(url, token_file) as api:
        _show(api.get("/v1/plans/consolidate", **asked), as_json)


@plan_app.command()
@friendly_errors
def rebalance(
    risk: Risk = None,
    alarm: Annotated[
        float | None, typer.Option(min=0, max=0.5, help="Relieve hosts from these odds on.")
    ] = None,
    moves: Moves = None,
    inflow: Inflow = None,
    at_once: AtOnce = 2,
    cooldown_s: Cooldown = COOLDOWN_S,
    as_json: JsonFlag = False,
    url: UrlOption = "",
    token_file: TokenFileOption = "",
) -> None:
    """Moves that relieve hosts at risk of a shortfall: few, and cheap ones.

    Example: evenkeel plan rebalance --alarm 0.05
    """
    asked = {"risk": risk, "alarm": alarm, "moves": moves, "inflow": inflow}
    asked |= {"at_once": at_once, "cooldown_s": cooldown_s}
    with connect(url, token_file) as api:
        _show(api.get("/v1/plans/rebalance", **asked), as_json)


def _show(plan: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(plan)
        return
    before, after = plan["before"], plan["after"]
    if plan["moves"]:
        has_lots = any(move["lots"] for move in plan["moves"])
        names = ("wave", "VM", "from", "to", *(["takes along"] if has_lots else []))
        table = grid(*names, right=("wave",))
        for move in plan["moves"]:
            table.add_row(
                str(move["wave"] + 1),
                clean(move["name"]),
                clean(move["source"]),
                clean(move["target"]),
                *([_taken(move["lots"])] if has_lots else []),
            )
        out.print(table)
    out.print(clean(plan["why"]), highlight=False)
    out.print(
        f"hosts in use: {before['n_in_use']} -> {after['n_in_use']} (no packing has fewer than "
        f"{plan['floor_hosts']}); at risk: {before['n_at_risk']} -> {after['n_at_risk']}",
        highlight=False,
    )
    for reason, hosts in _by_reason(plan["left"]).items():
        shown = ", ".join(clean(host).plain for host in hosts[:5])
        more = f" and {len(hosts) - 5} more" if len(hosts) > 5 else ""
        out.print(f"left as it is: {shown}{more}: {reason}", highlight=False)


def _taken(lots: list[dict[str, Any]]) -> str:
    """What is promised to a VM, and moves with it."""
    said = [f"{lot['n_shards']} {lot['resource']}" for lot in lots]
    return f"{', '.join(said)} until {shown(max(lot['end_s'] for lot in lots))}" if lots else ""


def _by_reason(left: list[dict[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for each in left:
        found.setdefault(each["why"], []).append(each["host"])
    return found
