"""Contests of `evenkeel train`: what each takes, how it is held, what is kept of it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from evenkeel import __version__
from evenkeel.cli.output import err
from evenkeel.config import Config
from evenkeel.domain.errors import EvenkeelError, HistoryTooShort
from evenkeel.domain.model import Horizon, ModelInfo, model_id
from evenkeel.domain.panel import DAY_S, Panel
from evenkeel.domain.resources import SPECS, Resource
from evenkeel.forecast import short_fit
from evenkeel.forecast.base import FittedForecaster, Forecaster, Targets
from evenkeel.forecast.catalogue import CATALOGUE, forecaster
from evenkeel.forecast.contest import N_ORIGINS, Contest, hold
from evenkeel.forecast.empirical import NAME as BUILT_IN
from evenkeel.forecast.empirical import FittedEmpirical
from evenkeel.forecast.short import HORIZONS
from evenkeel.forecast.workers import IN_TURN, Report, Workers

if TYPE_CHECKING:
    from evenkeel.adapters.history.parquet import ParquetHistory
    from evenkeel.adapters.models.files import FileModelRegistry

SHORT_ORIGINS: Final = 120
"""At which short models are judged: there are many more ticks than slots."""

Read = Callable[[Resource], Panel]


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """One contest: what it takes, wherever it is held."""

    name: str
    seed: int
    horizon: Horizon
    panel: Panel
    targets: Targets
    champion_id: str
    champion: FittedForecaster


def names(horizon: Horizon) -> list[str]:
    """Of the forecasters that may be trained, the usual one first."""
    return [short_fit.NAME] if horizon is Horizon.SHORT else list(CATALOGUE)


def learner(horizon: Horizon, name: str, report: Callable[[str], None], workers: Workers) -> Any:
    """Raises ConfigInvalid for one that there is not, or that lacks a library."""
    if horizon is Horizon.SHORT:
        return short_fit.ShortForecaster()
    return forecaster(name, report, workers)


def reader(settings: Config, history: ParquetHistory, days: float, step_s: int) -> Read:
    """Reads the last `days` that are there, from the first known slot to the last.

    What it gives raises HistoryTooShort.
    """
    calendar = settings.forecast.calendar()

    def read(resource: Resource) -> Panel:
        now_s = int(time.time()) // step_s * step_s
        slots = sorted(history.slots(now_s - int(days * DAY_S) // step_s * step_s, now_s))
        if not slots:
            raise HistoryTooShort(
                f"there is no history of {step_s} s slots in the last {days:g} days"
            )
        return replace(history.panel(resource, slots[0], slots[-1] + step_s), calendar=calendar)

    return read


def questions(
    registry: FileModelRegistry,
    read: Read,
    resources: list[Resource],
    name: str,
    horizon: Horizon,
    seed: int,
    horizons_s: tuple[float, ...],
) -> Iterator[Question]:
    """One for each resource; history is read when its turn comes. Raises HistoryTooShort."""
    for resource in resources:
        panel = read(resource)
        wanted = sorted({max(1, round(h / panel.step_s)) for h in horizons_s})
        if horizon is Horizon.SHORT:
            wanted = list(HORIZONS)
        targets = Targets(tuple(h for h in wanted if 4 * h <= panel.n_slots) or (1,))
        yield Question(name, seed, horizon, panel, targets, *_champion(registry, resource, horizon))


def _champion(
    registry: FileModelRegistry, resource: Resource, horizon: Horizon
) -> tuple[str, FittedForecaster]:
    """Who serves now: the first of the line that can be loaded, else the built-in forecaster."""
    for each in registry.line(resource, horizon):
        try:
            name = registry.model(each).info.forecaster
            maker: Forecaster = learner(horizon, name, lambda _: None, IN_TURN)
            return each, maker.load(registry.blob(each))
        except (EvenkeelError, KeyError) as error:
            err.print(f"{each} serves, but cannot be loaded: {error}", style="yellow")
    if horizon is Horizon.SHORT:
        rule = short_fit.built_in()
        return rule.name, rule
    return BUILT_IN, FittedEmpirical()


def held(workers: Workers, question: Question, report: Report) -> Contest | EvenkeelError:
    """The contest, or why there could be none. A piece of work: it touches no files."""
    panel = question.panel
    what = f"fitting {question.name} on {SPECS[panel.resource].label} of {panel.n_series} VMs"

    def tell(words: str) -> None:
        report(f"{what}: {words}")

    try:
        challenger = learner(question.horizon, question.name, tell, workers)
        n_origins = SHORT_ORIGINS if question.horizon is Horizon.SHORT else N_ORIGINS
        return hold(
            challenger, question.champion, panel, question.targets, question.seed, n_origins
        )
    except ValueError as error:
        return HistoryTooShort(str(error))
    except EvenkeelError as error:
        return error


def all_held(
    workers: Workers, asked: Iterator[Question], report: Report
) -> Iterator[Contest | EvenkeelError]:
    """In the order asked."""
    return workers.map(partial(held, workers), asked, report)


def kept(
    registry: FileModelRegistry, question: Question, found: Contest, promote: bool
) -> dict[str, Any]:
    """Register, promote; what happened."""
    panel, champion_id = question.panel, question.champion_id
    blob, now_s = found.fitted.save(), time.time()
    sha256, won = hashlib.sha256(blob).hexdigest(), found.verdict.promote
    info = ModelInfo(
        id=model_id(panel.resource, question.name, now_s, sha256),
        resource=panel.resource,
        forecaster=question.name,
        created_at_s=now_s,
        sha256=sha256,
        size_bytes=len(blob),
        data_from_s=panel.start_s,
        data_until_s=panel.start_s + found.learnt_until * panel.step_s,
        n_series=panel.n_series,
        step_s=panel.step_s,
        seed=question.seed,
        code_version=__version__,
        scores=found.ours.as_metrics(),
        note=f"WQL {found.ours.wql:.6g} against {found.theirs.wql:.6g} of {champion_id}",
        horizon=question.horizon,
        validation=found.validation if question.horizon is Horizon.LONG else None,
    )
    registry.add(info, blob)
    if won and promote:
        registry.promote(info.id)
    return {
        "model": info.id,
        "resource": panel.resource.value,
        "forecaster": question.name,
        "scores": found.ours.as_metrics(),
        "champion": champion_id,
        "champion_scores": found.theirs.as_metrics(),
        "won": won,
        "verdict": found.verdict.reason.value,
        "promoted": won and promote,
        "horizons_s": [h * panel.step_s for h in question.targets.horizons],
        "data_from": datetime.fromtimestamp(info.data_from_s, UTC).isoformat(),
        "data_until": datetime.fromtimestamp(info.data_until_s, UTC).isoformat(),
        "n_series": panel.n_series,
        "n_origins": found.n_origins,
    }
