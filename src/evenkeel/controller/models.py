"""Which model serves, and back again: the operator's hand on it, and a log of every change."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from itertools import product
from typing import Final

from evenkeel.domain.errors import EvenkeelError, Forbidden
from evenkeel.domain.events import Event
from evenkeel.domain.model import Horizon, ModelRecord, ModelState
from evenkeel.domain.resources import AXIS, SPECS, Resource
from evenkeel.ports import Clock
from evenkeel.ports_history import Document, ModelRegistry
from evenkeel.ports_store import Store
from evenkeel.wire import ServingModel

LOOK_EVERY_S: Final = 10.0
"""Agents' batches ask which short models serve; the registry is asked no more often than this."""

BUILT_IN: Final = "the built-in forecaster"
Told = dict[str, str]


class ModelService:
    """All methods raise ModelsUnavailable; those that change raise StoreUnavailable too.

    `told` remembers of which champions the log tells, "" for the built-in forecaster.
    """

    def __init__(
        self, registry: ModelRegistry, store: Store, clock: Clock, told: Document[Told]
    ) -> None:
        self._registry = registry
        self._store = store
        self._clock = clock
        self._document = told
        self._told = told.load()
        self._changing = threading.Lock()
        self._short: tuple[float, tuple[ServingModel, ...] | None] | None = None

    def models(self, resource: Resource | None = None) -> Sequence[ModelRecord]:
        """Newest first."""
        return self._registry.models(resource)

    def blob(self, model_id: str, *, serving_only: bool) -> tuple[ModelRecord, bytes]:
        """What a model learnt. Raises ModelNotFound, ModelCorrupt; Forbidden if it may not be."""
        record = self._registry.model(model_id)
        if serving_only and record.state is not ModelState.CHAMPION:
            raise Forbidden("agents get the models that serve, and no others")
        return record, self._registry.blob(model_id)

    def for_agents(self) -> tuple[ServingModel, ...] | None:
        """The short models that serve; None while it cannot be known. Thread-safe, never raises."""
        told, now_s = self._short, self._clock.monotonic_s()
        if told is None or now_s - told[0] >= LOOK_EVERY_S:
            try:
                serving = tuple(
                    ServingModel(
                        resource.value, champion, self._registry.model(champion).info.sha256
                    )
                    for resource in AXIS
                    for champion in self._registry.line(resource, Horizon.SHORT)[:1]
                )
                told = (now_s, serving)
            except EvenkeelError:
                told = (now_s, None)
            self._short = told
        return told[1]

    def promote(self, model_id: str, who: str) -> ModelRecord:
        """Forecasts are made with it from the next slot on. Raises ModelNotFound, ModelCorrupt."""
        with self._changing:
            record = self._registry.promote(model_id)
            self._short = None
            info = record.info
            message = f"{who} promoted {model_id}"
            self._log("model_promoted", message, info.resource, info.horizon, model_id)
        return record

    def rollback(
        self, resource: Resource, who: str, horizon: Horizon = Horizon.LONG
    ) -> ModelRecord | None:
        """The former champion serves again; None: the built-in one. Raises ModelNotFound."""
        with self._changing:
            record = self._registry.rollback(resource, horizon)
            self._short = None
            to = record.info.id if record else ""
            message = f"{who} rolled {resource.value} ({horizon.value}) back to {to or BUILT_IN}"
            self._log("model_rolled_back", message, resource, horizon, to)
        return record

    def notice(self) -> None:
        """Log what others changed in the registry (a training, by hand or not), once."""
        with self._changing:
            for resource, horizon in product(AXIS, Horizon):
                champion = next(iter(self._registry.line(resource, horizon)), "")
                if champion != self._told.get(_line(resource, horizon), ""):
                    label = SPECS[resource].label
                    message = f"{champion or BUILT_IN} serves for {label} ({horizon.value}) now"
                    kind = "model_promoted" if champion else "model_rolled_back"
                    self._log(kind, message, resource, horizon, champion)

    def _log(
        self, kind: str, message: str, resource: Resource, horizon: Horizon, champion: str
    ) -> None:
        event = Event(
            self._clock.wall_s(),
            kind,
            message,
            detail={
                "resource": resource.value,
                "horizon": horizon.value,
                "model": champion or BUILT_IN,
            },
        )
        with self._store.write() as session:
            session.chronicle.add_events([event])
        self._told = self._told | {_line(resource, horizon): champion}
        self._document.save(self._told)


def _line(resource: Resource, horizon: Horizon) -> str:
    return f"{resource.value}/{horizon.value}"
