"""A floor under what any packing of a fleet costs, however many moves it took: how far is a plan
from it?

What a host needs is not a sum over its VMs, so a sum that is never more is taken instead. With c
such that `needed >= mean + c sqrt(variance)` for all that can be on a host, rho the correlation and
s a VM's deviation,

    sqrt((1 - rho) sum s^2 + rho (sum s)^2) >= cos t sqrt((1 - rho) sum s^2) + sin t sqrt(rho) sum s

for any angle t (Cauchy and Schwarz), and `sqrt(sum s^2) >= sum s^2 / sqrt(q)` where q is the most
variance that a host can hold. That makes a weight per VM and column; t is the angle that makes all
weights together largest. Then VMs may be cut into pieces, and what is left is a small integer
programme over kinds of hosts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.special import ndtri

from evenkeel.domain.arrays import F64, Bools
from evenkeel.placement.fleet import NOWHERE
from evenkeel.placement.problem import Problem
from evenkeel.placement.shortfall import over_mean

EXACT_KINDS: Final = 300
"""Above so many kinds of hosts, hosts may be cut into pieces too."""
GRID: Final = 2000


@dataclass(frozen=True, slots=True, eq=False)
class Bound:
    """`n_hosts` in use at least and `cost_per_h` at least, each by itself; `by_column` (K,) hosts
    that each column alone asks for, were it the only one."""

    n_hosts: int
    cost_per_h: float
    by_column: F64

    def gap(self, cost_per_h: float) -> float:
        """By what share a cost is above the floor."""
        return cost_per_h / self.cost_per_h - 1.0 if self.cost_per_h > 0 else 0.0


def bound(problem: Problem) -> Bound:
    """Over all ways to have the VMs that are somewhere on hosts that are open or in use.

    Hosts that are at risk now may stay so: they count with what they hold.
    """
    problem.checked()
    fleet, costs = problem.fleet, problem.costs
    here = fleet.vms.host != NOWHERE
    at, n_hosts = fleet.vms.host[here], len(fleet.hosts.ids)
    in_use = np.bincount(at, minlength=n_hosts) > 0
    usable = fleet.hosts.is_open | in_use
    room = problem.room()
    weight = weights(problem, room[usable].max(axis=0, initial=0.0))[here]
    held = np.zeros_like(room)
    np.add.at(held, at, weight)
    room = np.maximum(room, held)
    total = weight.sum(axis=0)
    room = np.minimum(room, total)
    stays = np.bincount(at[~problem.movable()[here]], minlength=n_hosts) > 0
    if problem.keep_on is not None:
        stays |= problem.keep_on & in_use
    alone = [_fewest(room[usable, k : k + 1], total[k : k + 1]) for k in range(len(total))]
    least = np.zeros((n_hosts, 0))
    n_least = _least(room, total, np.ones(n_hosts), usable, stays, least, np.zeros(0))
    per_load = np.zeros_like(room) if costs.per_load is None else costs.per_load
    priced = np.flatnonzero(per_load.any(axis=0))
    mean = fleet.vms.mean[here].sum(axis=0)[priced]
    cost = _least(
        room, total, costs.in_use, usable, stays, per_load[:, priced], mean, priced.tolist()
    )
    return Bound(int(np.ceil(n_least - 1e-6)), cost, np.array(alone, dtype=np.float64))


def weights(problem: Problem, largest: F64) -> F64:
    """(V, K) of each VM; whatever fits onto a host together has no more weight than its room.

    `largest` (K,): the most room that any host has.
    """
    vms, chance = problem.fleet.vms, problem.chance
    mean, deviation = vms.mean, vms.deviation
    here = (vms.host != NOWHERE)[:, None]
    ratio = np.divide(deviation**2, mean, out=np.zeros_like(mean), where=mean > 0)
    ratio, c = ratio.max(axis=0, initial=0.0), chords(problem)
    # sum s^2 <= ratio mean, and mean + c sqrt((1 - rho) sum s^2) <= room: the most variance.
    own = c * np.sqrt(1.0 - chance.correlation)
    root = np.zeros_like(ratio)
    some = (ratio > 0) & np.isfinite(largest)
    b = own[some] * ratio[some]
    root[some] = (np.sqrt(b**2 + 4.0 * ratio[some] * largest[some]) - b) / 2.0
    variance = np.divide(deviation**2, root, out=np.zeros_like(mean), where=root > 0)
    variance *= np.sqrt(1.0 - chance.correlation)
    together = deviation * np.sqrt(chance.correlation)
    sums = np.stack([(variance * here).sum(axis=0), (together * here).sum(axis=0)])
    length = np.hypot(*sums)
    cos, sin = np.divide(sums, length, out=np.zeros_like(sums), where=length > 0)
    return np.asarray(mean + c * (cos * variance + sin * together))


def chords(problem: Problem) -> F64:
    """(K,) the largest c with needed >= mean + c deviation on every host, whoever is on it."""
    vms, chance = problem.fleet.vms, problem.chance
    here = (vms.host != NOWHERE)[:, None]
    wanted = vms.mean > 0
    spread = np.divide(vms.deviation, vms.mean, out=np.zeros_like(vms.mean), where=wanted)
    # On any host, deviation / mean is at most what it is for one of its VMs, and at least what it
    # would be if they all were the steadiest, and had no luck but the common one.
    least = np.where(wanted & here, spread, np.inf).min(axis=0, initial=np.inf)
    least = np.where(np.isinf(least), 0.0, least) * np.sqrt(chance.correlation)
    ends = np.stack([least, spread.max(axis=0, initial=0.0)], axis=1)
    return np.array([_slope(low, high, chance.epsilon) for low, high in ends.tolist()])


def _slope(least: float, most: float, epsilon: float) -> float:
    """The largest c with needed >= mean + c deviation while deviation / mean is in between."""
    z = float(ndtri(1.0 - epsilon))
    if most <= 0:
        return z
    x = np.linspace(max(least, most / GRID) / 3.0, most / 3.0, GRID)
    chord = (over_mean(x**2, z) - 1.0) / (3.0 * x)
    if least < most / GRID:
        chord = np.append(chord, z)
    # The mean itself is asked for in any case, and a grid is a grid.
    return max(float(chord.min()) * (1.0 - 1e-3), 0.0)


def _fewest(room: F64, total: F64) -> float:
    """The fewest hosts whose `room` (n, 1) adds up to `total` (1,); inf: all are too few."""
    if not total[0] > 0:
        return 0.0
    added = np.cumsum(np.sort(room[:, 0])[::-1])
    n = int(np.searchsorted(added, total[0] * (1 - 1e-9)))
    return float(n + 1) if n < len(added) else float("inf")


def _least(
    room: F64,
    total: F64,
    price: F64,
    usable: Bools,
    stays: Bools,
    slope: F64,
    mean: F64,
    priced: list[int] | None = None,
) -> float:
    """The least cost of hosts with room for `total`; `mean` of the columns `priced` is spread over
    hosts in use at `slope` (H, P) a unit."""
    if not len(total) or not usable.any():
        return float(price[stays].sum())
    rows = np.hstack([room, price[:, None], slope, stays[:, None]])[usable]
    kinds, count = np.unique(rows, axis=0, return_counts=True)
    n, k, p = len(kinds), len(total), len(mean)
    room, slope = kinds[:, :k], kinds[:, k + 1 : k + 1 + p]
    must = kinds[:, -1] > 0
    # Columns: hosts in use of each kind; load of each priced column on each kind.
    objective = np.concatenate([kinds[:, k], slope.T.ravel()])
    scale = np.where(total > 0, total, 1.0)
    rules = [LinearConstraint(np.hstack([(room / scale).T, np.zeros((k, n * p))]), total / scale)]
    for i, column in enumerate(priced or []):
        load = np.zeros((n, n * p))
        load[:, i * n : (i + 1) * n] = np.eye(n)
        held = np.hstack([-np.diag(room[:, column]), load])
        rules.append(LinearConstraint(held, -np.inf, 0.0))
        rules.append(LinearConstraint(np.hstack([np.zeros(n), load.sum(axis=0)]), mean[i], mean[i]))
    low = np.concatenate([np.where(must, count, 0), np.zeros(n * p)])
    high = np.concatenate([count, np.full(n * p, np.inf)])
    whole = np.concatenate([np.full(n, n <= EXACT_KINDS), np.zeros(n * p)]).astype(int)
    for integrality in (whole, np.zeros_like(whole)):
        found = milp(
            objective, constraints=rules, bounds=Bounds(low, high), integrality=integrality
        )
        if found.status == 0:
            return float(found.fun)
        if found.mip_dual_bound is not None and np.isfinite(found.mip_dual_bound):
            return float(found.mip_dual_bound)
    # The solver gave up, or not even all hosts would do: what is known for sure.
    return float(price[stays].sum())
