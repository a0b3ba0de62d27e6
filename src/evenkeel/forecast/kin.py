"""What VMs of the same kind do: asked once for a whole fleet, so that its pieces agree."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F32, F64, Ints
from evenkeel.domain.panel import Kin, Panel
from evenkeel.domain.quantiles import LEVELS, N_QUANTILES
from evenkeel.forecast.windows import last_known, mean_known

HOUR: Final = 12
DAY: Final = 288
WEEK: Final = 2016
"""In slots of five minutes; other grids are described by the same slot counts."""
_STRIDE: Final = 2 * HOUR


def kin_of(panels: Iterable[Panel]) -> Kin:
    """Of a fleet in pieces, each of which needs to hold the last day only; from the last slot of
    that day on every two hours are looked at.
    """
    kinds: list[str] = []
    samples, shares = [np.empty((0, DAY // _STRIDE))], [np.empty((3, 0))]
    for panel in panels:
        values = panel.values[:, -(WEEK + DAY) :]
        day = values[:, -DAY:]
        sample = np.full((len(day), DAY // _STRIDE), np.nan)
        looked_at = day[:, ::-1][:, ::_STRIDE]
        sample[:, : looked_at.shape[1]] = looked_at
        last = last_known(values)
        hour = mean_known(day[:, -HOUR:]) if day.shape[1] else last
        capacity = _unit(panel)
        samples.append(sample / capacity[:, None])
        shares.append(np.stack([last, hour, mean_known(day)]) / capacity)
        kinds += panel.kinds
    row_of = {kind: row for row, kind in enumerate(sorted(set(kinds)))}
    group = np.array([row_of[kind] for kind in kinds], dtype=np.intp)
    share = np.concatenate(shares, axis=1)
    fine = np.isfinite(share)

    def mean(k: int) -> F64:
        rows = group[fine[k]]
        total = np.bincount(rows, share[k][fine[k]], len(row_of))
        return total / np.maximum(np.bincount(rows, minlength=len(row_of)), 1)

    flat = np.concatenate(samples)
    known = ~np.isnan(flat)
    return Kin(
        row_of=row_of,
        quantiles=_quantiles(flat[known], np.nonzero(known)[0], group, len(row_of)),
        n_vms=np.bincount(group, minlength=len(row_of)).astype(np.float64),
        last=mean(0),
        hour=mean(1),
        day=mean(2),
    )


def of_kin(panel: Panel, kin: Kin) -> tuple[F32, F32]:
    """What each VM is told of its kind: quantiles (N, Q) in its own unit, and features (N, 3)."""
    group = np.array([kin.row_of[kind] for kind in panel.kinds], dtype=np.intp)
    quantiles = (kin.quantiles[group] * _unit(panel)[:, None]).astype(np.float32)
    usual = np.maximum(kin.day, 1e-9)
    named = np.array([kind != "" for kind in kin.row_of])
    features = np.stack(
        [
            np.log1p(kin.n_vms * named),
            np.clip(kin.last / usual, 0, 10),
            np.clip(kin.hour / usual, 0, 10),
        ],
        axis=1,
    )
    return quantiles, features[group].astype(np.float32)


def _quantiles(values: F64, of_vm: Ints, group: Ints, n_kinds: int) -> F32:
    owner = group[of_vm]
    order = np.lexsort((values, owner))
    ordered = values[order].astype(np.float32)
    count = np.bincount(owner, minlength=n_kinds)
    start = np.concatenate([[0], np.cumsum(count)[:-1]])
    at = np.maximum(count - 1, 0)[:, None] * LEVELS[None, :]
    index = np.minimum(start[:, None] + at.astype(np.intp), max(len(ordered) - 1, 0))
    table = ordered[index] if len(ordered) else np.full((n_kinds, N_QUANTILES), np.nan)
    return np.where(count[:, None] > 0, table, np.nan).astype(np.float32)


def _unit(panel: Panel) -> F64:
    return np.where(panel.capacity > 0, panel.capacity, 1.0)
