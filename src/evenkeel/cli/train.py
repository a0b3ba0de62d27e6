"""`evenkeel train`: learn a model from telemetry history, judge it, keep it, promote it if it wins.

Works on files (short models: on the controller's database), beside a running controller or without
one; the controller serves a new champion from its next slot on, agents within a minute.
"""

from __future__ import annotations

import time
from functools import partial
from itertools import tee
from pathlib import Path
from typing import Annotated, Any

import typer

from evenkeel import config as configuration
from evenkeel.cli.output import JsonFlag, RayFlag, err, friendly_errors, out, print_json
from evenkeel.domain.errors import EvenkeelError, InvalidRequest
from evenkeel.domain.model import Horizon
from evenkeel.domain.resources import AXIS, SPECS, Resource


@friendly_errors
def train(
    resource: Annotated[
        list[str],
        typer.Option("--resource", "-r", help="What to learn; may be repeated; `all` is all."),
    ],
    horizon: Annotated[
        Horizon, typer.Option("--horizon", help="Slots (long), or the hosts' next minute (short).")
    ] = Horizon.LONG,
    history: Annotated[
        Path | None, typer.Option("--history", help="History [default: the controller's].")
    ] = None,
    models: Annotated[
        Path | None, typer.Option("--models", help="Model registry [default: the controller's].")
    ] = None,
    model: Annotated[
        str, typer.Option("--model", help="Forecaster to fit; `--model list` names them.")
    ] = "",
    days: Annotated[float, typer.Option("--days", help="Learn from the last so many days.")] = 28.0,
    seed: Annotated[int, typer.Option("--seed", help="Decides every random choice.")] = 1,
    slot_s: Annotated[
        int | None, typer.Option("--slot-s", help="Seconds a slot [default: as configured].")
    ] = None,
    promote: Annotated[
        bool, typer.Option("--promote/--no-promote", help="Let it serve if it wins.")
    ] = True,
    config: Annotated[Path | None, typer.Option("--config", help="TOML file.")] = None,
    ray: RayFlag = "",
    as_json: JsonFlag = False,
) -> None:
    """Fit a forecaster on telemetry history; it serves only if it beats who serves now.

    The first three quarters are learnt from; on the rest both forecast from the same origins, each
    knowing only what lies before. The challenger wins when it loses at least 0.5 % less, beyond
    doubt across VMs (20 at least). A winner then learns from the last quarter as well.

    A short model is learnt from the ticks that the controller's database still has, for the agents
    to forecast 5 to 60 s ahead.

    Of several resources each is a contest of its own; what one could not learn costs the others
    nothing. Told as JSON, several are a list.

    Example: [bold]evenkeel train --resource cpu --model empirical --days 14[/]

    Example: [bold]evenkeel train --resource all --ray head:6379[/]
    """
    from evenkeel.cli import contests
    from evenkeel.forecast.workers import IN_TURN
    from evenkeel.wiring.forecasts import open_history, open_registry, read_ticks
    from evenkeel.wiring.workers import open_workers

    known = contests.names(horizon)
    name = model or known[0]
    if name not in known:
        if name == "list":
            return out.print(", ".join(known), highlight=False)
        hint = f"Choose from: {', '.join(known)}."
        raise InvalidRequest(f"there is no forecaster {name!r}", hint=hint)
    contests.learner(horizon, name, lambda _: None, IN_TURN)  # what it lacks is told at once
    resources = _resources(resource)
    settings = configuration.load(config)
    registry = open_registry(settings, models)
    if horizon is Horizon.SHORT:
        read: contests.Read = partial(read_ticks, settings, days)
    else:
        step_s = slot_s or settings.forecast.slot_s
        read = contests.reader(settings, open_history(settings, history, step_s), days, step_s)
    told, failed = [], []
    with err.status(f"fitting {name}") as progress, open_workers(ray) as workers:
        asked, again = tee(
            contests.questions(
                registry, read, resources, name, horizon, seed, settings.forecast.horizons_s
            )
        )
        began_s = time.monotonic()
        for contest in contests.all_held(workers, asked, progress.update):
            question = next(again)
            if isinstance(contest, EvenkeelError):
                failed.append((question.panel.resource, contest))
                continue
            told.append(contests.kept(registry, question, contest, promote))
            told[-1]["seconds"] = round(time.monotonic() - began_s, 2)
    if len(resources) == 1 and failed:
        raise failed[0][1]
    if as_json:
        errors = [
            {"resource": each.value, "error": error.code, "message": error.message}
            for each, error in failed
        ]
        print_json([*told, *errors] if len(resources) > 1 else told[0])
    else:
        for found in told:
            _show(found)
    for each, error in failed:
        err.print(f"[bold red]error[/] {each.value}: {error.message} [dim]({error.code})[/]")
    if failed:
        raise typer.Exit(failed[0][1].exit_code)
    return None


def _resources(names: list[str]) -> list[Resource]:
    """In the order asked, each once. Raises InvalidRequest."""
    known = [resource.value for resource in AXIS]
    for name in names:
        if name not in known and name != "all":
            raise InvalidRequest(
                f"there is no resource {name!r}", hint=f"Choose from: {', '.join(known)}, all."
            )
    wanted = [each for name in names for each in (known if name == "all" else [name])]
    return [Resource(name) for name in dict.fromkeys(wanted)]


def _show(told: dict[str, Any]) -> None:
    label = SPECS[Resource(told["resource"])].label
    verdict = "wins and serves now" if told["promoted"] else "wins" if told["won"] else "loses"
    why = "" if told["verdict"] in ("won", "lost") else f" ({told['verdict']})"
    out.print(
        f"{told['model']}: WQL {told['scores']['wql']:.4f} on {label}, against "
        f"{told['champion_scores']['wql']:.4f} of {told['champion']}: it {verdict}{why}.",
        highlight=False,
        soft_wrap=True,
    )
