"""Puts telemetry history, models and forecasts together, for the controller and `train`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from evenkeel.adapters.history.parquet import ParquetHistory
from evenkeel.adapters.history.shelf import ParquetShelf
from evenkeel.adapters.metrics.promql import PromqlSource
from evenkeel.adapters.models.files import FileModelRegistry
from evenkeel.config import Config, ControllerConfig, ForecastConfig
from evenkeel.controller.forecasting import ForecastService
from evenkeel.controller.rollup import RollUps
from evenkeel.forecast.catalogue import forecaster
from evenkeel.ports import Clock
from evenkeel.ports_history import PanelSource
from evenkeel.ports_store import Store

MOST_THREADS: Final = 4


def build_forecasts(
    settings: ForecastConfig, controller: ControllerConfig, store: Store, clock: Clock
) -> ForecastService | None:
    """None when `forecast.enabled` is off.

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
    return ForecastService(
        source=source,
        registry=FileModelRegistry(models_dir(settings, controller)),
        shelf=ParquetShelf(Path(settings.forecasts_dir or state / "forecasts")),
        forecaster=forecaster,
        store=store,
        clock=clock,
        settings=settings,
        history=history,
        rollups=rollups,
        n_threads=n_threads(settings),
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


def open_registry(config: Config, root: Path | None) -> FileModelRegistry:
    return FileModelRegistry(root or models_dir(config.forecast, config.controller))
