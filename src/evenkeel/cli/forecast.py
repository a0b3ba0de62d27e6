"""`evenkeel forecast`, `evenkeel models`: what VMs will want, and which models say so."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated, Final

import typer
from rich.table import Table
from rich.text import Text

from evenkeel.cli import show
from evenkeel.cli.client import Json, TokenFileOption, UrlOption, connect, segment
from evenkeel.cli.output import JsonFlag, friendly_errors, out, print_json
from evenkeel.domain.errors import ModelNotFound
from evenkeel.domain.model import Horizon
from evenkeel.domain.resources import Resource

SHOWN: Final = (0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
FAN_WIDTH: Final = 56
FAN_HEIGHT: Final = 8

ResourceOption = Annotated[
    Resource | None, typer.Option("--resource", "-r", help="Only this resource.")
]

models_app = typer.Typer(
    help="Versions of trained models: list, show, promote, roll back.", invoke_without_command=True
)


def register(app: typer.Typer) -> None:
    """Add the commands to the `evenkeel` app."""
    app.command("forecast", rich_help_panel="See the fleet")(forecast)
    app.command("profile", rich_help_panel="See the fleet")(profile)
    app.add_typer(models_app, name="models")


@friendly_errors
def forecast(
    vm: Annotated[str, typer.Argument(help="Name or id of the VM.")],
    resource: ResourceOption = None,
    as_json: JsonFlag = False,
    url: UrlOption = "",
    token_file: TokenFileOption = "",
) -> None:
    """How much this VM will want, when, and with what odds.

    Example: [bold]evenkeel forecast web1 --resource cpu[/]
    """
    with connect(url, token_file) as api:
        answer = api.get(
            f"/v1/vms/{segment(vm)}/forecast", resource=resource.value if resource else None
        )
    if as_json:
        return print_json(answer)
    for each in answer["resources"]:
        _print_resource(answer, each)
    return None


@friendly_errors
def profile(
    vm: Annotated[str, typer.Argument(help="Name or id of the VM.")],
    as_json: JsonFlag = False,
    url: UrlOption = "",
    token_file: TokenFileOption = "",
) -> None:
    """How this VM behaves: steady, daily, in bursts or chaotic; when, and for how long.

    Example: [bold]evenkeel profile web1[/]
    """
    with connect(url, token_file) as api:
        answer = api.get(f"/v1/vms/{segment(vm)}/profile")
    if as_json:
        return print_json(answer)
    table = Table("resource", "behaviour", "history", title=show.clean(answer["name"]), box=None)
    for each in answer["resources"]:
        days = each["history_days"]
        seen = f"{days:.1f} days" if days >= 1 else f"{days * 24:.1f} hours"
        table.add_row(show.label(each["resource"]), each["sentence"], seen)
    out.print(table)
    return None


def _print_resource(answer: Json, told: Json) -> None:
    label = show.label(told["resource"])
    head = Text.assemble(
        (f"{label[0].upper()}{label[1:]} of ", "bold"), (show.clean(answer["name"]).plain, "bold")
    )
    now = f"now {show.amount(told['now'])} {told['unit']}"
    if told["capacity"] is not None:
        now += f" of {show.amount(told['capacity'])}"
    at = datetime.fromtimestamp(told["origin_s"], UTC)
    tail = f"   {now}, {told['held_shards']} shards; known until {at:%H:%M:%S}Z, by {told['model']}"
    out.print(head + Text(tail, style="dim"), soft_wrap=True)
    if told["sentence"]:
        out.print(Text(told["sentence"], style="bold cyan"))
    if told["deviation"]:
        out.print(Text("! " + told["deviation"]["sentence"], style="yellow"), soft_wrap=True)
    columns = [f"{100 * q:.0f} %" for q in SHOWN]
    picked = [answer["quantiles"].index(q) for q in SHOWN]
    table = show.grid("in", *columns, right=tuple(columns))
    for row in told["demand"]:
        table.add_row(span(row["ahead_s"]), *_cells(row, picked))
    for row in told["peak"]:
        table.add_row(f"peak in {span(row['ahead_s'])}", *_cells(row, picked), style="dim")
    out.print(table)
    _print_needs(told)
    if len(told["demand"]) > 1:
        for line in fan(answer["quantiles"], told):
            out.print(line)
    out.print()


def _cells(row: Json, picked: list[int]) -> list[str]:
    return [show.amount(row["quantiles"][k]) for k in picked]


def _print_needs(told: Json) -> None:
    """P(needs >= k more shards), a line a window."""
    for within in sorted({each["within_s"] for each in told["need"]}):
        odds = [
            f"{each['shards']}: {100 * each['probability']:.0f} %"
            for each in told["need"]
            if each["within_s"] == within
        ]
        line = f"more shards of {told['shard']:g} {told['unit']} needed within {span(within)}: "
        out.print(Text(line + ", ".join(odds), style="dim"), soft_wrap=True)


def fan(quantiles: list[float], told: Json) -> list[Text]:
    """A fan chart of text: the median as a line, 50 % and 90 % bands as shades, now on the left.

    Time runs by rank of the horizons and not to scale, so that the near ones can be told apart.
    """
    low, q25, mid, q75, high = (quantiles.index(q) for q in (0.05, 0.25, 0.5, 0.75, 0.95))
    now = told["now"] if told["now"] is not None else told["demand"][0]["quantiles"][mid]
    rows = [[now] * len(quantiles)] + [row["quantiles"] for row in told["demand"]]
    top = max(max(row[high] for row in rows), 1e-9) * 1.05
    lowest = min(row[low] for row in rows)
    floor = 0.0 if lowest < top / 2 else lowest * 0.97
    cells = [[(" ", "")] * FAN_WIDTH for _ in range(FAN_HEIGHT)]
    for x in range(FAN_WIDTH):
        at = x / (FAN_WIDTH - 1) * (len(rows) - 1)
        left = min(int(at), len(rows) - 2)
        level = [a + (b - a) * (at - left) for a, b in zip(rows[left], rows[left + 1], strict=True)]
        for y in range(FAN_HEIGHT):
            bottom = floor + (top - floor) * y / FAN_HEIGHT
            ceiling = floor + (top - floor) * (y + 1) / FAN_HEIGHT
            if bottom <= level[mid] < ceiling:
                cells[y][x] = ("━", "bold cyan")
            elif bottom < level[q75] and ceiling > level[q25]:
                cells[y][x] = ("▓", "cyan")
            elif bottom < level[high] and ceiling > level[low]:
                cells[y][x] = ("░", "dim cyan")
    lines = []
    for y in reversed(range(FAN_HEIGHT)):
        mark = top if y == FAN_HEIGHT - 1 else floor if y == 0 else None
        lines.append(Text(f"{show.amount(mark) if mark is not None else '':>7} ", style="dim"))
        for char, style in cells[y]:
            lines[-1].append(char, style=style)
    lines.append(Text(" " * 8 + _ticks([span(r["ahead_s"]) for r in told["demand"]]), style="dim"))
    return lines


def _ticks(names: list[str]) -> str:
    """ "now" on the left and each horizon under its column, where there is room."""
    line = list("now".ljust(FAN_WIDTH + 6))
    for k, name in enumerate(names, 1):
        x = min(round(k / len(names) * (FAN_WIDTH - 1)), FAN_WIDTH - len(name))
        if all(c == " " for c in line[max(0, x - 1) : x + len(name)]):
            line[x : x + len(name)] = name
    return "".join(line).rstrip()


def span(seconds: float) -> str:
    if seconds >= 3600:
        return f"{seconds / 3600:g} h"
    return f"{seconds / 60:g} min" if seconds >= 60 else f"{seconds:g} s"


# --- models -----------------------------------------------------------------------------------


@models_app.callback()
def models(context: typer.Context) -> None:
    """Versions of trained models. Without a command: list them."""
    if context.invoked_subcommand is None:
        list_models()


@models_app.command("list")
@friendly_errors
def list_models(
    resource: ResourceOption = None,
    as_json: JsonFlag = False,
    url: UrlOption = "",
    token_file: TokenFileOption = "",
) -> None:
    """The models, newest first, and who serves.

    Example: [bold]evenkeel models list --resource cpu[/]
    """
    with connect(url, token_file) as api:
        page = api.get("/v1/models", resource=resource.value if resource else None)
    if as_json:
        return print_json(page)
    if not page["items"]:
        out.print("No model was trained yet; the built-in forecaster serves.", style="dim")
        return None
    out.print(_model_table(page["items"]))
    return None


def _model_table(models: list[Json]) -> Table:
    table = show.grid("model", "state", "trained", "data", "WQL", right=("WQL",))
    table.columns[0].no_wrap = True  # it is there to be copied
    styles = {"champion": "bold green", "challenger": "cyan", "retired": "dim"}
    for each in models:
        days = (each["data_until_s"] - each["data_from_s"]) / 86_400
        table.add_row(
            show.clean(each["id"]),
            Text(each["state"], style=styles.get(each["state"], "")),
            show.ago(each["created_at_s"]),
            f"{days:.3g} d, {each['n_series']} VMs",
            show.amount(each["scores"].get("wql")),
        )
    return table


@models_app.command("show")
@friendly_errors
def show_model(
    model: Annotated[str, typer.Argument(help="Id of the model.")],
    as_json: JsonFlag = False,
    url: UrlOption = "",
    token_file: TokenFileOption = "",
) -> None:
    """All that is known of one model.

    Example: [bold]evenkeel models show MODEL[/]
    """
    with connect(url, token_file) as api:
        found = [each for each in api.get("/v1/models")["items"] if each["id"] == model]
    if not found:
        raise ModelNotFound(f"there is no model {model!r}")
    if as_json:
        return print_json(found[0])
    table = show.grid("what", "value")
    for name, value in found[0].items():
        if name.endswith("_s") and name != "step_s":
            value = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(value))
        table.add_row(name.removesuffix("_s").replace("_", " "), show.clean(value))
    out.print(table)
    return None


@models_app.command()
@friendly_errors
def promote(
    model: Annotated[str, typer.Argument(help="Id of the model.")],
    as_json: JsonFlag = False,
    url: UrlOption = "",
    token_file: TokenFileOption = "",
) -> None:
    """Let a model serve from the next slot on; `rollback` takes it back.

    Example: [bold]evenkeel models promote MODEL[/]
    """
    with connect(url, token_file) as api:
        answer = api.post(f"/v1/models/{segment(model)}/promote", {})
    _print_serving(answer, as_json)


@models_app.command()
@friendly_errors
def rollback(
    resource: Annotated[Resource, typer.Argument(help="Of which resource.")],
    horizon: Annotated[
        Horizon, typer.Option("--horizon", help="Of slots (long), or of the hosts' ticks (short).")
    ] = Horizon.LONG,
    as_json: JsonFlag = False,
    url: UrlOption = "",
    token_file: TokenFileOption = "",
) -> None:
    """Let the former model of a resource serve again.

    Example: [bold]evenkeel models rollback cpu[/]
    """
    with connect(url, token_file) as api:
        answer = api.post(
            "/v1/models/rollback", {"resource": resource.value, "horizon": horizon.value}
        )
    _print_serving(answer, as_json)


def _print_serving(answer: Json, as_json: bool) -> None:
    if as_json:
        return print_json(answer)
    who = answer["model"]["id"] if answer["model"] else "the built-in forecaster"
    label = show.label(answer["resource"])
    when = "Within a minute" if answer["horizon"] == "short" else "From the next slot on"
    ahead = " seconds ahead" if answer["horizon"] == "short" else ""
    out.print(f"{when}, {label}{ahead} is forecast by {who}.", highlight=False, soft_wrap=True)
    return None
