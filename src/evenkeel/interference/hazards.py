"""Losses composed over neighbours and traits, for B hosts at once: the heart of every score.

The hazard of a loss L is `-log(1 - L)`, the log of the slowdown. Hazards add up over neighbours:
h_i = sum_j s_i p_j phys_ij, where phys_ij is the part of the physical hazard that attribution
lays on j, s a victim's sensitivity and p an aggressor's pressure (1: as physics says; the host
itself and the victim's own surge press with 1). L_i = 1 - exp(-h_i), and j's part of it is
L_i h_ij / h_i, so that parts add up to the loss. With traits of 1 nothing but the physics is left.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64
from evenkeel.interference.attribution import Pressing, pressing
from evenkeel.interference.physics import SOME_SHARE, Cores, fluid_loss, lost_cores, meeting

MOST_LOSS: Final = 1.0 - 1e-6
"""A VM that gets nothing at all has no finite hazard; it counts as losing this much."""
NOBODY: Final = 1e-9
"""Less than this share of all pressing is rounding."""


@dataclass(frozen=True, slots=True, eq=False)
class Load:
    """One resource of B hosts in T rows, padded to N VMs.

    `demand` and `lost` (B, T, N): what physics says of it, in the resource's unit. `floor`
    (B, T, N): loss that is expected to go on whatever physics says, None: none. `meeting`
    (B, N, N): how much j meets i, None: all meet all. `shard`: what makes a loss material.
    `reach` (B, N): CPUs that each VM runs on, None where it is not about CPUs.
    """

    demand: F64
    lost: F64
    floor: F64 | None
    pressing: Pressing
    meeting: F64 | None
    shard: float
    reach: F64 | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Traits:
    """`sensitivity` and `pressure` (N, R), or (B, N, R), of VMs; 1 is as physics says."""

    sensitivity: F64
    pressure: F64


@dataclass(frozen=True, slots=True, eq=False)
class Composed:
    """Of one resource: `score` (B, N, N) [victim, aggressor], `host` and `own` (B, N) the scores
    of the host itself and of a victim's own surge; `probability` and `predicted` (B, N); `loss`
    (B, T, N), row by row."""

    score: F64
    host: F64
    own: F64
    probability: F64
    predicted: F64
    loss: F64


def cpu_load(
    demand: F64,
    background: F64,
    cores: Cores,
    row_weights: F64,
    norm: F64,
    n_vms: F64,
    host_norm: F64,
    shard: float,
    floor: F64 | None = None,
) -> Load:
    """CPU: demand (B, T, N), background and row_weights (B, T), norm (B, N), n_vms and the usual
    background `host_norm` (B,)."""
    lost, share = lost_cores(demand, background, cores, row_weights)
    capacity = cores.sizes.sum(axis=1)
    pressed = pressing(demand, background, norm, cores.weight, capacity, shard, n_vms, host_norm)
    met = None if cores.sizes.shape[1] == 1 else meeting(share)
    reach = ((share > SOME_SHARE) * cores.sizes[:, None]).sum(axis=2)
    return Load(demand, lost, floor, pressed, met, shard, reach)


def fluid_load(
    demand: F64,
    background: F64,
    weight: F64,
    capacity: F64,
    norm: F64,
    n_vms: F64,
    host_norm: F64,
    shard: float,
    floor: F64 | None,
) -> Load:
    """A fluid of `capacity` (B,), 0 where nobody knows it; weight (B, N), the rest as for CPU."""
    n_hosts, n_rows, n = demand.shape
    known = (capacity > 0)[:, None]
    left = np.where(known, np.maximum(capacity[:, None] - background, 0.0), np.inf)
    weights = np.broadcast_to(weight[:, None], demand.shape)
    lost = fluid_loss(demand.reshape(-1, n), weights.reshape(-1, n), left.reshape(-1))
    total = np.where(capacity > 0, capacity, demand.sum(axis=2).max(axis=1, initial=0.0))
    pressed = pressing(demand, background, norm, weight, total, shard, n_vms, host_norm)
    return Load(demand, lost.reshape(n_hosts, n_rows, n), floor, pressed, None, shard)


def compose(
    load: Load, row_weights: F64, sensitivity: F64 | None = None, pressure: F64 | None = None
) -> Composed:
    """Scores from rows (row_weights (B, T), each host's add up to 1) and traits (B, N)."""
    demand, lost = load.demand, load.lost
    by_vms = load.pressing.vms
    total = pressed_on(load, by_vms)
    if sensitivity is not None and pressure is not None:
        by_vms = by_vms * pressure[:, None]
        scaled = pressed_on(load, by_vms)
        heavier = np.divide(scaled, total, out=np.ones_like(total), where=total > 0)
        worse = physical_hazard(load) * sensitivity[:, None] * heavier
        lost, total = demand * -np.expm1(-worse), scaled
    if load.floor is not None:
        lost = np.maximum(lost, load.floor * demand)
    loss = np.divide(lost, demand, out=np.zeros_like(lost), where=demand > 0)
    material = (lost >= load.shard) * row_weights[:, :, None]
    at_stake = material * loss
    rate = np.divide(100.0 * at_stake, total, out=np.zeros_like(total), where=total > 0)
    score = rate.transpose(0, 2, 1) @ by_vms
    if load.meeting is None:
        each = np.arange(score.shape[1])
        score[:, each, each] = 0.0
    else:
        score *= load.meeting
    return Composed(
        score=score,
        host=np.einsum("btn,bt->bn", rate, load.pressing.host),
        own=(rate * load.pressing.surge).sum(axis=1),
        probability=material.sum(axis=1),
        predicted=at_stake.sum(axis=1),
        loss=loss,
    )


def with_findings(load: Load, odds: F64) -> Load:
    """Blame after experiments: `odds` (N, N) multiply what j presses on i with, of one host.

    A suspect that an experiment cleared (odds near 0) hands its part to the others; where nobody
    else is left, it stays.
    """
    return replace(load, meeting=met_by(load) * odds)


def met_by(load: Load) -> F64:
    """(B, N, N) how much j meets i."""
    if load.meeting is not None:
        return load.meeting
    n_hosts, _, n = load.demand.shape
    return np.broadcast_to(1.0 - np.eye(n), (n_hosts, n, n))


def hazard(loss: F64, most: float = MOST_LOSS) -> F64:
    """-log(1 - loss): what adds up where losses compose. More than `most` counts as `most`."""
    return np.asarray(-np.log1p(-np.clip(loss, 0.0, most)), dtype=np.float64)


def physical_hazard(load: Load) -> F64:
    """(B, T, N) log of the slowdown that physics says."""
    return hazard(
        np.divide(load.lost, load.demand, out=np.zeros_like(load.lost), where=load.demand > 0)
    )


def pressed_on(load: Load, by_vms: F64) -> F64:
    """(B, T, N) all that presses on each victim, its own surge included; 0: nobody does."""
    everybody = by_vms.sum(axis=2, keepdims=True)
    if load.meeting is None:
        others = everybody - by_vms
        others = np.where(others > NOBODY * everybody, others, 0.0)
    else:
        others = by_vms @ load.meeting.transpose(0, 2, 1)
    return np.asarray(others + load.pressing.host[:, :, None] + load.pressing.surge)
