"""From a host's physics and what was measured on it to the evidence behind its map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64
from evenkeel.domain.ids import VmId
from evenkeel.domain.resources import CPU_AXIS
from evenkeel.interference.attribution import Pressing, blame
from evenkeel.interference.counterfactual import SharedCores
from evenkeel.interference.evidence import Evidence, Pool, unexplained, weigh
from evenkeel.interference.hazards import Load
from evenkeel.interference.window import Window

ENOUGH_ROWS: Final = 3.0
"""Effective number of rows from which on coverage no longer limits confidence."""
TINY: Final = 1e-12
Findings = Mapping[tuple[VmId, VmId], float]
"""Log odds that experiments gave (victim, suspect) pairs: > 0 confirmed, < 0 cleared."""


def odds_of(window: Window, findings: Findings) -> F64 | None:
    """(N, N) log odds of [victim, suspect], 0 where no experiment was made; None without any."""
    where = {vm.id: i for i, vm in enumerate(window.vms)}
    known = [(v, s) for v, s in findings if v in where and s in where]
    if not known:
        return None
    out = np.zeros((len(where), len(where)))
    for victim, suspect in known:
        out[where[victim], where[suspect]] = findings[victim, suspect]
    return out


def after_experiments(load: Load, log_odds: F64 | None) -> Load:
    """Blame moves to suspects that were confirmed, away from those that were cleared."""
    if log_odds is None:
        return load
    return replace(load, meeting=_meeting(load)[None] * np.exp(log_odds)[None])


def host_evidence(
    loads: Sequence[Load],
    background: F64,
    window: Window,
    row_weights: F64,
    n_cpus: int,
    score: F64,
    measured: F64,
    log_odds: F64 | None = None,
) -> Evidence:
    """Who did it, by resource, and how sure that is.

    `loads` of one host in the window's rows, its background (T, R), the map's `score`
    (R, N, N + 2) and the `measured` loss (R, N) that is to be split.
    """
    n_resources, n = measured.shape
    culprit, attributed = np.zeros((2, n_resources, n, n + 3))
    without = np.zeros((n_resources, n, n + 2))
    for r, load in enumerate(loads):
        if not score[r].any() and not measured[r].any():
            continue
        pool = _pool(load, background[:, r], window, r, score[r], row_weights, n_cpus)
        if log_odds is not None:
            meeting = _meeting(load) * np.exp(log_odds)
            pool = replace(pool, share=blame(pool.presses, meeting))
        split = weigh(pool, row_weights, measured[r], log_odds)
        attributed[r], culprit[r], without[r] = split
        culprit[r] *= _coverage(window.loss[:, :, r], row_weights)[:, None]
    inside = unexplained(window.inside_loss, window.loss, row_weights)
    return Evidence(attributed, culprit, without, inside)


def _pool(
    load: Load,
    background: F64,
    window: Window,
    r: int,
    score: F64,
    row_weights: F64,
    n_cpus: int,
) -> Pool:
    demand, lost = load.demand[0], load.lost[0]
    if load.floor is not None:
        lost = np.maximum(lost, load.floor[0] * demand)
    meeting = _meeting(load)
    told = Pressing(load.pressing.vms[:1], load.pressing.host[:1], load.pressing.own[:1])
    cores = None
    if r == CPU_AXIS and load.reach is not None and n_cpus:
        n_vcpus = np.array([float(max(1, vm.n_vcpus)) for vm in window.vms])
        cores = SharedCores(
            demand, background, meeting, load.weight[0], n_vcpus, load.reach[0], n_cpus
        )
    wanted = row_weights @ demand
    return Pool(
        loss=np.divide(lost, demand, out=np.zeros_like(lost), where=demand > TINY),
        measured=window.loss[:, :, r],
        share=blame(told, meeting),
        blamed=score / 100.0,
        presses=told,
        floor=np.minimum(load.shard / np.maximum(wanted, 2.0 * load.shard), 0.5),
        known_norm=~np.isnan(window.norm()[:, r]),
        cores=cores,
    )


def _meeting(load: Load) -> F64:
    return 1.0 - np.eye(load.demand.shape[2]) if load.meeting is None else load.meeting[0]


def _coverage(loss: F64, row_weights: F64) -> F64:
    """(N,) how far there are enough rows in which a VM's loss was measured, 0 to 1."""
    weight = row_weights[:, None] * ~np.isnan(loss)
    squares = (weight**2).sum(axis=0)
    n_effective = np.divide(
        weight.sum(axis=0) ** 2, squares, out=np.zeros_like(squares), where=squares > 0
    )
    return np.asarray(np.minimum(1.0, n_effective / ENOUGH_ROWS))
