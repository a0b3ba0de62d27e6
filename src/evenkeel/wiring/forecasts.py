"""Puts telemetry history, models and forecasts together, for the controller and `train`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from evenkeel.adapters.clock import SystemClock
from evenkeel.adapters.cluster.workers import RayWorkers
from evenkeel.adapters.disk.document import JsonDocument
from evenkeel.adapters.history.parquet import ParquetHistory
from evenkeel.adapters.history.shelf import ParquetShelf
from evenkeel.adapters.metrics.promql import PromqlSource
from evenkeel.adapters.models.files import FileModelRegistry
from evenkeel.adapters.models.process import ProcessTrainer
from evenkeel.config import Config, ControllerConfig, ForecastConfig
from evenkeel.controller.forecasting import ForecastService
from evenkeel.controller.models import ModelService, Told
from evenkeel.controller.retraining import Retrainer, Tries
from evenkeel.controller.rollup import RollUps
from evenkeel.controller.ticks import tick_panel
from evenkeel.controller.watch import Watch
from evenkeel.domain.panel import DAY_S, Panel
from evenkeel.domain.resources import Resource
from evenkeel.forecast.catalogue import forecaster
from evenkeel.forecast.workers import Threads
from evenkeel.ports import Clock
from evenkeel.ports_history import PanelSource
from evenkeel.ports_store import Store

MOST_THREADS: Final = 4


def build_forecasts(
    settings: ForecastConfig,
    controller: ControllerConfig,
    store: Store,
    clock: Clock,
    config_file: Path | None = None,
) -> ForecastService | None:
    """None when `forecast.enabled` is off. `config_file` is handed on to trainings.

    Raises ConfigInvalid, HistoryUnavailable, ModelsUnavailable.
    """
    if not settings.enabled:
        return None
    state = Path(controller.state_dir)
    history = ParquetHistory(history_dir(settings, controller), settings.slot_s)
    rollups = RollUps(
        store, history, clock, settings.slot_s, settings.grace_s, controller.history_hours
    )
    source: PanelSource = history
    if settings.prometheus_url:
        source = PromqlSource(
            settings.prometheus_url, settings.slot_s, settings.prometheus_timeout_s
        )
    registry = FileModelRegistry(models_dir(settings, controller))
    told = JsonDocument(state / "champions.json", Told, dict)
    tries = JsonDocument(state / "trainings.json", Tries, dict)
    trainer = ProcessTrainer(
        state / "training",
        training_options(settings, controller, config_file),
        settings.retrain_timeout_s,
    )
    watch = Watch(
        ModelService(registry, store, clock, told),
        Retrainer(trainer, tries, history, registry, store, clock, settings),
        registry,
        store,
    )
    return ForecastService(
        source=source,
        registry=registry,
        shelf=ParquetShelf(Path(settings.forecasts_dir or state / "forecasts")),
        forecaster=forecaster,
        store=store,
        clock=clock,
        settings=settings,
        history=history,
        rollups=rollups,
        watch=watch,
        workers=Threads(n_threads(settings)),
        cluster=RayWorkers(settings.ray_address) if settings.ray_address else None,
    )


def training_options(
    settings: ForecastConfig, controller: ControllerConfig, config_file: Path | None
) -> Sequence[str]:
    """Of `evenkeel train`; what they do not say it takes from the same file and environment."""
    return (
        *("--history", str(history_dir(settings, controller).absolute())),
        *("--models", str(models_dir(settings, controller).absolute())),
        *("--slot-s", str(settings.slot_s)),
        *(("--model", settings.retrain_model) if settings.retrain_model else ()),
        *(("--config", str(config_file.absolute())) if config_file else ()),
    )


def n_threads(settings: ForecastConfig) -> int:
    return settings.n_threads or min(MOST_THREADS, len(os.sched_getaffinity(0)))


def history_dir(settings: ForecastConfig, controller: ControllerConfig) -> Path:
    return Path(settings.history_dir or Path(controller.state_dir) / "history")


def models_dir(settings: ForecastConfig, controller: ControllerConfig) -> Path:
    return Path(settings.models_dir or Path(controller.state_dir) / "models")


def open_history(config: Config, root: Path | None, slot_s: int | None) -> ParquetHistory:
    """For commands that work on files, beside a running controller or without one."""
    chosen = root or history_dir(config.forecast, config.controller)
    return ParquetHistory(chosen, slot_s or config.forecast.slot_s)


def read_ticks(config: Config, days: float, resource: Resource) -> Panel:
    """What the controller's store still has of the agents' ticks, beside it or without it.

    Raises ConfigInvalid, StoreUnavailable, HistoryTooShort.
    """
    from evenkeel.adapters.store.store import SqlStore

    now_s = SystemClock().wall_s()
    span_s = min(days * DAY_S, config.controller.history_hours * 3600)
    store = SqlStore(config.controller.database_url)
    try:
        return tick_panel(store, resource, now_s - span_s, now_s)
    finally:
        store.close()


def open_registry(config: Config, root: Path | None) -> FileModelRegistry:
    return FileModelRegistry(root or models_dir(config.forecast, config.controller))
