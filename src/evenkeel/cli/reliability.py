"""`evenkeel reliability`: each bin of predicted loss, and beside it what came, in a terminal."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from evenkeel.cli.client import TokenFileOption, UrlOption, connect
from evenkeel.cli.fleet import HostOption
from evenkeel.cli.output import JsonFlag, friendly_errors, out, print_json
from evenkeel.cli.show import DASH, grid
from evenkeel.domain.reliability import CLOSE_POINTS
from evenkeel.domain.resources import Resource

WIDTH: Final = 40
"""Characters of a bar that means 100 %."""

Json = dict[str, Any]


def register(app: typer.Typer) -> None:
    """Add the command to the `evenkeel` app."""
    app.command(rich_help_panel="See the fleet")(reliability)


@friendly_errors
def reliability(
    host: HostOption = None,
    resource: Annotated[
        Resource | None, typer.Option("--resource", help="Only this one; left out: all together.")
    ] = None,
    horizon: Annotated[
        float | None, typer.Option("--horizon", min=1, help="Only for so many seconds ahead.")
    ] = None,
    hours: Annotated[
        float, typer.Option("--hours", min=1, help="What was predicted in the last so many hours.")
    ] = 24.0,
    as_json: JsonFlag = False,
    url: UrlOption = "",
    token_file: TokenFileOption = "",
) -> None:
    """Is predicted loss what comes? Predictions by size, each beside what was measured.

    The scores are right when the two agree in every bin that has 30 predictions or more: a score
    of 20 that is followed by a loss of 20 % on average.

    Example: [bold]evenkeel reliability --resource cpu --horizon 5[/]
    """
    with connect(url, token_file) as api:
        answer = api.get(
            "/v1/reliability",
            host=host,
            resource=resource.value if resource else None,
            horizon_s=horizon,
            hours=hours,
        )
    if as_json:
        return print_json(answer)
    if not answer["curves"]:
        out.print(
            "Nothing was predicted and measured yet: agents count once a minute.", style="dim"
        )
    for curve in answer["curves"]:
        print_reliability(out, curve)
    return None


def print_reliability(console: Console, curve: Json) -> None:
    """One horizon: bars, numbers, and the verdict."""
    console.print(
        Text.assemble(
            ("predicted for the next ", "dim"),
            (f"{curve['horizon_s']:g} s", "bold"),
            (f"   {curve['n']} predictions", "dim"),
        )
    )
    console.print(_table(curve["bins"]))
    console.print(_verdict(curve), soft_wrap=True)
    if not all(each["populated"] for each in curve["bins"]):
        console.print("  (in brackets: too few to judge)", style="dim")


def _table(bins: list[Json]) -> Table:
    right = ("n", "predicted", "measured", "gap", "±")
    table = grid(
        "bin",
        "0 % - measured, | where it should end - 100 %",
        *right,
        right=right,
    )
    for each in bins:
        style = "" if each["populated"] else "dim"
        table.add_row(
            _range(each),
            _bar(each),
            f"{each['n']}" if each["populated"] else f"({each['n']})",
            f"{100 * each['predicted']:.1f} %",
            f"{100 * each['measured']:.1f} %",
            _gap(each),
            DASH if each["se_points"] is None else f"{each['se_points']:.1f}",
            style=style,
        )
    return table


def _range(each: Json) -> str:
    return f"{100 * each['lower']:.0f}-{100 * each['upper']:.0f} %"


def _bar(each: Json) -> Text:
    """A bar as long as the measured loss, with a mark at the prediction (the diagonal)."""
    filled = round(WIDTH * each["measured"])
    mark = min(WIDTH - 1, round(WIDTH * each["predicted"]))
    bar = Text()
    for k in range(WIDTH):
        if k == mark:
            bar.append("|", style="bold")
        elif k < filled:
            bar.append("█", style="cyan" if each["populated"] else "dim")
        else:
            bar.append("·", style="dim")
    return bar


def _gap(each: Json) -> Text:
    gap = each["gap_points"]
    far = each["populated"] and abs(gap) > CLOSE_POINTS
    return Text(f"{gap:+.1f}", style="bold yellow" if far else "")


def _verdict(curve: Json) -> Text:
    if curve["is_close"] is None:
        return Text("  no bin has enough predictions to judge yet", style="dim")
    yes = curve["is_close"]
    n_judged = sum(each["populated"] for each in curve["bins"])
    return Text.assemble(
        f"  within {CLOSE_POINTS:g} points in every populated bin: ",
        ("yes" if yes else "no", "bold green" if yes else "bold yellow"),
        f"   worst {curve['worst_gap_points']:+.1f} points   "
        f"mean squared error {curve['brier']:.4f}   {n_judged} of {len(curve['bins'])} bins judged",
    )
