"""A VM's ticks as at most so many points: the mean over equal spans of ticks."""

from __future__ import annotations

import numpy as np

from evenkeel.api.schemas import SeriesOut
from evenkeel.domain.arrays import F64
from evenkeel.domain.ids import VmId
from evenkeel.domain.resources import SPECS, Resource, axis_of
from evenkeel.records import VmSeries

MAX_POINTS = 5000


def series_out(vm: VmId, resource: Resource, series: VmSeries, max_points: int) -> SeriesOut:
    """Means over unknown values leave these out; all unknown stays unknown (null)."""
    values = series.values[:, :, axis_of(resource)]
    at_s, means = _thinned(series.at_s, values, max_points)
    columns = [_listed(means[:, k]) for k in range(4)]
    return SeriesOut(
        vm=vm,
        resource=resource,
        unit=SPECS[resource].unit,
        at_s=[round(float(t), 3) for t in at_s],
        demand=columns[0],
        usage=columns[1],
        loss=columns[2],
        self_limited=columns[3],
    )


def _thinned(at_s: F64, values: F64, max_points: int) -> tuple[F64, F64]:
    if len(at_s) <= max_points:
        return at_s, values
    edges = np.linspace(0, len(at_s), max_points + 1).astype(int)[:-1]
    known = ~np.isnan(values)
    n_known = np.add.reduceat(known.astype(np.float64), edges, axis=0)
    total = np.add.reduceat(np.where(known, values, 0.0), edges, axis=0)
    means = np.divide(total, n_known, out=np.full_like(total, np.nan), where=n_known > 0)
    n_ticks = np.diff(np.append(edges, len(at_s)))
    return np.add.reduceat(at_s, edges) / n_ticks, means


def _listed(column: F64) -> list[float | None]:
    return [None if value != value else round(float(value), 5) for value in column]
