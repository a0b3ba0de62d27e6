"""Which model speaks for a fleet, and what it says, put right by how its forecasts came out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol, TypeVar

from evenkeel.controller.warmth import WarmFleet
from evenkeel.domain.resources import SPECS, Resource
from evenkeel.forecast.base import FittedForecaster, Forecast, Forecaster, Targets
from evenkeel.forecast.empirical import NAME as BUILT_IN
from evenkeel.forecast.tracker import Tracker
from evenkeel.forecast.workers import IN_TURN, Workers
from evenkeel.ports_history import ForecastShelf, ModelRegistry

LEARN_EVERY_S: Final = 1800.0
LEARN_FROM: Final = 1000
"""Calibration remembers one forecast in this time, of so many VMs, until it has come true."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Said:
    """What `model` says of a fleet, and that as calibrated."""

    model: str
    raw: Forecast
    forecast: Forecast


class Attempt(Protocol):
    def __call__(self, what: str, do: Callable[[], T]) -> T | None:
        """What `do` gives; None when it failed, which is told once."""
        ...


class Serving:
    """One pass at a time.

    Parameters
    ----------
    forecaster : makes the forecaster of a name, to load a model; ConfigInvalid if unknown
    attempt : runs what may fail
    workers : who forecasts
    cluster : who does instead while it can be reached
    """

    def __init__(
        self,
        registry: ModelRegistry,
        shelf: ForecastShelf,
        forecaster: Callable[[str], Forecaster],
        targets: Targets,
        attempt: Attempt,
        workers: Workers = IN_TURN,
        cluster: Workers | None = None,
    ) -> None:
        self._registry = registry
        self._shelf = shelf
        self._forecaster = forecaster
        self._targets = targets
        self._workers = workers
        self._cluster = cluster
        self._cluster_failed_s = -1.0
        self._attempt = attempt
        self._loaded: dict[str, FittedForecaster] = {}
        self._trackers: dict[Resource, tuple[str, Tracker]] = {}

    def forecast(self, resource: Resource, warm: WarmFleet, line: Sequence[str]) -> Said:
        """Of the first of `line` that can, else of the built-in forecaster."""
        for model in line:
            fitted = self._attempt(f"model_{model}", partial(self._load, model))
            said = fitted and self._attempt(
                f"champion_{resource.value}",
                partial(self._said, resource, warm, model, fitted),
            )
            if said:
                return said
        return self._said(resource, warm, BUILT_IN, warm.built_in(self._targets))

    def _said(
        self, resource: Resource, warm: WarmFleet, model: str, fitted: FittedForecaster
    ) -> Said:
        tracker = self._tracker(resource, model, warm.recent.step_s)
        by = partial(warm.forecast, fitted, self._targets, tracker=tracker)
        told = self._on_cluster(by, warm.recent.end_s)
        raw, forecast = told or by(workers=self._workers)
        if tracker.keep(raw):
            # What comes true until the next time is learnt again after a restart.
            self._attempt(
                f"calibration_{resource.value}",
                lambda: self._shelf.keep_calibration(resource, model, tracker.save()),
            )
        return Said(model, raw, forecast)

    def _on_cluster(
        self, by: Callable[..., tuple[Forecast, Forecast]], origin_s: float
    ) -> tuple[Forecast, Forecast] | None:
        """None without a cluster. One that fails has its next chance at the next origin."""
        if self._cluster is None or self._cluster_failed_s == origin_s:
            return None
        told = self._attempt("cluster", partial(by, workers=self._cluster))
        if told is None:
            self._cluster_failed_s = origin_s
        return told

    def _tracker(self, resource: Resource, model: str, step_s: float) -> Tracker:
        known = self._trackers.get(resource)
        if known is not None and known[0] == model:
            return known[1]
        tracker = new_tracker(resource, self._targets)
        self._trackers[resource] = (model, tracker)

        def restore() -> None:
            blob = self._shelf.calibration(resource, model)
            if blob is not None:
                tracker.load(blob, step_s)

        self._attempt(f"calibration_{resource.value}", restore)
        return tracker

    def _load(self, model_id: str) -> FittedForecaster:
        known = self._loaded.get(model_id)
        if known is not None:
            return known
        info = self._registry.model(model_id).info
        fitted = self._forecaster(info.forecaster).load(self._registry.blob(model_id))
        for old in [m for m in self._loaded if m.startswith(f"{info.resource.value}-")]:
            del self._loaded[old]
        self._loaded[model_id] = fitted
        return fitted


def new_tracker(resource: Resource, targets: Targets) -> Tracker:
    shard = SPECS[resource].shard
    return Tracker(targets, shard, spacing_s=LEARN_EVERY_S, max_series=LEARN_FROM)
