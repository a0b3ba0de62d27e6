"""The latest forecasts as Parquet, one file a resource: `<root>/cpu.parquet`."""

from __future__ import annotations

import logging
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from evenkeel.adapters.disk.whole import sweep, write_whole
from evenkeel.adapters.history import arrow
from evenkeel.adapters.history.columns import write_tables
from evenkeel.domain.errors import HistoryUnavailable
from evenkeel.domain.rdv import FleetDemand
from evenkeel.domain.resources import AXIS

_log = logging.getLogger(__name__)


class ParquetShelf:
    """See `evenkeel.ports_history.ForecastShelf`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        if root.is_dir():
            sweep(root)

    def save(self, demand: FleetDemand) -> None:
        table = arrow.to_table(demand)
        path = self._root / f"{demand.resource.value}.parquet"
        try:
            write_whole(path, lambda file: write_tables([table], table.schema, file))
        except (OSError, pa.ArrowException) as error:
            raise HistoryUnavailable(f"the forecast could not be written: {error}") from error

    def load(self) -> list[FleetDemand]:
        found = []
        for resource in AXIS:
            path = self._root / f"{resource.value}.parquet"
            try:
                demand = arrow.from_table(pq.read_table(path, partitioning=None))
            except FileNotFoundError:
                continue
            except (OSError, ValueError, KeyError, pa.ArrowException) as error:
                _log.warning("the forecast %s cannot be read: %s", path, error)
                continue
            if demand is not None and demand.resource is resource:
                found.append(demand)
        return found
