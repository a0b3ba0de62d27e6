"""A controller's watch over a generated fleet: panels from memory, a trainer without a process."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Collection, Mapping
from typing import Any, Generic, TypeVar

import numpy as np
from tests.batches import ManualClock
from tests.history_data import MemoryRegistry, MemoryShelf, a_model

from evenkeel.config import ForecastConfig
from evenkeel.controller.forecasting import ForecastService
from evenkeel.controller.models import ModelService
from evenkeel.controller.retraining import Retrainer
from evenkeel.controller.watch import Watch
from evenkeel.domain.errors import TrainingUnavailable
from evenkeel.domain.model import TrainingEnd
from evenkeel.domain.panel import Panel
from evenkeel.domain.resources import Resource
from evenkeel.forecast.base import Forecaster, Targets
from evenkeel.forecast.contest import hold
from evenkeel.forecast.empirical import FittedEmpirical
from evenkeel.ports_store import Store

CPU = Resource.CPU
T = TypeVar("T")


class MemoryDocument(Generic[T]):
    def __init__(self, value: T) -> None:
        self.value = value

    def load(self) -> T:
        return self.value

    def save(self, value: T) -> None:
        self.value = value


class PanelHistory:
    """`History` of one resource that was all known before; what lies ahead is not shown."""

    def __init__(self, panel: Panel, clock: ManualClock) -> None:
        self.whole = panel
        self._clock = clock

    def panel(
        self, resource: Resource, start_s: int, end_s: int, vms: Collection[str] | None = None
    ) -> Panel:
        assert end_s <= self._clock.now_s
        step_s = self.whole.step_s
        if resource is not self.whole.resource:
            empty = np.empty((0, round((end_s - start_s) / step_s)), np.float32)
            return Panel((), empty, start_s, resource, step_s, np.empty(0))
        first = max(0, round((start_s - self.whole.start_s) / step_s))
        return self.whole.between(first, round((end_s - self.whole.start_s) / step_s))

    def slots(self, start_s: int, end_s: int) -> Mapping[int, float]:
        step_s, first_s = int(self.whole.step_s), int(self.whole.start_s)
        last_s = min(end_s, first_s + step_s * self.whole.n_slots)
        return {
            s: float(s) for s in range(max(first_s, start_s // step_s * step_s), last_s, step_s)
        }

    def append(self, rollup: object) -> None:
        raise AssertionError

    def tidy(self, before_s: int, keep_from_s: int) -> int:
        return 0

    def problems(self) -> Mapping[str, str]:
        return {}


class InstantTrainer:
    """`Trainer` that holds its contest when it is polled for the first time."""

    def __init__(self, world: World, make: Callable[[], Forecaster]) -> None:
        self._world = world
        self._make = make
        self._wanted: Resource | None = None
        self.started: list[float] = []
        self.lacks = ""
        self.failure = ""

    def start(self, resource: Resource) -> None:
        if self.lacks:
            raise TrainingUnavailable(f"training needs {self.lacks}")
        assert self._wanted is None
        self._wanted = resource
        if resource is CPU:
            self.started.append(self._world.clock.now_s)

    def poll(self) -> TrainingEnd | None:
        wanted, self._wanted = self._wanted, None
        if wanted is None:
            return None
        if wanted is not CPU:  # of which nothing is known
            return TrainingEnd(wanted, model="none", champion="empirical", verdict="lost")
        if self.failure:
            return TrainingEnd(wanted, failure=self.failure)
        return self._world.train(self._make())

    def stop(self) -> None:
        self._wanted = None


class World:
    """Slots pass by `run`; `start_s` is when the controller starts, `panel` what is to come."""

    def __init__(
        self,
        panel: Panel,
        store: Store,
        start_s: float,
        make: Callable[[], Forecaster],
        **settings: Any,
    ) -> None:
        self.make = make
        self.clock = ManualClock(start_s)
        self.store = store
        self.registry = MemoryRegistry()
        self.history = PanelHistory(panel, self.clock)
        self.trainer = InstantTrainer(self, make)
        self.tries: MemoryDocument[Any] = MemoryDocument({})
        self.told: MemoryDocument[Any] = MemoryDocument({})
        step_s = panel.step_s
        self.settings = ForecastConfig(
            **{
                "slot_s": int(step_s),
                "grace_s": 0.0,
                "context_hours": 48.0,
                "horizons_s": (step_s, 3600.0),
                "windows_s": (3600.0,),
                **settings,
            }
        )
        self.service = self.restarted()

    def restarted(self) -> ForecastService:
        watch = Watch(
            ModelService(self.registry, self.store, self.clock, self.told),
            Retrainer(
                self.trainer,
                self.tries,
                self.history,
                self.registry,
                self.store,
                self.clock,
                self.settings,
            ),
            self.registry,
            self.store,
        )
        self.service = ForecastService(
            source=self.history,
            registry=self.registry,
            shelf=MemoryShelf(),
            forecaster=lambda _: self.make(),
            store=self.store,
            clock=self.clock,
            settings=self.settings,
            history=self.history,
            watch=watch,
        )
        return self.service

    @property
    def watch(self) -> Watch:
        assert self.service.watch is not None
        return self.service.watch

    def run(self, hours: float, until: Callable[[], bool] = lambda: False) -> float:
        """Hours that passed until `until` was true, or all of them."""
        step_s = self.history.whole.step_s
        for k in range(round(hours * 3600 / step_s)):
            self.service.run()
            if until():
                return k * step_s / 3600
            self.clock.now_s += step_s
        return hours

    def train(self, maker: Forecaster) -> TrainingEnd:
        """As `evenkeel train` does, on the last two weeks."""
        step_s = self.history.whole.step_s
        now_s = int(self.clock.now_s // step_s * step_s)
        panel = self.history.panel(CPU, int(now_s - 14 * 86_400), now_s)
        line = self.registry.line(CPU)
        champion = maker.load(self.registry.blob(line[0])) if line else FittedEmpirical()
        near = round(3600 / step_s)
        found = hold(maker, champion, panel, Targets(tuple(sorted({1, near}))), 1)
        blob = found.fitted.save()
        info = a_model(blob, at_s=self.clock.now_s, validation=found.validation)
        assert info.sha256 == hashlib.sha256(blob).hexdigest()
        self.registry.add(info, blob)
        if found.verdict.promote:
            self.registry.promote(info.id)
        return TrainingEnd(
            CPU,
            model=info.id,
            champion=line[0] if line else "empirical",
            won=found.verdict.promote,
            verdict=found.verdict.reason.value,
            wql=found.ours.wql,
            champion_wql=found.theirs.wql,
        )

    def events(self, kind: str = "") -> list[Any]:
        with self.store.read() as session:
            told = [record.event for record in session.chronicle.events(limit=10_000)][::-1]
        return [event for event in told if not kind or event.kind == kind]


def with_step(panel: Panel, step_s: float) -> Panel:
    """The same slots, said to be of another length."""
    return dataclasses.replace(panel, step_s=step_s)
