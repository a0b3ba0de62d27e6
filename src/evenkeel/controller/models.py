"""The operator's hand on the models: which version serves, and back again; all of it is logged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from evenkeel.domain.errors import EvenkeelError, Forbidden
from evenkeel.domain.events import Event
from evenkeel.domain.model import Horizon, ModelRecord, ModelState
from evenkeel.domain.resources import AXIS, Resource
from evenkeel.ports import Clock
from evenkeel.ports_history import ModelRegistry
from evenkeel.ports_store import Store
from evenkeel.wire import ServingModel

LOOK_EVERY_S: Final = 10.0
"""Agents' batches ask which short models serve; the registry is asked no more often than this."""


class ModelService:
    """All methods raise ModelsUnavailable; those that change raise StoreUnavailable too."""

    def __init__(self, registry: ModelRegistry, store: Store, clock: Clock) -> None:
        self._registry = registry
        self._store = store
        self._clock = clock
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
        record = self._registry.promote(model_id)
        self._short = None
        self._log("model_promoted", f"{who} promoted {model_id}", record.info.resource, model_id)
        return record

    def rollback(
        self, resource: Resource, who: str, horizon: Horizon = Horizon.LONG
    ) -> ModelRecord | None:
        """The former champion serves again; None: the built-in one. Raises ModelNotFound."""
        record = self._registry.rollback(resource, horizon)
        self._short = None
        to = record.info.id if record else "the built-in forecaster"
        message = f"{who} rolled {resource.value} ({horizon.value}) back to {to}"
        self._log("model_rolled_back", message, resource, to)
        return record

    def _log(self, kind: str, message: str, resource: Resource, model_id: str) -> None:
        detail = {"resource": resource.value, "model": model_id}
        with self._store.write() as session:
            session.chronicle.add_events(
                [Event(self._clock.wall_s(), kind, message, detail=dict(detail))]
            )
