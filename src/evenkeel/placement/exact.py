"""The best packing, proven, where a fleet is small enough: integer programming by HiGHS.

What a host needs is not linear, so the programme has the weights of `bound.py`, which never say
too much, and whatever set of VMs turns out not to fit is forbidden and the programme solved again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array, csr_array
from scipy.special import ndtri

from evenkeel.domain.arrays import F64, Ints
from evenkeel.placement.bound import chords, weights
from evenkeel.placement.exact_rules import RuleRows, close
from evenkeel.placement.packing import Packing
from evenkeel.placement.problem import NO_LIMIT, Problem

PROVEN: Final = 1e-4
AFFORDABLE: Final = 50
"""VMs times hosts."""
ROUNDS: Final = 12
NODES: Final = 500
"""Of the search tree in a round: a limit that, unlike time, answers the same every time."""


def affordable(problem: Problem) -> bool:
    """Whether `best_packing` can be asked."""
    size = int(problem.movable().sum()) * len(problem.fleet.hosts.ids)
    return size <= AFFORDABLE


def best_packing(problem: Problem) -> Ints | None:
    """(V,) where each VM should be: no other place for all costs less, moves and the running of
    the payback time together, contention left aside. None: it could not be proven. The order is not
    looked at."""
    programme = _Programme.of(problem)
    for _ in range(ROUNDS):
        host = programme.solve()
        if host is None:
            return None
        if not programme.forbid_short(host):
            return host
    return None


@dataclass(slots=True, eq=False)
class _Programme:
    """x (n, H) who goes where, y (H,) which hosts run; rows are added as sets are forbidden."""

    problem: Problem
    packing: Packing
    vms: Ints
    price: F64
    more_is_never_less: bool
    chord: F64
    rules: list[LinearConstraint] = field(default_factory=list)
    rows: list[tuple[Ints, F64, float]] = field(default_factory=list)

    @classmethod
    def of(cls, problem: Problem) -> _Programme:
        packing = Packing(problem)
        vms = np.flatnonzero(packing.movable)
        n_hosts, hours = len(packing.n_vms), problem.limits.payback_h
        every = np.arange(n_hosts)
        move = np.where(packing.host[vms][:, None] == every, 0.0, problem.costs.move[vms][:, None])
        running = hours * packing.load(vms, every)
        price = np.concatenate([(running + move).ravel(), hours * problem.costs.in_use])
        out = cls(problem, packing, vms, price, _monotone(problem), chords(problem))
        out._rules()
        if problem.company is not None:
            out.rows += RuleRows(problem, vms).rows()
        return out

    def solve(self) -> Ints | None:
        """(V,) an optimum by what is known so far."""
        n, n_hosts = len(self.vms), len(self.packing.n_vms)
        if not n:
            return self.packing.host.copy()
        rules = list(self.rules)
        if self.rows:
            index = np.concatenate([np.full(len(at), i) for i, (at, _, _) in enumerate(self.rows)])
            at = np.concatenate([row[0] for row in self.rows])
            value = np.concatenate([row[1] for row in self.rows])
            matrix = coo_array((value, (index, at)), shape=(len(self.rows), len(self.price)))
            most = np.array([row[2] for row in self.rows])
            rules.append(LinearConstraint(csr_array(matrix), -np.inf, most))
        found = milp(
            self.price,
            constraints=rules,
            bounds=self._bounds(),
            integrality=np.ones(len(self.price)),
            options={"node_limit": NODES, "mip_rel_gap": PROVEN},
        )
        if found.status != 0:
            return None
        host = self.packing.host.copy()
        host[self.vms] = found.x[: n * n_hosts].reshape(n, n_hosts).argmax(axis=1)
        return host

    def forbid_short(self, host: Ints) -> bool:
        """Forbid what of it does not fit, wherever there is no more room; whether there was any."""
        found = False
        for h in np.unique(host[self.vms]).tolist():
            there = host == h
            comers = there & (self.packing.host != h)
            if not comers.any() or self.packing.fits_together(np.flatnonzero(there), h):
                continue
            found = True
            self._tangents(np.flatnonzero(there))
            if self.more_is_never_less:
                for ascending in (True, False):
                    self._forbid(self._core(np.flatnonzero(there), h, ascending), h, beside=True)
            else:
                self._forbid(np.flatnonzero(there), h, beside=False)
        return found

    def _core(self, vms: Ints, host: int, ascending: bool) -> Ints:
        """As few of `vms` as do not fit together, those who cannot leave and a newcomer among
        them: who is there may stay, fit or not."""
        size = self.packing.size(vms, np.array([host]))
        for vm in vms[np.argsort(size if ascending else -size, kind="stable")].tolist():
            rest = vms[vms != vm]
            bound = not self.packing.movable[vm] or (self.packing.host[rest] == host).all()
            if not bound and not self.packing.fits_together(rest, host):
                vms = rest
        return vms

    def _forbid(self, vms: Ints, host: int, *, beside: bool) -> None:
        """`vms` together on `host` or one with no more room: with others `beside` them too, or
        they alone."""
        n_hosts, room = len(self.packing.n_vms), self.packing.room
        here = np.isin(self.vms, vms)
        fixed = vms[~self.packing.movable[vms]]
        for other in np.flatnonzero((room <= room[host]).all(axis=1)).tolist():
            # Not where the VMs that cannot leave are others, nor where all of them are already.
            now = np.flatnonzero(self.packing.host == other)
            if not np.isin(fixed, now).all() or np.isin(vms, now).all():
                continue
            if not beside and other != host and not self.packing.movable[now].all():
                continue
            rows = np.flatnonzero(here) if beside else np.arange(len(self.vms))
            values = np.ones(len(rows)) if beside else np.where(here, 1.0, -1.0)
            self.rows.append((rows * n_hosts + other, values, float(here.sum()) - 1.0))

    def _bounds(self) -> Bounds:
        n, n_hosts = len(self.vms), len(self.packing.n_vms)
        may = np.broadcast_to(self.packing.is_open, (n, n_hosts)).copy()
        may[np.arange(n), self.packing.host[self.vms]] = True
        close(self.problem, self.vms, may)
        stay = (self.packing.host >= 0) & ~self.packing.movable
        must = np.bincount(self.packing.host[stay], minlength=n_hosts) > 0
        if self.problem.keep_on is not None:
            must |= self.problem.keep_on & (self.packing.n_vms > 0)
        low = np.concatenate([np.zeros(n * n_hosts), must])
        return Bounds(low, np.concatenate([may.ravel(), np.ones(n_hosts)]))

    def _rules(self) -> None:
        problem, packing, vms = self.problem, self.packing, self.vms
        n, (n_hosts, n_columns) = len(vms), packing.room.shape
        x = np.arange(n * n_hosts).reshape(n, n_hosts)
        if not n:
            return
        self._rule(np.repeat(np.arange(n), n_hosts), x.ravel(), np.ones(x.size), 1.0, 1.0)
        weight = weights(problem, packing.room.max(axis=0))
        for k in range(n_columns):
            self._room_rule(weight[:, k], k)
        # Nobody is on a host that does not run: tighter than what the rows above say together.
        rows = np.repeat(np.arange(n * n_hosts), 2)
        at = np.stack([x, np.broadcast_to(n * n_hosts + np.arange(n_hosts), x.shape)], axis=-1)
        self._rule(rows, at.ravel(), np.tile([1.0, -1.0], n * n_hosts), -np.inf, 0.0)
        self._limit(x)

    def _room_rule(self, weight: F64, column: int) -> None:
        """`weight` (V,) of the VMs on a host is never more than its room in `column`."""
        packing, vms = self.packing, self.vms
        n, n_hosts = len(vms), len(packing.n_vms)
        stay = np.flatnonzero((packing.host >= 0) & ~packing.movable)
        taken, held = np.zeros(n_hosts), np.zeros(n_hosts)
        np.add.at(taken, packing.host[stay], weight[stay])
        np.add.at(held, packing.host[vms], weight[vms])
        # A host that is at risk now may stay so.
        room = np.maximum(packing.room[:, column] - taken, held)
        room = np.minimum(room, weight[vms].sum() + 1.0)
        rows = np.tile(np.arange(n_hosts), n + 1)
        at = np.arange((n + 1) * n_hosts)
        values = np.concatenate([np.repeat(weight[vms], n_hosts), -room])
        self._rule(rows, at, values / max(float(weight[vms].max()), 1e-12), -np.inf, 1e-9)

    def _tangents(self, vms: Ints) -> None:
        """The deviation of a sum is a norm, and so never below its tangent at the set `vms`."""
        chance, each = self.problem.chance, self.packing.each
        total = each[vms]
        for k in range(each.mean.shape[1]):
            rho = float(chance.correlation[k])
            together = float(total.deviation[:, k].sum())
            norm = np.sqrt((1 - rho) * total.variance[:, k].sum() + rho * together**2)
            if not norm > 0:
                continue
            here = np.isin(np.arange(len(each.mean)), vms)
            slope = (1 - rho) * each.variance[:, k] * here + rho * together * each.deviation[:, k]
            self._room_rule(each.mean[:, k] + self.chord[k] * slope / norm, k)

    def _limit(self, x: Ints) -> None:
        limits, packing, vms = self.problem.limits, self.packing, self.vms
        n_hosts = x.shape[1]
        away = x[np.arange(n_hosts) != packing.host[vms][:, None]]
        if limits.moves < NO_LIMIT:
            self._rule(np.zeros(len(away), int), away, np.ones(len(away)), -np.inf, limits.moves)
        if limits.inflow < NO_LIMIT:
            self._rule(away % n_hosts, away, np.ones(len(away)), -np.inf, limits.inflow)

    def _rule(self, rows: Ints, at: Ints, values: F64, low: float, high: float) -> None:
        shape = (int(rows.max(initial=-1)) + 1, len(self.price))
        matrix = csr_array(coo_array((values, (rows, at)), shape=shape))
        self.rules.append(LinearConstraint(matrix, low, high))


def _monotone(problem: Problem) -> bool:
    """Whether one more VM never makes a host need less.

    With M the mean, x = deviation / (3 M) and g = 1 - x^2 + z x, what is needed is M g^3 up to
    x = z / 2, and then no more. It falls in the mean where 1 - 2 z x + 5 x^2 < 0; no sum of VMs has
    a larger x than the one of them that has the largest.
    """
    vms = problem.fleet.vms
    z = float(ndtri(1.0 - problem.chance.epsilon))
    x = np.divide(vms.deviation, 3.0 * vms.mean, out=np.zeros_like(vms.mean), where=vms.mean > 0)
    most = (z - np.sqrt(z**2 - 5.0)) / 5.0 if z**2 > 5.0 else np.inf
    return bool(x.max(initial=0.0) <= most)
