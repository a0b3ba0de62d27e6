"""Trains models anew: when one has drifted, and when history has grown; one at a time.

What is meant to be done is stored before it is begun, so that a training which brings the
controller down is not begun again at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from evenkeel.config import ForecastConfig
from evenkeel.domain.errors import TrainingUnavailable
from evenkeel.domain.events import Event, Severity
from evenkeel.domain.model import Horizon, TrainingEnd, TrainingTry
from evenkeel.domain.panel import DAY_S
from evenkeel.domain.resources import AXIS, SPECS, Resource
from evenkeel.ports import Clock
from evenkeel.ports_history import Document, History, ModelRegistry, Trainer
from evenkeel.ports_store import Store

LOOK_EVERY_S: Final = 600.0
"""How often it is looked how far history has grown."""
Tries = dict[Resource, TrainingTry]


class Retrainer:
    """`run` is called every few seconds, by one thread. Whether a model wins is the training's say.

    Parameters
    ----------
    tries : the latest of every resource
    history : what models are trained on
    """

    def __init__(
        self,
        trainer: Trainer,
        tries: Document[Tries],
        history: History,
        registry: ModelRegistry,
        store: Store,
        clock: Clock,
        settings: ForecastConfig,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._trainer = trainer
        self._document = tries
        self._history = history
        self._registry = registry
        self._store = store
        self._clock = clock
        self._settings = settings
        self._tries = tries.load()
        self._running: Resource | None = None
        self._end: TrainingEnd | None = None
        self._looked_s = -np.inf

    @property
    def running(self) -> Resource | None:
        return self._running

    def run(self, drifted: Mapping[Resource, str]) -> None:
        """Notice what ended, begin what is due. Raises StoreUnavailable, ModelsUnavailable, ...

        `drifted`: resources whose serving model (its id) is no longer what it was.
        """
        self._end = self._end or self._trainer.poll()
        if self._end is not None:
            self._ended(self._end)  # tried again as a whole when the store fails
            self._end, self._running = None, None
        if self._running is not None:
            return None
        for resource, one in self._tries.items():
            if one.ended_at_s is None:
                self._ended(TrainingEnd(resource, failure="the controller ended while it ran"))
        if not self._settings.retrain:
            return None
        for resource in AXIS:
            if resource in drifted and self._rested(resource):
                return self._begin(resource, f"{drifted[resource]} has drifted")
        now_s = self._clock.monotonic_s()
        if now_s - self._looked_s >= LOOK_EVERY_S:
            self._looked_s = now_s
            for resource in AXIS:
                if self._rested(resource) and self._has_grown(resource):
                    days = self._settings.retrain_every_days
                    return self._begin(resource, f"history has grown by {days:g} days")
        return None

    def close(self) -> None:
        self._trainer.stop()

    def _rested(self, resource: Resource) -> bool:
        """Whether the latest try is long enough ago; a try from the future blocks nothing."""
        one = self._tries.get(resource)
        if one is None:
            return True
        age_s = self._clock.wall_s() - one.asked_at_s
        return not 0 <= age_s < self._settings.retrain_every_hours * 3600

    def _has_grown(self, resource: Resource) -> bool:
        """By so many days of known slots since a model of it was last trained, by whomever."""
        now_s = int(self._clock.wall_s())
        since_s = now_s - self._settings.retention_days * DAY_S
        models = [m for m in self._registry.models(resource) if m.info.horizon is Horizon.LONG]
        one = self._tries.get(resource)
        since_s = max([since_s, *(m.info.created_at_s for m in models[:1])])
        since_s = max(since_s, one.asked_at_s if one else since_s)
        n_slots = len(self._history.slots(int(since_s), now_s))
        return n_slots * self._settings.slot_s >= self._settings.retrain_every_days * DAY_S

    def _begin(self, resource: Resource, reason: str) -> None:
        self._keep(resource, TrainingTry(reason, self._clock.wall_s()))
        try:
            self._trainer.start(resource)
        except TrainingUnavailable as error:
            hint = f" {error.hint}" if error.hint else ""
            return self._ended(TrainingEnd(resource, failure=f"{error.message}.{hint}"))
        self._running = resource
        self.counts["started"] += 1
        label = SPECS[resource].label
        self._log("training_started", f"a {label} model is trained: {reason}", resource)
        return None

    def _ended(self, end: TrainingEnd) -> None:
        one = self._tries.get(end.resource) or TrainingTry("", self._clock.wall_s())
        self._keep(end.resource, replace(one, ended_at_s=self._clock.wall_s()))
        label = SPECS[end.resource].label
        if end.failure:
            self._log(
                "training_failed",
                f"training a {label} model failed: {end.failure}"[:500],
                end.resource,
                Severity.WARNING,
                reason=one.reason,
            )
        else:
            result = "won" if end.won else "did not win"
            self._log(
                "training_finished",
                f"{end.model} {result} against {end.champion}: WQL {end.wql:.4f} against "
                f"{end.champion_wql:.4f} ({end.verdict})",
                end.resource,
                model=end.model,
                champion=end.champion,
                won=end.won,
                verdict=end.verdict,
                wql=end.wql,
                champion_wql=end.champion_wql,
                reason=one.reason,
            )
        self.counts["failed" if end.failure else "won" if end.won else "lost"] += 1

    def _keep(self, resource: Resource, one: TrainingTry) -> None:
        tries = self._tries | {resource: one}
        self._document.save(tries)
        self._tries = tries

    def _log(
        self,
        kind: str,
        message: str,
        resource: Resource,
        severity: Severity = Severity.INFO,
        **more: str | float | bool,
    ) -> None:
        event = Event(
            self._clock.wall_s(),
            kind,
            message,
            severity,
            detail={"resource": resource.value, **more},
        )
        with self._store.write() as session:
            session.chronicle.add_events([event])
