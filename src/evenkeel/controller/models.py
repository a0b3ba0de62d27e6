"""Which model serves, and back again: the operator's hand on it, and a log of every change."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final

from evenkeel.domain.errors import Forbidden
from evenkeel.domain.events import Event
from evenkeel.domain.model import ModelRecord, ModelState
from evenkeel.domain.resources import AXIS, SPECS, Resource
from evenkeel.ports import Clock
from evenkeel.ports_history import Document, ModelRegistry
from evenkeel.ports_store import Store

BUILT_IN: Final = "the built-in forecaster"
Told = dict[Resource, str]


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

    def models(self, resource: Resource | None = None) -> Sequence[ModelRecord]:
        """Newest first."""
        return self._registry.models(resource)

    def blob(self, model_id: str, *, serving_only: bool) -> tuple[ModelRecord, bytes]:
        """What a model learnt. Raises ModelNotFound, ModelCorrupt; Forbidden if it may not be."""
        record = self._registry.model(model_id)
        if serving_only and record.state is not ModelState.CHAMPION:
            raise Forbidden("agents get the models that serve, and no others")
        return record, self._registry.blob(model_id)

    def promote(self, model_id: str, who: str) -> ModelRecord:
        """Forecasts are made with it from the next slot on. Raises ModelNotFound, ModelCorrupt."""
        with self._changing:
            record = self._registry.promote(model_id)
            message = f"{who} promoted {model_id}"
            self._log("model_promoted", message, record.info.resource, model_id)
        return record

    def rollback(self, resource: Resource, who: str) -> ModelRecord | None:
        """The former champion serves again; None: the built-in one. Raises ModelNotFound."""
        with self._changing:
            record = self._registry.rollback(resource)
            message = (
                f"{who} rolled {resource.value} back to {record.info.id if record else BUILT_IN}"
            )
            self._log("model_rolled_back", message, resource, record.info.id if record else "")
        return record

    def notice(self) -> None:
        """Log what others changed in the registry (a training, by hand or not), once."""
        with self._changing:
            for resource in AXIS:
                champion = next(iter(self._registry.line(resource)), "")
                if champion != self._told.get(resource, ""):
                    message = f"{champion or BUILT_IN} serves for {SPECS[resource].label} now"
                    kind = "model_promoted" if champion else "model_rolled_back"
                    self._log(kind, message, resource, champion)

    def _log(self, kind: str, message: str, resource: Resource, champion: str) -> None:
        event = Event(
            self._clock.wall_s(),
            kind,
            message,
            detail={"resource": resource.value, "model": champion or BUILT_IN},
        )
        with self._store.write() as session:
            session.chronicle.add_events([event])
        self._told = self._told | {resource: champion}
        self._document.save(self._told)
