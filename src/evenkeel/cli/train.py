"""`evenkeel train`: learn a model from telemetry history, judge it, keep it, promote it if it wins.

Works on files (short models: on the controller's database), beside a running controller or without
one; the controller serves a new champion from its next slot on, agents within a minute.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from evenkeel import __version__
from evenkeel import config as configuration
from evenkeel.cli.output import JsonFlag, err, friendly_errors, out, print_json
from evenkeel.domain.errors import EvenkeelError, HistoryTooShort, InvalidRequest
from evenkeel.domain.model import Horizon, ModelInfo, model_id
from evenkeel.domain.panel import DAY_S, Calendar, Panel
from evenkeel.domain.resources import SPECS, Resource

if TYPE_CHECKING:
    from evenkeel.adapters.models.files import FileModelRegistry
    from evenkeel.forecast.base import FittedForecaster, Forecaster

SHORT_ORIGINS: Final = 120
"""At which short models are judged: there are many more ticks than slots."""


@friendly_errors
def train(
    resource: Annotated[Resource, typer.Option("--resource", "-r", help="What to learn.")],
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
    as_json: JsonFlag = False,
) -> None:
    """Fit a forecaster on telemetry history; it serves only if it beats who serves now.

    The first three quarters are learnt from; on the rest both forecast from the same origins, each
    knowing only what lies before. The challenger wins when it loses at least 0.5 % less, beyond
    doubt across VMs (20 at least). A winner then learns from the last quarter as well.

    A short model is learnt from the ticks that the controller's database still has, for the agents
    to forecast 5 to 60 s ahead.

    Example: [bold]evenkeel train --resource cpu --model empirical --days 14[/]
    """
    from evenkeel.wiring.forecasts import open_history, open_registry, read_ticks

    known = _names(horizon)
    name = model or known[0]
    if name not in known:
        if name == "list":
            return out.print(", ".join(known), highlight=False)
        hint = f"Choose from: {', '.join(known)}."
        raise InvalidRequest(f"there is no forecaster {name!r}", hint=hint)
    settings = configuration.load(config)
    registry = open_registry(settings, models)
    if horizon is Horizon.SHORT:
        panel = read_ticks(settings, resource, days)
    else:
        step_s = slot_s or settings.forecast.slot_s
        panel = _read(open_history(settings, history, step_s), resource, days, step_s)
        calendar = Calendar(settings.forecast.time_zone, frozenset(settings.forecast.holidays))
        panel = replace(panel, calendar=calendar)
    began_s = time.monotonic()
    what = f"fitting {name} on {panel.n_series} VMs x {panel.n_slots} slots"
    with err.status(what) as progress:

        def report(words: str) -> None:
            progress.update(f"{what}: {words}")

        told = _contest(
            registry, panel, name, horizon, seed, settings.forecast.horizons_s, promote, report
        )
    told["seconds"] = round(time.monotonic() - began_s, 2)
    if as_json:
        return print_json(told)
    label = SPECS[resource].label
    verdict = "wins and serves now" if told["promoted"] else "wins" if told["won"] else "loses"
    why = "" if told["verdict"] in ("won", "lost") else f" ({told['verdict']})"
    out.print(
        f"{told['model']}: WQL {told['scores']['wql']:.4f} on {label}, against "
        f"{told['champion_scores']['wql']:.4f} of {told['champion']}: it {verdict}{why}.",
        highlight=False,
        soft_wrap=True,
    )
    return None


def _read(history: Any, resource: Resource, days: float, step_s: int) -> Panel:
    """The last `days` that are there, from the first known slot to the last."""
    now_s = int(time.time()) // step_s * step_s
    slots = sorted(history.slots(now_s - int(days * DAY_S) // step_s * step_s, now_s))
    if not slots:
        raise HistoryTooShort(f"there is no history of {step_s} s slots in the last {days:g} days")
    panel: Panel = history.panel(resource, slots[0], slots[-1] + step_s)
    return panel


def _contest(
    registry: FileModelRegistry,
    panel: Panel,
    name: str,
    horizon: Horizon,
    seed: int,
    horizons_s: tuple[float, ...],
    promote: bool,
    report: Callable[[str], None],
) -> dict[str, Any]:
    """Fit, judge against the champion, register, promote; what happened."""
    from evenkeel.forecast.base import Targets
    from evenkeel.forecast.contest import N_ORIGINS, hold
    from evenkeel.forecast.short import HORIZONS

    wanted = sorted({max(1, round(h / panel.step_s)) for h in horizons_s})
    n_origins = N_ORIGINS
    if horizon is Horizon.SHORT:
        wanted, n_origins = list(HORIZONS), SHORT_ORIGINS
    fitting = tuple(h for h in wanted if 4 * h <= panel.n_slots) or (1,)
    champion_id, champion = _champion(registry, panel.resource, horizon)
    try:
        learner = _forecaster(horizon, name, report)
        found = hold(learner, champion, panel, Targets(fitting), seed, n_origins)
    except ValueError as error:
        raise HistoryTooShort(str(error)) from error
    blob, now_s = found.fitted.save(), time.time()
    sha256, won = hashlib.sha256(blob).hexdigest(), found.verdict.promote
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
        horizon=horizon,
        validation=found.validation if horizon is Horizon.LONG else None,
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
        "verdict": found.verdict.reason.value,
        "promoted": won and promote,
        "horizons_s": [h * panel.step_s for h in fitting],
        "data_from": datetime.fromtimestamp(info.data_from_s, UTC).isoformat(),
        "data_until": datetime.fromtimestamp(info.data_until_s, UTC).isoformat(),
        "n_series": panel.n_series,
        "n_origins": found.n_origins,
    }


def _names(horizon: Horizon) -> list[str]:
    """Of the forecasters that may be trained, the usual one first."""
    from evenkeel.forecast import short_fit
    from evenkeel.forecast.catalogue import CATALOGUE

    return [short_fit.NAME] if horizon is Horizon.SHORT else list(CATALOGUE)


def _forecaster(
    horizon: Horizon, name: str, report: Callable[[str], None] = lambda _: None
) -> Forecaster:
    from evenkeel.forecast.catalogue import forecaster
    from evenkeel.forecast.short_fit import ShortForecaster

    return ShortForecaster() if horizon is Horizon.SHORT else forecaster(name, report)


def _champion(
    registry: FileModelRegistry, resource: Resource, horizon: Horizon
) -> tuple[str, FittedForecaster]:
    """Who serves now: the first of the line that can be loaded, else the built-in forecaster."""
    from evenkeel.forecast.empirical import NAME, FittedEmpirical
    from evenkeel.forecast.short_fit import built_in

    for each in registry.line(resource, horizon):
        try:
            info = registry.model(each).info
            return each, _forecaster(horizon, info.forecaster).load(registry.blob(each))
        except (EvenkeelError, KeyError) as error:
            err.print(f"{each} serves, but cannot be loaded: {error}", style="yellow")
    if horizon is Horizon.SHORT:
        return built_in().name, built_in()
    return NAME, FittedEmpirical()
