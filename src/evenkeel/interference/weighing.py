"""What the evidence of a host is weighed by, put together from its rows, loads and experiments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64
from evenkeel.domain.host import Host
from evenkeel.domain.ids import VmId
from evenkeel.interference.attribution import Pressing, blame
from evenkeel.interference.counterfactual import SharedCores
from evenkeel.interference.evidence import Pool
from evenkeel.interference.hazards import Composed, Load, Traits, met_by
from evenkeel.interference.loads import cpu_weight
from evenkeel.interference.rows import Rows
from evenkeel.interference.window import Window

ENOUGH_ROWS: Final = 3.0
"""Effective number of rows from which on coverage no longer limits confidence."""

Findings = Mapping[tuple[VmId, VmId], float]
"""Log odds that experiments gave (victim, suspect) pairs: > 0 confirmed, < 0 cleared."""


def pool_of(
    axis: int,
    load: Load,
    found: Composed,
    share: F64,
    score: F64,
    rows: Rows,
    host: Host,
    window: Window,
) -> Pool:
    """One resource's evidence: its load before experiments, what it came to, its blame `share`
    (T, N, N + 2) and its scores (N, N + 2)."""
    demand = load.demand[0]
    presses = load.pressing.on(0)
    cores = None
    if load.reach is not None and host.cpus:
        cores = SharedCores(
            demand=demand,
            background=np.nan_to_num(rows.background[:, axis]),
            meeting=met_by(load)[0],
            weight=cpu_weight(rows.vms),
            n_vcpus=np.array([float(max(1, vm.n_vcpus)) for vm in rows.vms]),
            reach=load.reach[0],
            n_cpus=len(host.cpus),
        )
    return Pool(
        loss=found.loss[0],
        measured=window.loss[:, :, axis],
        share=share,
        blamed=score / 100.0,
        presses=presses,
        floor=_floor(demand, rows.weights, load.shard),
        known_norm=~np.isnan(rows.norm[:, axis]),
        cores=cores,
    )


def blamed(axis: int, load: Load, traits: Traits | None) -> F64:
    """(T, N, N + 2) blame, row by row, of a load after experiments."""
    presses = load.pressing.on(0)
    if traits is not None:
        presses = Pressing(presses.vms * traits.pressure[:, axis], presses.host, presses.surge)
    return blame(presses, met_by(load)[0])


def log_odds(window: Window, findings: Findings) -> F64:
    """(N, N) log odds of [victim, suspect]; 0 where no experiment was made."""
    where = {vm.id: i for i, vm in enumerate(window.vms)}
    out = np.zeros((len(where), len(where)))
    for (victim, suspect), odds in findings.items():
        if victim in where and suspect in where:
            out[where[victim], where[suspect]] = odds
    return out


def coverage(loss: F64, row_weights: F64) -> F64:
    """How far there are enough rows in which losses (T, ...) were measured, 0 to 1 each."""
    weight = row_weights.reshape(-1, *[1] * (loss.ndim - 1)) * ~np.isnan(loss)
    squares = (weight**2).sum(axis=0)
    n_effective = np.divide(
        weight.sum(axis=0) ** 2, squares, out=np.zeros_like(squares), where=squares > 0
    )
    return np.asarray(np.minimum(1.0, n_effective / ENOUGH_ROWS))


def _floor(demand: F64, row_weights: F64, shard: float) -> F64:
    """(N,) a shard as a share of what a VM wants: the least loss that is a harm."""
    mean = row_weights @ demand
    return np.asarray(np.minimum(shard / np.maximum(mean, 2.0 * shard), 0.5))
