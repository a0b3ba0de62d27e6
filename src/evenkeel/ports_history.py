"""Telemetry history, forecasts and models, as Protocols; adapters/history and /models."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol, TypeVar

from evenkeel.domain.model import Horizon, ModelInfo, ModelRecord, TrainingEnd
from evenkeel.domain.panel import Panel
from evenkeel.domain.rdv import FleetDemand
from evenkeel.domain.resources import Resource
from evenkeel.domain.rollup import RollUp

T = TypeVar("T")


class PanelSource(Protocol):
    """Whoever knows demand histories: the controller's own telemetry, or Prometheus."""

    def panel(
        self, resource: Resource, start_s: int, end_s: int, vms: Collection[str] | None = None
    ) -> Panel:
        """Demand over [start_s, end_s), all VMs known then or those of `vms`. Retry: yes.

        Both ends are multiples of the slot; what is not known is NaN; a VM of which nothing is
        known has no row. Raises HistoryUnavailable, MetricsSourceUnavailable or
        MetricsSourceInvalid.
        """
        ...


class History(PanelSource, Protocol):
    """Rolled-up telemetry. What a call wrote is durable when it returns. Thread-safe.

    Damage never raises: what cannot be read is left out and told by `problems`.
    """

    @property
    def step_s(self) -> int:
        """Seconds a slot."""
        ...

    def append(self, rollup: RollUp) -> None:
        """Keep a slot; a slot known already is merged with it. Retry: yes.

        Raises HistoryUnavailable: the slot is as it was before.
        """
        ...

    def slots(self, start_s: int, end_s: int) -> Mapping[int, float]:
        """The slots of [start_s, end_s) that are kept: slot_s -> rolled_at_s."""
        ...

    def rollups(self, start_s: int, end_s: int) -> Sequence[RollUp]:
        """All that is kept of [start_s, end_s), slot by slot, oldest first. Retry: yes.

        Whoever asks keeps the range short: all of it is in memory. Raises HistoryUnavailable.
        """
        ...

    def tidy(self, before_s: int, keep_from_s: int) -> int:
        """Compact what is complete before `before_s`, forget what is older than `keep_from_s`.

        How many files went. Raises HistoryUnavailable. Retry: yes.
        """
        ...

    def problems(self) -> Mapping[str, str]:
        """What could not be read: name -> reason."""
        ...


class ForecastShelf(Protocol):
    """The latest forecasts, so that a restarted controller has something to show, and what
    calibration learnt from former ones, so that it goes on. Whole or not at all.
    """

    def save(self, demand: FleetDemand) -> None:
        """Replace the resource's forecast. Raises HistoryUnavailable."""
        ...

    def load(self) -> list[FleetDemand]:
        """What can be read; damage is left out."""
        ...

    def keep_calibration(self, resource: Resource, model: str, blob: bytes) -> None:
        """Replace a model's calibration; of others of the resource, some newest stay.

        Raises HistoryUnavailable. Retry: yes.
        """
        ...

    def calibration(self, resource: Resource, model: str) -> bytes | None:
        """What was kept for a model. Raises HistoryUnavailable."""
        ...


class ModelRegistry(Protocol):
    """Versions of trained models and which of them serves. Survives kill -9 at any instant.

    Each resource has a line of models that served, newest first, and another one of short models:
    its head is the champion. All methods raise ModelsUnavailable when the place cannot be read or
    written.
    """

    def add(self, info: ModelInfo, blob: bytes) -> None:
        """Keep a model as a challenger; it is there whole or not at all. Retry: yes.

        Raises ValueError when `info` does not describe `blob`, or another model has its id.
        """
        ...

    def models(self, resource: Resource | None = None) -> Sequence[ModelRecord]:
        """Newest first; those whose record is damaged are left out."""
        ...

    def model(self, model_id: str) -> ModelRecord:
        """Raises ModelNotFound."""
        ...

    def blob(self, model_id: str) -> bytes:
        """What it learnt, verified. Raises ModelNotFound, ModelCorrupt."""
        ...

    def line(self, resource: Resource, horizon: Horizon = Horizon.LONG) -> Sequence[str]:
        """Ids of the champion and, behind it, of those that served before it."""
        ...

    def promote(self, model_id: str) -> ModelRecord:
        """Make it the champion, if it can be loaded. Retry: yes.

        Raises ModelNotFound, ModelCorrupt.
        """
        ...

    def rollback(self, resource: Resource, horizon: Horizon = Horizon.LONG) -> ModelRecord | None:
        """Retire the champion; the former one serves again, or None: the built-in forecaster.

        Raises ModelNotFound when there is no champion. Retry: no, it goes back one further.
        """
        ...


class Trainer(Protocol):
    """Trains one model at a time, apart from the controller, and registers it."""

    def start(self, resource: Resource) -> None:
        """Begin; `poll` tells the end. Raises TrainingUnavailable, RuntimeError if one runs."""
        ...

    def poll(self) -> TrainingEnd | None:
        """How the training ended, told once; None: it goes on, or there is none."""
        ...

    def stop(self) -> None:
        """End what runs, at once; nobody is told. Never raises."""
        ...


class Document(Protocol[T]):
    """One small thing to remember over restarts."""

    def load(self) -> T:
        """The latest that was saved; the default when there is none, or none that can be read."""
        ...

    def save(self, value: T) -> None:
        """Replace it, whole or not at all; durable when it returns. Raises StoreUnavailable."""
        ...
