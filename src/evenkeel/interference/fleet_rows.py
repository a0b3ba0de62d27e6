"""Rows of joint demand for a whole fleet, from the quantiles of its forecasts."""

from __future__ import annotations

from typing import Final

import numpy as np

from evenkeel.domain.arrays import F32
from evenkeel.domain.quantiles import MEDIAN, QUANTILES
from evenkeel.interference.fleet import FleetRows
from evenkeel.interference.rows import levels_like

FLEET_ROWS: Final = 8


def fleet_rows(
    quantiles: F32, background: F32, n_rows: int = FLEET_ROWS, loss: F32 | None = None
) -> FleetRows:
    """Stratified rows: each VM and resource takes every stratum of its own distribution once.

    quantiles (H, N, R, Q), 0 at empty places; background (H, R). VMs of a host are taken as
    independent of one another: slots of minutes do not say who moves together within seconds. The
    median is the norm that surges are told by.
    """
    n_hosts, n, n_resources, n_q = quantiles.shape
    at = (np.arange(n_rows) + 0.5) / n_rows
    to_rows = np.array([np.interp(at, QUANTILES, unit) for unit in np.eye(n_q)], np.float32)
    of_stratum = quantiles.reshape(-1, n_q) @ to_rows
    of_stratum = of_stratum.reshape(n_hosts, n, n_resources, n_rows)
    levels = levels_like(np.zeros((1, n, n_resources)), n_rows)
    stratum = np.floor(levels * n_rows).astype(np.intp)
    demand = np.empty((n_hosts, n_resources, n_rows, n), np.float32)
    for vm in range(n):
        for r in range(n_resources):
            demand[:, r, :, vm] = of_stratum[:, vm, r, stratum[:, vm, r]]
    return FleetRows(
        demand=demand,
        background=np.repeat(background[:, :, None], n_rows, axis=2),
        norm=np.ascontiguousarray(quantiles[..., MEDIAN]),
        loss=loss,
    )
