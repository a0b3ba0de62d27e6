"""The latest forecasts as Parquet, one file a resource: `<root>/cpu.parquet`.

Calibrations lie beside them, one file a model: `<root>/calibration/cpu/<model>.npz`.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from evenkeel.adapters.disk.whole import sweep, write_whole
from evenkeel.adapters.history import arrow
from evenkeel.adapters.history.columns import write_tables
from evenkeel.domain.errors import HistoryUnavailable
from evenkeel.domain.rdv import FleetDemand
from evenkeel.domain.resources import AXIS, Resource

CALIBRATIONS: Final = 4
"""So many models of a resource are remembered: who served lately may serve again."""
_log = logging.getLogger(__name__)


class ParquetShelf:
    """See `evenkeel.ports_history.ForecastShelf`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        for folder in (root, *(self._calibrations(resource) for resource in AXIS)):
            if folder.is_dir():
                sweep(folder)

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

    def keep_calibration(self, resource: Resource, model: str, blob: bytes) -> None:
        folder = self._calibrations(resource)
        with _translated("written"):
            write_whole(folder / f"{model}.npz", lambda file: file.write(blob))
            files = sorted(folder.glob("[!.]*.npz"), key=lambda path: path.stat().st_mtime_ns)
            for path in files[:-CALIBRATIONS]:
                path.unlink(missing_ok=True)

    def calibration(self, resource: Resource, model: str) -> bytes | None:
        with _translated("read"):
            try:
                return (self._calibrations(resource) / f"{model}.npz").read_bytes()
            except FileNotFoundError:
                return None

    def _calibrations(self, resource: Resource) -> Path:
        return self._root / "calibration" / resource.value


@contextlib.contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HistoryUnavailable(f"the calibration could not be {what}: {error}") from error
