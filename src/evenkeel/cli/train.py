"""`evenkeel train`: learn a model from telemetry history, judge it, keep it, promote it if it wins.

Works on files, beside a running controller or without one; the controller serves a new champion
from its next slot on.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import tee
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evenkeel import __version__
from evenkeel import config as configuration
from evenkeel.cli.output import JsonFlag, RayFlag, err, friendly_errors, out, print_json
from evenkeel.domain.errors import EvenkeelError, HistoryTooShort, InvalidRequest
from evenkeel.domain.model import ModelInfo, model_id
from evenkeel.domain.panel import DAY_S, Panel
from evenkeel.domain.resources import AXIS, SPECS, Resource

if TYPE_CHECKING:
    from evenkeel.adapters.history.parquet import ParquetHistory
    from evenkeel.adapters.models.files import FileModelRegistry
    from evenkeel.config import Config
    from evenkeel.forecast.base import FittedForecaster, Targets
    from evenkeel.forecast.contest import Contest
    from evenkeel.forecast.workers import Report, Workers


@dataclass(frozen=True, slots=True, eq=False)
class _Question:
    """One contest: what it takes, wherever it is held."""

    panel: Panel
    targets: Targets
    champion_id: str
    champion: FittedForecaster


@friendly_errors
def train(
    resource: Annotated[
        list[str],
        typer.Option("--resource", "-r", help="What to learn; may be repeated; `all` is all."),
    ],
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
    knowing only what lies before. The challenger wins with a WQL at least 0.5 % lower.

    Of several resources each is a contest of its own; what one could not learn costs the others
    nothing. Told as JSON, several are a list.

    Example: [bold]evenkeel train --resource cpu --model empirical --days 14[/]

    Example: [bold]evenkeel train --resource all --ray head:6379[/]
    """
    from evenkeel.forecast.catalogue import CATALOGUE, forecaster
    from evenkeel.wiring.forecasts import open_history, open_registry
    from evenkeel.wiring.workers import open_workers

    name = model or next(iter(CATALOGUE))
    if name not in CATALOGUE:
        known = ", ".join(CATALOGUE)
        if name == "list":
            return out.print(known, highlight=False)
        raise InvalidRequest(f"there is no forecaster {name!r}", hint=f"Choose from: {known}.")
    forecaster(name)  # what it lacks is told before anything is read
    resources = _resources(resource)
    settings = configuration.load(config)
    step_s = slot_s or settings.forecast.slot_s
    registry, kept = open_registry(settings, models), open_history(settings, history, step_s)
    told, failed = [], []
    with err.status(f"fitting {name}") as progress, open_workers(ray) as workers:
        questions, asked = tee(_questions(registry, kept, resources, days, step_s, settings))
        hold = partial(_held, name, seed, workers)
        began_s = time.monotonic()
        for contest in workers.map(hold, questions, progress.update):
            question = next(asked)
            if isinstance(contest, EvenkeelError):
                failed.append((question.panel.resource, contest))
                continue
            told.append(_kept(registry, name, seed, question, contest, promote))
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


def _show(told: dict[str, Any]) -> None:
    label = SPECS[Resource(told["resource"])].label
    verdict = "wins and serves now" if told["promoted"] else "wins" if told["won"] else "loses"
    out.print(
        f"{told['model']}: WQL {told['scores']['wql']:.4f} on {label}, against "
        f"{told['champion_scores']['wql']:.4f} of {told['champion']}: it {verdict}.",
        highlight=False,
        soft_wrap=True,
    )


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


def _questions(
    registry: FileModelRegistry,
    history: ParquetHistory,
    resources: list[Resource],
    days: float,
    step_s: int,
    settings: Config,
) -> Iterator[_Question]:
    """Raises HistoryTooShort when there is no history at all."""
    from evenkeel.forecast.base import Targets

    for resource in resources:
        panel = _read(history, resource, days, step_s)
        wanted = sorted({max(1, round(h / panel.step_s)) for h in settings.forecast.horizons_s})
        targets = Targets(tuple(h for h in wanted if 4 * h <= panel.n_slots) or (1,))
        yield _Question(panel, targets, *_champion(registry, resource))


def _read(history: ParquetHistory, resource: Resource, days: float, step_s: int) -> Panel:
    """The last `days` that are there, from the first known slot to the last."""
    now_s = int(time.time()) // step_s * step_s
    slots = sorted(history.slots(now_s - int(days * DAY_S) // step_s * step_s, now_s))
    if not slots:
        raise HistoryTooShort(f"there is no history of {step_s} s slots in the last {days:g} days")
    return history.panel(resource, slots[0], slots[-1] + step_s)


def _held(
    name: str, seed: int, workers: Workers, question: _Question, report: Report
) -> Contest | EvenkeelError:
    """The contest, or why there could be none. A piece of work: it touches no files."""
    from evenkeel.forecast.catalogue import forecaster
    from evenkeel.forecast.contest import hold

    panel = question.panel
    what = f"fitting {name} on {SPECS[panel.resource].label} of {panel.n_series} VMs"

    def tell(words: str) -> None:
        report(f"{what}: {words}")

    learner = forecaster(name, tell, workers)
    try:
        return hold(learner, question.champion, panel, question.targets, seed)
    except ValueError as error:
        return HistoryTooShort(str(error))
    except EvenkeelError as error:
        return error


def _kept(
    registry: FileModelRegistry,
    name: str,
    seed: int,
    question: _Question,
    found: Contest,
    promote: bool,
) -> dict[str, Any]:
    """Register, promote; what happened."""
    panel, champion_id = question.panel, question.champion_id
    blob, now_s = found.fitted.save(), time.time()
    sha256, won = hashlib.sha256(blob).hexdigest(), found.ours.beats(found.theirs)
    info = ModelInfo(
        id=model_id(panel.resource, name, now_s, sha256),
        resource=panel.resource,
        forecaster=name,
        created_at_s=now_s,
        sha256=sha256,
        size_bytes=len(blob),
        data_from_s=panel.start_s,
        data_until_s=panel.start_s + found.learnt_until * panel.step_s,
        n_series=panel.n_series,
        step_s=panel.step_s,
        seed=seed,
        code_version=__version__,
        scores=found.ours.as_metrics(),
        note=f"WQL {found.ours.wql:.6g} against {found.theirs.wql:.6g} of {champion_id}",
    )
    registry.add(info, blob)
    if won and promote:
        registry.promote(info.id)
    return {
        "model": info.id,
        "resource": panel.resource.value,
        "forecaster": name,
        "scores": found.ours.as_metrics(),
        "champion": champion_id,
        "champion_scores": found.theirs.as_metrics(),
        "won": won,
        "promoted": won and promote,
        "horizons_s": [h * panel.step_s for h in question.targets.horizons],
        "data_from": datetime.fromtimestamp(info.data_from_s, UTC).isoformat(),
        "data_until": datetime.fromtimestamp(info.data_until_s, UTC).isoformat(),
        "n_series": panel.n_series,
        "n_origins": found.n_origins,
    }


def _champion(registry: FileModelRegistry, resource: Resource) -> tuple[str, FittedForecaster]:
    """Who serves now: the first of the line that can be loaded, else the built-in forecaster."""
    from evenkeel.forecast.catalogue import forecaster
    from evenkeel.forecast.empirical import NAME, FittedEmpirical

    for each in registry.line(resource):
        try:
            info = registry.model(each).info
            return each, forecaster(info.forecaster).load(registry.blob(each))
        except (EvenkeelError, KeyError) as error:
            err.print(f"{each} serves, but cannot be loaded: {error}", style="yellow")
    return NAME, FittedEmpirical()
