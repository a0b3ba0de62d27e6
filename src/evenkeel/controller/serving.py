"""Which model speaks for a fleet, and what it says, put right by how its forecasts came out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Protocol, TypeVar

from evenkeel.controller.warmth import WarmFleet
from evenkeel.domain.resources import Resource
from evenkeel.forecast.base import FittedForecaster, Forecast, Forecaster, Targets
from evenkeel.forecast.calibration import Tracker
from evenkeel.forecast.empirical import NAME as BUILT_IN
from evenkeel.ports_history import ForecastShelf, ModelRegistry

LEARN_EVERY_S: Final = 1800.0
LEARN_FROM: Final = 1000
"""Calibration remembers one forecast in this time, of so many VMs, until it has come true."""
T = TypeVar("T")


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
    """

    def __init__(
        self,
        registry: ModelRegistry,
        shelf: ForecastShelf,
        forecaster: Callable[[str], Forecaster],
        targets: Targets,
        n_threads: int,
        attempt: Attempt,
    ) -> None:
        self._registry = registry
        self._shelf = shelf
        self._forecaster = forecaster
        self._targets = targets
        self._n_threads = n_threads
        self._attempt = attempt
        self._loaded: dict[str, FittedForecaster] = {}
        self._trackers: dict[Resource, tuple[str, Tracker]] = {}

    def forecast(
        self, resource: Resource, warm: WarmFleet, line: Sequence[str]
    ) -> tuple[str, Forecast]:
        """(model id, its forecast): of the first of `line` that can, else of the built-in one."""
        for model in line:
            fitted = self._attempt(f"model_{model}", partial(self._load, model))
            forecast = fitted and self._attempt(
                f"champion_{resource.value}",
                partial(self._said, resource, warm, model, fitted),
            )
            if forecast:
                return model, forecast
        return BUILT_IN, self._said(resource, warm, BUILT_IN, warm.built_in(self._targets))

    def _said(
        self, resource: Resource, warm: WarmFleet, model: str, fitted: FittedForecaster
    ) -> Forecast:
        tracker = self._tracker(resource, model, warm.recent.step_s)
        raw, forecast = warm.forecast(fitted, self._targets, self._n_threads, tracker)
        if tracker.keep(raw):
            # What comes true until the next time is learnt again after a restart.
            self._attempt(
                f"calibration_{resource.value}",
                lambda: self._shelf.keep_calibration(resource, model, tracker.save()),
            )
        return forecast

    def _tracker(self, resource: Resource, model: str, step_s: float) -> Tracker:
        known = self._trackers.get(resource)
        if known is not None and known[0] == model:
            return known[1]
        tracker = new_tracker(self._targets)
        self._trackers[resource] = (model, tracker)

        def restore() -> None:
            blob = self._shelf.calibration(resource, model)
            if blob is not None:
                tracker.load(blob, self._targets, step_s)

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


def new_tracker(targets: Targets) -> Tracker:
    return Tracker(len(targets.horizons + targets.windows), LEARN_EVERY_S, LEARN_FROM)
