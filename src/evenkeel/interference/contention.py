"""The contention map: every directed pair on a host with a calibrated score, from a window.

score = 100 * probability * severity: over the window's rows, weighted by recency, the
probability that the victim's loss is material (at least one shard) and the mean share of its demand
that it then loses because of the aggressor. The next `horizon_s` is forecast to be like the
recency-weighted window; demand forecasts will take that place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64
from evenkeel.domain.host import Host
from evenkeel.domain.ids import HOST_ITSELF, VmId
from evenkeel.domain.resources import (
    AXIS,
    CPU_AXIS,
    N_RESOURCES,
    SPECS,
    Resource,
)
from evenkeel.domain.score import PRESENT_S, PairScore
from evenkeel.domain.vm import CpuTuning, Vm
from evenkeel.interference.attribution import blame
from evenkeel.interference.physics import CpuLoss, cpu_loss, cpu_shape, fluid_loss
from evenkeel.interference.window import Window

HORIZON_S: Final = PRESENT_S
ENOUGH_ROWS: Final = 3.0
"""Effective number of rows from which on coverage no longer limits confidence."""
DEFAULT_SHARES: Final = 1024.0
MIN_SCORE: Final = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class ContentionMap:
    """All directed pairs of a host. Axis `who` has n_vms + 2 entries: the VMs, the host, oneself.

    `score` (R, N, N + 2), `probability` `predicted` `measured` (R, N): chance of a material loss,
    expected and lately measured share of demand lost in material rows. `confidence` (R, N).
    """

    host: Host
    at_s: float
    vms: tuple[Vm, ...]
    score: F64
    probability: F64
    predicted: F64
    measured: F64
    confidence: F64
    window_s: float
    n_rows: int
    horizon_s: float = HORIZON_S

    def pairs(self, min_score: float = MIN_SCORE) -> tuple[PairScore, ...]:
        """Pairs (and host -> VM) at or above `min_score`, worst first; ties by id."""
        n = len(self.vms)
        found = np.argwhere(self.score[:, :, : n + 1] >= min_score)
        out = [
            PairScore(
                victim=self.vms[i].id,
                aggressor=HOST_ITSELF if j == n else self.vms[j].id,
                resource=AXIS[r],
                score=round(float(self.score[r, i, j]), 2),
                probability=round(float(self.probability[r, i]), 4),
                severity=round(float(self.score[r, i, j] / 100 / self.probability[r, i]), 4),
                confidence=round(float(self.confidence[r, i]), 3),
                window_s=self.window_s,
                n_samples=self.n_rows,
                horizon_s=self.horizon_s,
            )
            for r, i, j in found
        ]
        return tuple(sorted(out, key=lambda p: (-p.score, p.victim, p.aggressor, p.resource)))


def score_host(window: Window, host: Host, half_life_s: float) -> ContentionMap:
    """Score all pairs on a host from its window. Never raises; an empty window scores nothing."""
    n = len(window.vms)
    score = np.zeros((N_RESOURCES, n, n + 2))
    probability, predicted = np.zeros((N_RESOURCES, n)), np.zeros((N_RESOURCES, n))
    measured, confidence = np.zeros((N_RESOURCES, n)), np.zeros((N_RESOURCES, n))
    row_weights = window.weights(half_life_s)
    if n and len(row_weights):
        norm = window.norm()
        n_effective = 1.0 / float((row_weights**2).sum())
        coverage = min(1.0, n_effective / ENOUGH_ROWS)
        for r, resource in enumerate(AXIS):
            demand, lost, meeting, weight, capacity = _pool(resource, window, host, row_weights)
            shard = SPECS[resource].shard
            loss = np.divide(lost, demand, out=np.zeros_like(lost), where=demand > 0)
            material = (lost >= shard) * row_weights[:, None]
            probability[r] = material.sum(axis=0)
            predicted[r] = (material * loss).sum(axis=0)
            measured[r] = _measured(window, r, demand, shard, row_weights)
            if not probability[r].any():
                confidence[r] = coverage
                continue
            background = np.nan_to_num(window.background[:, r])
            share = blame(demand, background, norm[:, r], weight, meeting, capacity, shard)
            score[r] = 100.0 * np.einsum("tn,tnj->nj", material * loss, share)
            confidence[r] = coverage * _agreement(predicted[r], measured[r]) * _distinct(score[r])
    return ContentionMap(
        host=host,
        at_s=float(window.at_s[-1]) if len(window.at_s) else 0.0,
        vms=window.vms,
        score=score,
        probability=probability,
        predicted=predicted,
        measured=measured,
        confidence=confidence,
        window_s=window.window_s,
        n_rows=len(window.at_s),
    )


def cpu_demand(window: Window) -> F64:
    """(T, N) cores a VM presses for: runnable time less what its own limits hold back."""
    wanted = window.demand[:, :, CPU_AXIS]
    held = window.self_limited[:, :, CPU_AXIS]
    return np.asarray(np.nan_to_num(wanted) - np.nan_to_num(held), dtype=np.float64)


def cpu_loss_with(
    window: Window,
    host: Host,
    row_weights: F64,
    changed: dict[VmId, CpuTuning],
) -> tuple[CpuLoss, F64]:
    """CPU physics under other tunings of some VMs: what-if, and what-if-we-undo.

    Returns the loss and the (T, N) demand it was computed for. A VM whose tuning changes is taken
    at its full demand, since a new limit may free what the old one held back.
    """
    tunings = [changed.get(vm.id, vm.tuning) for vm in window.vms]
    demand = cpu_demand(window)
    for i, vm in enumerate(window.vms):
        if vm.id in changed:
            demand[:, i] = np.nan_to_num(window.demand[:, i, CPU_AXIS])
    shape = cpu_shape(
        host_cpus=host.cpus,
        cpusets=[tuning.cpuset for tuning in tunings],
        weight=np.array([float(t.shares or DEFAULT_SHARES) for t in tunings]),
        n_vcpus=np.array([float(vm.n_vcpus) for vm in window.vms]),
        quota_cores=np.array([t.quota_cores for t in tunings]),
    )
    background = np.nan_to_num(window.background[:, CPU_AXIS])
    return cpu_loss(demand, background, shape, row_weights), demand


Pool = tuple[F64, F64, F64, F64, float]


def _pool(resource: Resource, window: Window, host: Host, row_weights: F64) -> Pool:
    """Demand (T, N), lost (T, N), meeting (N, N), weight (N,) and capacity of one resource."""
    n = len(window.vms)
    if resource is Resource.CPU:
        result, demand = cpu_loss_with(window, host, row_weights, {})
        weight = np.array([float(vm.tuning.shares or DEFAULT_SHARES) for vm in window.vms])
        return demand, result.lost, result.meeting, weight, float(len(host.cpus))
    return _fluid_pools[resource](window, host, 1.0 - np.eye(n))


def _fluid_pool(resource: Resource) -> Callable[[Window, Host, F64], Pool]:
    axis = AXIS.index(resource)

    def pool(window: Window, host: Host, meeting: F64) -> Pool:
        demand = np.nan_to_num(window.demand[:, :, axis])
        weight = np.ones(len(window.vms))
        capacity = host.net_mbit_s if resource is Resource.NET else host.iops
        if resource is Resource.MEMORY:
            weight = np.array([max(vm.memory_mib, 1.0) for vm in window.vms])
            capacity = host.memory_mib
        # Where the capacity is not known, or hides behind caches, loss that was measured is
        # expected to go on: persistence is the physics of an unknown pool.
        lost = np.nan_to_num(window.loss[:, :, axis]) * demand
        if capacity:
            background = np.nan_to_num(window.background[:, axis])
            left = np.maximum(capacity - background, 0.0)
            lost = np.maximum(lost, fluid_loss(demand, weight, left))
        total = float(capacity or demand.sum(axis=1).max(initial=0.0))
        return demand, lost, meeting, weight, total

    return pool


_fluid_pools = {r: _fluid_pool(r) for r in AXIS if r is not Resource.CPU}


def _measured(window: Window, axis: int, demand: F64, shard: float, row_weights: F64) -> F64:
    """(N,) measured loss in material rows, weighted as the prediction is; NaN counts as none."""
    loss = np.nan_to_num(window.loss[:, :, axis])
    material = loss * demand >= shard
    return np.asarray((material * loss * row_weights[:, None]).sum(axis=0), dtype=np.float64)


def _agreement(predicted: F64, measured: F64) -> F64:
    """(N,) 1 where prediction and measurement agree, towards 0 where they do not."""
    gap = np.abs(predicted - measured)
    return np.asarray(1.0 - gap / np.maximum(np.maximum(predicted, measured), 0.05))


def _distinct(score: F64) -> F64:
    """(N,) 1 with a single culprit, towards .5 with many alike (Herfindahl index of blame)."""
    total = score.sum(axis=1)
    share = np.divide(score, total[:, None], out=np.zeros_like(score), where=total[:, None] > 0)
    return np.asarray(0.5 + 0.5 * (share**2).sum(axis=1))
