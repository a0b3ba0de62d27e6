"""What the host's VMs will want in 5 to 60 s, by the short models that the controller serves, and
by its slots where these foresee a jump.

The tick's thread observes and forecasts; the reporter's thread brings models. They share one tuple
that is replaced whole, so a model is swapped between two ticks. What cannot be had or read costs
its resource nothing but the built-in rule or the former model.
"""

from __future__ import annotations

import hashlib
import logging
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from evenkeel.domain.errors import EvenkeelError, ModelCorrupt
from evenkeel.domain.events import Severity
from evenkeel.domain.resources import AXIS, N_RESOURCES, Resource
from evenkeel.domain.sample import Ahead, HostTick, NearSlots
from evenkeel.forecast.near import foreseen
from evenkeel.forecast.short import BUILT_IN, HORIZONS, N_TICKS, ShortWindow, Weights
from evenkeel.ports import Clock, KeptModel, ModelMemory
from evenkeel.wire import ServingModel, SlotsAhead

log = logging.getLogger(__name__)

RETRY_S: Final = 60.0
"""After a model could not be had, none is asked for so long."""
BUILT_IN_NAME: Final = "built-in"
SAME_TICK: Final = 0.25
"""A model of ticks that are longer or shorter by more than this share is not for this host."""

News = tuple[str, str, Severity]


class Foresight:
    """`follow` and `hear` belong to the reporter's thread, all else to the tick's."""

    def __init__(self, memory: ModelMemory, clock: Clock, tick_s: float) -> None:
        self._memory = memory
        self._clock = clock
        self._tick_s = tick_s
        self._horizons_s = tuple(h * tick_s for h in HORIZONS)
        self._window = ShortWindow(N_RESOURCES)
        self._held: dict[Resource, tuple[KeptModel, Weights]] = {}
        self._refused: set[str] = set()
        self._failing: set[Resource] = set()
        self._retry_at_s = -np.inf
        self._news: deque[News] = deque(maxlen=100)
        self._near: NearSlots | None = None
        for resource in AXIS:
            self._recall(resource)
        self._serving = self._swapped()

    def observe(self, tick: HostTick) -> Ahead:
        """Take in a tick; what follows from it."""
        ids = tuple(vm.id for vm in tick.vms)
        for _ in range(min(N_TICKS, round(tick.interval_s / self._tick_s) - 1)):
            self._window.observe(ids, np.full_like(tick.demand, np.nan))  # a tick was lost
        self._window.observe(ids, tick.demand)
        weights, models = self._serving
        quantiles, near = self._window.forecast(weights), self._near
        if near is not None:
            quantiles = foreseen(quantiles, near, ids, tick.taken_at_s, self._horizons_s)
        return Ahead(self._horizons_s, quantiles, models)

    def news(self) -> Iterator[News]:
        """(kind, message, severity) of what happened to models since it was asked last."""
        while self._news:
            yield self._news.popleft()

    def follow(
        self, serving: tuple[ServingModel, ...] | None, fetch: Callable[[str], bytes]
    ) -> None:
        """Have what the controller says serves; `fetch` is `ControllerLink.model`. Never raises."""
        if serving is None:
            return
        wanted = {each.resource: each for each in serving}
        for resource in AXIS:
            want, held = wanted.get(resource.value), self._held.get(resource)
            if want is None:
                if held is not None:
                    self._keep(resource, None)
            elif held is None or held[0].sha256 != want.sha256:
                is_due = self._clock.monotonic_s() >= self._retry_at_s
                if is_due and want.sha256 not in self._refused:
                    self._fetch(resource, want, fetch)

    def hear(self, slots: SlotsAhead | None) -> None:
        """Take what the controller foresees; what cannot be is refused, the former stays."""
        if slots is None:
            return
        try:
            self._near = slots.near()
        except EvenkeelError as error:
            self._tell("slots_ahead_refused", error.message, Severity.WARNING)

    @property
    def slots_origin_s(self) -> float:
        """Origin of the slots that are known, so that the controller sends newer ones alone."""
        near = self._near
        return 0.0 if near is None else near.origin_s

    def _fetch(self, resource: Resource, want: ServingModel, fetch: Callable[[str], bytes]) -> None:
        try:
            blob = fetch(want.id)
            if hashlib.sha256(blob).hexdigest() != want.sha256:
                raise ModelCorrupt(f"{want.id} came with a wrong checksum")
        except Exception as error:  # batches go on, whatever it is
            self._retry_at_s = self._clock.monotonic_s() + RETRY_S
            if resource not in self._failing:
                self._failing.add(resource)
                self._tell("short_model_unavailable", f"{want.id}: {error}", Severity.WARNING)
            return
        self._failing.discard(resource)
        try:
            self._keep(resource, KeptModel(want.id, want.sha256, blob))
        except ModelCorrupt as error:
            self._refused.add(want.sha256)
            self._tell("short_model_refused", f"{want.id}: {error.message}", Severity.WARNING)

    def _keep(self, resource: Resource, model: KeptModel | None) -> None:
        """Serve it from the next tick on, and over restarts. Raises ModelCorrupt."""
        if model is None:
            del self._held[resource]
        else:
            self._held[resource] = (model, self._read(model))
        self._serving = self._swapped()
        name = model.id if model else f"the {BUILT_IN_NAME} rule"
        self._tell("short_model_changed", f"{resource.value} is forecast by {name} now")
        try:
            self._memory.save(resource, model)
        except EvenkeelError as error:
            log.warning("short model %s was not kept: %s", name, error)

    def _recall(self, resource: Resource) -> None:
        try:
            model = self._memory.load(resource)
            if model is not None:
                self._held[resource] = (model, self._read(model))
        except EvenkeelError as error:
            message = f"{error.message}; the {BUILT_IN_NAME} rule serves until it is fetched again"
            self._tell("short_model_damaged", message, Severity.WARNING)

    def _read(self, model: KeptModel) -> Weights:
        weights = Weights.load(model.blob)
        if weights.step_s and abs(self._tick_s / weights.step_s - 1) > SAME_TICK:
            raise ModelCorrupt(
                f"it was learnt from ticks of {weights.step_s:g} s, not {self._tick_s:g} s"
            )
        return weights

    def _swapped(self) -> tuple[tuple[Weights, ...], tuple[str, ...]]:
        held = [self._held.get(resource) for resource in AXIS]
        return (
            tuple(each[1] if each else BUILT_IN for each in held),
            tuple(each[0].id if each else BUILT_IN_NAME for each in held),
        )

    def _tell(self, kind: str, message: str, severity: Severity = Severity.INFO) -> None:
        log.log(logging.INFO if severity is Severity.INFO else logging.WARNING, "%s", message)
        self._news.append((kind, message, severity))
