"""One VM that is only being asked about, against every host of a fleet in one call.

What it would lose on each, and what those who live there would lose because of it: the same
physics as everywhere, from curves that are kept with each refresh, so that a call is look-ups. Two
facts make that possible. The cores that all together lose is E[(n - c)+], whoever loses them and
whatever the weights, since a core is never idle while somebody waits; and what the newcomer loses
hangs on how many run already, not on who. What residents lose more is the difference.

Left out: pins (the newcomer may run anywhere, and a host counts as one pool) and the shapes of the
residents' own losses (their traits enter as means over the host).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F32, F64, Ints
from evenkeel.domain.errors import InvalidRequest
from evenkeel.domain.resources import AXIS, CPU_AXIS, MEMORY_AXIS, N_RESOURCES, SPECS
from evenkeel.interference.crowd import lost_at, runnable
from evenkeel.interference.fleet import FleetRows, FleetShape
from evenkeel.interference.hazards import MOST_LOSS, Traits
from evenkeel.interference.physics import EXACT_VCPUS

MOST_VCPUS: Final = 32
WEAKER: Final = np.exp2(np.arange(-6.0, 6.5, 1.5)).astype(np.float32)
"""How many times what a resident's vCPU loses the newcomer's does: where curves are kept."""
WEIGHTS: Final = np.exp2(np.arange(8.0, 21.0))
"""Weights of a newcomer, at which its share of a fluid that goes by size is kept (MiB)."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A VM with `n_vcpus` (and no pins): `demand` (S, R) in as many rows as the fleet's, `weight`
    (R,) by which it shares, its own traits (R,)."""

    n_vcpus: int
    demand: F64
    weight: F64
    sensitivity: F64
    pressure: F64


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """What is kept of a refresh. All of it float32.

    `excess` (M + 1, H, S): cores lost by all when m more vCPUs run; `waiting` (G, M, H, S): share
    that one more vCPU loses that meets the residents and m of its own, at each of `WEAKER`;
    `crowd` `usual_weight` `loses` (H,): a number of vCPUs that run when cores are short, the
    residents' mean weight, and the share that a resident's vCPU then loses by its weight; `fair`
    (R, W, H, S): what a newcomer that wants everything gets of a fluid, at each of `WEIGHTS` or,
    where size plays no part, at the first place; `wanted` (R, H, S) by all, `left` (R, H, S) for
    all; `pressure` and `sensitivity` (R, H): means over what residents want.
    """

    shape: FleetShape
    excess: F32
    waiting: F32
    crowd: F32
    usual_weight: F32
    loses: F32
    fair: tuple[F32, ...]
    wanted: F32
    left: F32
    pressure: F32
    sensitivity: F32


@dataclass(frozen=True, slots=True, eq=False)
class Welcome:
    """By host and resource (H, R); NaN where the host's capacity is not known.

    `score` 0 to 100 and `probability` of a material loss of the newcomer; `residents_lost`: what
    the residents together lose more because of it, in the resource's unit, and `residents_score`:
    that in percent of what they want.
    """

    score: F64
    probability: F64
    residents_lost: F64
    residents_score: F64


def standing(shape: FleetShape, rows: FleetRows, traits: Traits | None = None) -> Standing:
    """Curves of every host, to be kept until the next refresh."""
    n_hosts, n_rows = shape.n_hosts, rows.n_rows
    capacity = shape.capacity.T[:, :, None]
    left = np.maximum(capacity - rows.background.transpose(1, 0, 2), 0.0).astype(np.float32)
    pressure = np.ones((N_RESOURCES, n_hosts), np.float32)
    sensitivity = np.ones_like(pressure)
    if traits is not None:
        mean = rows.demand.mean(axis=2).transpose(1, 0, 2)
        total = np.maximum(mean.sum(axis=2), 1e-9)
        pressure[:] = (mean * traits.pressure.transpose(2, 0, 1)).sum(axis=2) / total
        sensitivity[:] = (mean * traits.sensitivity.transpose(2, 0, 1)).sum(axis=2) / total
    out = Standing(
        shape=shape,
        excess=np.zeros((MOST_VCPUS + 1, n_hosts, n_rows), np.float32),
        waiting=np.zeros((len(WEAKER), MOST_VCPUS, n_hosts, n_rows), np.float32),
        crowd=np.zeros(n_hosts, np.float32),
        usual_weight=np.ones(n_hosts, np.float32),
        loses=np.zeros(n_hosts, np.float32),
        fair=tuple(_fair(shape, rows, r, left[r]) for r in range(N_RESOURCES)),
        wanted=rows.demand.sum(axis=3).transpose(1, 0, 2).copy(),
        left=left,
        pressure=pressure,
        sensitivity=sensitivity,
    )
    for hosts in shape.blocks(n_rows):
        _keep_curves(out, rows, hosts)
    return out


def _fair(shape: FleetShape, rows: FleetRows, r: int, left: F32) -> F32:
    """(W, H, S) what a newcomer without limit would get of a fluid; (0, H, S) of the cores."""
    n_rows, n = rows.n_rows, shape.n_places
    if r == CPU_AXIS:
        return np.empty((0, shape.n_hosts, n_rows), np.float32)
    weights = WEIGHTS if r == MEMORY_AXIS else np.ones(1)
    out = np.empty((len(weights), shape.n_hosts, n_rows), np.float32)
    for hosts in shape.blocks(n_rows):
        demand = rows.demand[hosts, r].reshape(-1, n)
        weight = np.repeat(shape.weight[hosts, :, r], n_rows, axis=0)
        got = share_of_newcomer(demand, weight, left[hosts].reshape(-1), weights)
        out[:, hosts] = got.reshape(len(weights), len(hosts), n_rows)
    return out


def share_of_newcomer(demand: F32 | F64, weight: F64, capacity: F32 | F64, joining: F64) -> F64:
    """(W, M) what someone who wants everything gets of each row, at each weight of `joining`.

    demand and weight (M, N), capacity (M,). It gets `w x` at the water level x where what all take
    fills the capacity; between two residents' demands that is a straight line in x.
    """
    per_weight = demand / weight
    order = np.argsort(per_weight, axis=1)
    level = np.take_along_axis(per_weight, order, axis=1)
    d = np.take_along_axis(demand, order, axis=1).astype(np.float64)
    w = np.take_along_axis(weight, order, axis=1)
    filled = np.concatenate([np.zeros((len(d), 1)), np.cumsum(d, axis=1)], axis=1)
    w_left = np.concatenate([np.cumsum(w[:, ::-1], axis=1)[:, ::-1], np.zeros((len(d), 1))], axis=1)
    taken = filled[:, :-1] + level * w_left[:, :-1]
    row = np.arange(len(d))
    out = np.empty((len(joining), len(d)))
    for i, of_newcomer in enumerate(joining):
        full = (taken + of_newcomer * level < capacity[:, None]).sum(axis=1)
        x = (capacity - filled[row, full]) / (w_left[row, full] + of_newcomer)
        out[i] = of_newcomer * np.maximum(x, 0.0)
    return out


def _keep_curves(out: Standing, rows: FleetRows, hosts: Ints) -> None:
    """Fill in the CPU curves of a block."""
    shape, n_rows = out.shape, rows.n_rows
    c = shape.capacity[hosts, CPU_AXIS]
    limit = np.minimum(shape.quota_cores[hosts], shape.n_vcpus[hosts])[:, None]
    wanted = np.minimum(rows.demand[hosts, CPU_AXIS].astype(np.float64), limit)
    load = np.minimum(rows.background[hosts, CPU_AXIS].astype(np.float64), c[:, None])
    everybody = np.concatenate([wanted, load[..., None]], axis=2)
    vcpus = np.concatenate([shape.n_vcpus[hosts], np.ceil(c)[:, None]], axis=1).astype(np.intp)
    weight = shape.weight[hosts, :, CPU_AXIS]
    per_vcpu = np.empty_like(everybody)
    per_vcpu[..., :-1] = weight[:, None] / np.maximum(wanted, 1.0)
    per_vcpu[..., -1] = np.median(weight, axis=1)[:, None]
    total = np.maximum(everybody.sum(axis=(1, 2)), 1e-9)
    usual = (everybody * per_vcpu).sum(axis=(1, 2)) / total
    crowd = np.maximum(total / n_rows, c) + 1.0
    at_crowd = lost_at(crowd[:, None, None], usual[:, None, None] / per_vcpu, c[:, None, None])
    out.crowd[hosts], out.usual_weight[hosts] = crowd, usual
    out.loses[hosts] = (everybody * at_crowd).sum(axis=(1, 2)) / total
    busy = np.clip(everybody / np.maximum(vcpus, 1)[:, None], 0.0, 1.0)
    columns = busy.reshape(-1, busy.shape[2]).T
    if int(vcpus.sum(axis=1).max()) <= EXACT_VCPUS:
        pmf = runnable(columns, np.repeat(vcpus, n_rows, axis=0).T)
    else:
        pmf = _normal(everybody, busy, int(vcpus.sum(axis=1).max()))
    for size in np.unique(c[c > 0]):
        mine = np.flatnonzero(c == size)
        of_size = (mine[:, None] * n_rows + np.arange(n_rows)).reshape(-1)
        table = _table(len(pmf), float(size)) @ pmf[:, of_size].astype(np.float32)
        curves = table.reshape(-1, len(mine), n_rows)
        out.excess[:, hosts[mine]] = curves[: MOST_VCPUS + 1]
        out.waiting[:, :, hosts[mine]] = curves[MOST_VCPUS + 1 :].reshape(
            len(WEAKER), MOST_VCPUS, len(mine), n_rows
        )


def _table(n_states: int, c: float) -> F32:
    """(M + 1 + G * M, K): `excess` and `waiting` by the number k of residents' vCPUs that run."""
    k = np.arange(n_states, dtype=np.float64)
    m = np.arange(MOST_VCPUS + 1)[:, None]
    excess = np.maximum(k + m - c, 0.0)
    lacking = np.maximum(k + m[:-1] + 1 - c, 0.0)
    weak = WEAKER[:, None, None].astype(np.float64)
    waiting = np.minimum(lacking * weak / ((m[:-1] + 1) * weak + k), 1.0)
    return np.concatenate([excess, waiting.reshape(-1, n_states)]).astype(np.float32)


def _normal(everybody: F64, busy: F64, most: int) -> F64:
    """(K, M) the distribution of a crowd: a normal in steps of one vCPU."""
    mean = everybody.sum(axis=2).reshape(-1)
    variance = (everybody * (1.0 - busy)).sum(axis=2).reshape(-1)
    k = np.arange(most + 1, dtype=np.float64)[:, None]
    density = np.exp(-((k - mean) ** 2) / (2.0 * np.maximum(variance, 0.05)))
    return np.asarray(density / density.sum(axis=0), dtype=np.float64)


def candidate(kept: Standing, vm: Candidate) -> Welcome:
    """Ask all hosts about one VM. Raises InvalidRequest: more than `MOST_VCPUS` vCPUs."""
    if not 1 <= vm.n_vcpus <= MOST_VCPUS:
        raise InvalidRequest(f"a candidate has 1 to {MOST_VCPUS} vCPUs, not {vm.n_vcpus}")
    out = Welcome(*(np.full((kept.shape.n_hosts, N_RESOURCES), np.nan) for _ in range(4)))
    each = np.full(len(vm.demand), 1.0 / len(vm.demand), np.float32)  # rows are all as likely
    for r in range(N_RESOURCES):
        wanted = vm.demand[:, r].astype(np.float32)
        own, more = _on_cores(kept, vm, wanted) if r == CPU_AXIS else _in_fluid(kept, vm, r, wanted)
        share = np.minimum(own / np.maximum(wanted, np.float32(1e-9)), np.float32(MOST_LOSS))
        power = (vm.sensitivity[r] * kept.pressure[r, :, None]).astype(np.float32)
        suffers = np.flatnonzero(share @ each)
        share[suffers] = -np.expm1(np.log1p(-share[suffers]) * power[suffers])
        material = share * wanted >= SPECS[AXIS[r]].shard
        known = kept.shape.capacity[:, r] > 0
        theirs = np.maximum(kept.wanted[r] @ each, np.float32(1e-9))
        lost = (more @ each) * (kept.sensitivity[r] * vm.pressure[r])
        lost = np.minimum(lost, theirs)
        out.score[known, r] = 100.0 * ((material * share) @ each)[known]
        out.probability[known, r] = (material @ each)[known]
        out.residents_lost[known, r] = lost[known]
        out.residents_score[known, r] = (100.0 * lost / theirs)[known]
    return out


def _on_cores(kept: Standing, vm: Candidate, wanted: F32) -> tuple[F32, F32]:
    """Cores that the newcomer loses (H, S), and that the others lose more."""
    n = vm.n_vcpus
    wanted = np.minimum(wanted, np.float32(n))
    busy = wanted / n
    runs, siblings = _binomial(n, busy), _binomial(n - 1, busy)
    # A newcomer's vCPU weighs what is left of its VM's weight when its other vCPUs have theirs.
    own_weight: F64 = vm.weight[CPU_AXIS] / np.maximum(wanted, 1.0).astype(np.float64)
    loses = lost_at(
        kept.crowd[:, None].astype(np.float64),
        np.asarray(kept.usual_weight[:, None] / own_weight, dtype=np.float64),
        kept.shape.capacity[:, CPU_AXIS, None],
    )
    weaker = np.clip(loses / np.maximum(kept.loses, 1e-6)[:, None], WEAKER[0], WEAKER[-1])
    place = np.log2(weaker / WEAKER[0]) / np.log2(WEAKER[1] / WEAKER[0])
    left = np.minimum(place.astype(np.intp), len(WEAKER) - 2)
    waits = np.zeros((len(WEAKER), *place.shape), np.float32)
    for m in range(n):
        waits += kept.waiting[:, m] * siblings[m]
    low, high = np.take_along_axis(waits, np.stack([left, left + 1]), axis=0)
    waits_here = low + (high - low) * (place - left).astype(np.float32)
    together = np.zeros_like(waits_here)
    for m in range(n + 1):
        together += kept.excess[m] * runs[m]
    more = together - kept.excess[0] - wanted * waits_here
    own = wanted * (waits_here - _alone(kept, n, siblings))
    return np.maximum(own, np.float32(0.0)), np.maximum(more, np.float32(0.0))


def _alone(kept: Standing, n: int, siblings: F32) -> F32:
    """(H, S) share that it would lose to its own vCPUs on the empty host: nobody's fault."""
    c = kept.shape.capacity[:, CPU_AXIS]
    out = np.zeros((len(c), siblings.shape[1]), np.float32)
    m = np.arange(n, dtype=np.float64)[:, None]
    for size in np.unique(c[(c > 0) & (c < n)]):
        out[c == size] = (siblings * lost_at(m, 1.0, float(size))).sum(axis=0)
    return out


def _binomial(n: int, p: F32 | F64) -> F32:
    """(n + 1, S) chances of each number of n vCPUs to run."""
    vcpus = np.full((1, len(p)), n, dtype=np.intp)
    return runnable(p[None].astype(np.float64), vcpus).astype(np.float32)


def _in_fluid(kept: Standing, vm: Candidate, r: int, wanted: F32) -> tuple[F32, F32]:
    """What the newcomer loses of a fluid (H, S), and what the others lose more."""
    fair = kept.fair[r]
    if len(fair) > 1:
        at = float(np.clip(np.log2(vm.weight[r] / WEIGHTS[0]), 0, len(WEIGHTS) - 1))
        left = min(int(at), len(WEIGHTS) - 2)
        low, high = WEIGHTS[left], WEIGHTS[left + 1]
        part = np.float32((np.clip(vm.weight[r], low, high) - low) / (high - low))
        gets = fair[left] + (fair[left + 1] - fair[left]) * part
    else:
        gets = fair[0]
    own = np.maximum(wanted - gets, np.float32(0.0))
    free = kept.left[r] - kept.wanted[r]
    before = np.maximum(-free, np.float32(0.0))
    together = np.maximum(wanted - free, np.float32(0.0))
    return own, np.maximum(together - before - own, np.float32(0.0))
