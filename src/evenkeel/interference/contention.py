"""The contention map: every directed pair on a host with a calibrated score, from a window.

score = 100 * probability * severity: over the window's rows, weighted by recency, the
probability that the victim's loss is material (at least one shard) and the mean share of its demand
that it then loses because of the aggressor. The next `horizon_s` is forecast to be like the
recency-weighted window, or, for scores ahead, to bring the demand that is forecast.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F32, F64
from evenkeel.domain.host import Host
from evenkeel.domain.ids import HOST_ITSELF, VmId
from evenkeel.domain.resources import (
    AXIS,
    CPU_AXIS,
    N_RESOURCES,
    SPECS,
    Resource,
)
from evenkeel.domain.score import PairScore
from evenkeel.domain.vm import CpuTuning, Vm
from evenkeel.interference.cores import cut
from evenkeel.interference.hazards import Load, Traits, compose, cpu_load, fluid_load
from evenkeel.interference.physics import Cores, CpuLoss, cpu_loss, cpu_shape
from evenkeel.interference.rows import Rows, ahead, present
from evenkeel.interference.window import Window

HORIZON_S: Final = 5.0
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


def score_host(
    window: Window, host: Host, half_life_s: float, traits: Traits | None = None
) -> ContentionMap:
    """Score all pairs on a host from its window. Never raises; an empty window scores nothing."""
    rows = present(window, half_life_s)
    return score_loads(rows, host_loads(rows, host), window, host, half_life_s, traits)


def score_ahead(
    quantiles: F32 | F64,
    horizon_s: float,
    window: Window,
    now: ContentionMap,
    half_life_s: float,
    traits: Traits | None = None,
) -> ContentionMap:
    """Score all pairs of a host as they will stand `horizon_s` from `now`, from forecast demand.

    quantiles (N, R, Q) of each of the window's VMs at that time, from the host's own forecasts or
    the controller's slots; NaN where there is none, and demand is expected to stay. How well the
    map of `now` agrees with what was measured says how far this one can be trusted.
    """
    rows = ahead(quantiles, window, half_life_s)
    loads = host_loads(rows, now.host)
    scored = score_loads(rows, loads, window, now.host, half_life_s, traits, now)
    return replace(scored, horizon_s=horizon_s)


def score_loads(
    rows: Rows,
    loads: Sequence[Load],
    window: Window,
    host: Host,
    half_life_s: float,
    traits: Traits | None,
    now: ContentionMap | None = None,
) -> ContentionMap:
    """The map that rows and their physics (`host_loads`) give. `window` says what was measured.

    Trust in it comes from the map itself, or from that of `now`.
    """
    n = len(rows.vms)
    score = np.zeros((N_RESOURCES, n, n + 2))
    probability, predicted = np.zeros((N_RESOURCES, n)), np.zeros((N_RESOURCES, n))
    measured, confidence = np.zeros((N_RESOURCES, n)), np.zeros((N_RESOURCES, n))
    recency = window.weights(half_life_s)
    coverage = min(1.0, 1.0 / float((recency**2).sum()) / ENOUGH_ROWS) if len(recency) else 0.0
    for r, load in enumerate(loads):
        s = None if traits is None else traits.sensitivity[None, :, r]
        p = None if traits is None else traits.pressure[None, :, r]
        found = compose(load, rows.weights[None], s, p)
        probability[r], predicted[r] = found.probability[0], found.predicted[0]
        measured[r] = _measured(window, r, load.shard, recency)
        score[r, :, :n], score[r, :, n], score[r, :, n + 1] = (
            found.score[0],
            found.host[0],
            found.own[0],
        )
        confidence[r] = coverage
        if probability[r].any():
            said = predicted[r] if now is None else now.predicted[r]
            confidence[r] = coverage * _agreement(said, measured[r]) * _distinct(score[r])
    return ContentionMap(
        host=host,
        at_s=float(window.at_s[-1]) if len(window.at_s) else 0.0,
        vms=rows.vms,
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


def host_loads(rows: Rows, host: Host) -> tuple[Load, ...]:
    """The physics of each resource, in the order of `AXIS`; none where there are no VMs or rows.

    Where a capacity is not known, or hides behind caches, loss that was measured is expected to
    go on: persistence is the physics of an unknown pool.
    """
    n = len(rows.vms)
    if not n or not len(rows.weights):
        return ()
    row_weights, n_vms = rows.weights[None], np.array([float(n)])
    background = np.nan_to_num(rows.background)[None]
    seen_loss = np.nan_to_num(rows.loss)[None]
    wanted = np.nan_to_num(rows.demand)[None]
    out = []
    for r, resource in enumerate(AXIS):
        shard, norm = SPECS[resource].shard, rows.norm[None, :, r]
        if r == CPU_AXIS:
            pressed = wanted[..., r] - np.nan_to_num(rows.held[None, ..., r])
            floor = None if host.cpus else seen_loss[..., r]
            cores = _cores(host, rows.vms)
            load = cpu_load(
                pressed, background[..., r], cores, row_weights, norm, n_vms, shard, floor
            )
        else:
            load = fluid_load(
                wanted[..., r],
                background[..., r],
                fluid_weight(resource, rows.vms)[None],
                np.array([capacity_of(resource, host)]),
                norm,
                n_vms,
                shard,
                seen_loss[..., r],
            )
        out.append(load)
    return tuple(out)


def capacity_of(resource: Resource, host: Host) -> float:
    """What a host has to share out of a fluid, in its unit; 0: nobody knows."""
    if resource is Resource.MEMORY:
        return host.memory_mib
    return (host.net_mbit_s if resource is Resource.NET else host.iops) or 0.0


def fluid_weight(resource: Resource, vms: Sequence[Vm]) -> F64:
    """(N,) weights that a fluid is shared out by: memory by size, the rest alike."""
    if resource is Resource.MEMORY:
        return np.array([max(vm.memory_mib, 1.0) for vm in vms])
    return np.ones(len(vms))


def cpu_weight(vms: Sequence[Vm]) -> F64:
    """(N,) scheduler weights."""
    return np.array([max(float(vm.tuning.shares or DEFAULT_SHARES), 1.0) for vm in vms])


def _cores(host: Host, vms: Sequence[Vm]) -> Cores:
    atoms = cut(host.cpus, [vm.tuning.cpuset for vm in vms])
    return Cores(
        weight=cpu_weight(vms)[None],
        n_vcpus=np.array([[max(float(vm.n_vcpus), 1.0) for vm in vms]]),
        quota_cores=np.array([[vm.tuning.quota_cores for vm in vms]]),
        allowed=atoms.allowed[None],
        sizes=atoms.sizes[None],
    )


def _measured(window: Window, axis: int, shard: float, row_weights: F64) -> F64:
    """(N,) measured loss in material rows, weighted as the prediction is; NaN counts as none."""
    loss = np.nan_to_num(window.loss[:, :, axis])
    demand = np.nan_to_num(window.demand[:, :, axis])
    if axis == CPU_AXIS:
        demand = cpu_demand(window)
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
