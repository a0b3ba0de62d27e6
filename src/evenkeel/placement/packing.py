"""The planners' scratch paper: who is where by now, the hosts' sums, the moves so far.

Moves are made one after the other, each into room that is there while the VM's former host still
counts it, so the order in which they are made can be done.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from evenkeel.domain.arrays import F64, Bools, Ints
from evenkeel.placement.company import Beside
from evenkeel.placement.fleet import NOWHERE, Move
from evenkeel.placement.losses import Losses, noticed
from evenkeel.placement.problem import Problem
from evenkeel.placement.shortfall import Totals, needed


class Packing:
    """Mutable. `host` (V,), `totals` (H, K), `n_vms` and `inflow` (H,) follow the moves."""

    def __init__(self, problem: Problem) -> None:
        fleet = problem.fleet
        n_hosts = len(fleet.hosts.ids)
        self.problem = problem
        self.each = Totals.of(fleet.vms.mean, fleet.vms.deviation)
        self.totals = fleet.totals()
        self._sums = (
            (self.totals.mean, self.each.mean),
            (self.totals.variance, self.each.variance),
            (self.totals.deviation, self.each.deviation),
        )
        self.room = problem.room()
        self.movable = problem.movable()
        self.is_open = problem.is_open()
        self.host: Ints = fleet.vms.host.copy()
        self.n_vms: Ints = np.bincount(self.host[self.host != NOWHERE], minlength=n_hosts)
        self.inflow: Ints = np.zeros(n_hosts, dtype=np.intp)
        self.moves: list[Move] = []
        self._moved = np.zeros(len(self.host), dtype=np.intp)
        self.beside = Beside(problem.company, fleet.vms.tenant, fleet.hosts.fault_domain)
        self._losses = Losses(problem)
        self._efficiency: F64 | None = None
        self._holds: F64 | None = None
        self._kind: Ints | None = None

    # --- looking ------------------------------------------------------------------------------

    def on(self, host: int) -> Ints:
        """The VMs there."""
        return np.flatnonzero(self.host == host)

    def has_moved(self, vms: Ints) -> Bools:
        """(n,) in this plan."""
        return self._moved[vms] > 0

    def need(self, hosts: Ints) -> F64:
        """(n, K) what has to be there, for the accepted risk."""
        return self._needed(self.totals[hosts])

    def fill(self, hosts: Ints) -> F64:
        """(n,) the largest share of its room that a host needs."""
        return _most(self.need(hosts), self.room[hosts])

    def fits(self, vms: Ints, hosts: Ints) -> Bools:
        """(n, m) whether each VM by itself fits onto each host as that is now."""
        total = self.totals[hosts][None] + self.each[vms][:, None]
        return self._within(total, self.room[hosts])

    def fits_each(self, vms: Ints, hosts: Ints) -> Bools:
        """(n,) whether each VM by itself fits onto its own one of `hosts` (n,)."""
        return self._within(self.totals[hosts] + self.each[vms], self.room[hosts])

    def fits_together(self, vms: Ints, host: int) -> bool:
        """Whether `vms`, and nobody else, fit onto a host."""
        each = self.each[vms]
        total = Totals(*(x.sum(axis=0) for x in (each.mean, each.variance, each.deviation)))
        return bool(self._within(total, self.room[host]))

    def fits_without(self, vm: int, instead: Ints) -> Bools:
        """(n,) whether `vm` fits onto the host of each of `instead`, once that one has left."""
        at = self.host[instead]
        total = self.totals[at] - self.each[instead] + self.each[vm]
        return self._within(total, self.room[at])

    def short(self, hosts: Ints, epsilon: float) -> F64:
        """(n,) by what share of its room a host needs more, at a risk of its own; 0: it fits."""
        return self._short(self.totals[hosts], self.room[hosts], epsilon)

    def short_without(self, vms: Ints, host: int, epsilon: float) -> F64:
        """(n,) the same of `host` once each of `vms` has left it."""
        return self._short(self.totals[host] - self.each[vms], self.room[host], epsilon)

    def size(self, vms: Ints, hosts: Ints) -> F64:
        """(n,) the largest share that each wants of the most room there is on `hosts`."""
        return _most(self.each.mean[vms], self.room[hosts].max(axis=0))

    def forbidden(self, vm: int) -> Bools | None:
        """(H,) hosts where a rule keeps it from going; None: no rule binds it."""
        return self.beside.forbidden(vm, self.host)

    def takes(self, vm: int, hosts: Ints) -> Bools:
        """(n,) whether each host may take the VM now: it fits, and no rule is broken."""
        able = self.fits(np.array([vm]), hosts)[0]
        forbidden = self.forbidden(vm)
        return able if forbidden is None else np.asarray(able & ~forbidden[hosts])

    def targets(self) -> Ints:
        """Hosts that VMs may go to: in use, open, not yet given all they may take."""
        return np.flatnonzero(self._takes() & (self.n_vms > 0))

    def fresh(self) -> Ints:
        """Empty hosts that VMs may go to, one of each kind, cheapest to run first."""
        empty = np.flatnonzero(self._takes() & (self.n_vms == 0))
        if not len(empty):
            return empty
        _, first = np.unique(self._kinds()[empty], return_index=True)
        one = empty[np.sort(first)]
        return one[np.argsort(self.efficiency()[one], kind="stable")]

    def _kinds(self) -> Ints:
        """(H,) a code for hosts that are alike in all that counts while they are empty."""
        if self._kind is None:
            hosts, costs = self.problem.fleet.hosts, self.problem.costs
            facts: list[Any] = [self.room, costs.in_use[:, None]]
            if costs.per_load is not None:
                facts.append(costs.per_load)
            if not self.beside.is_empty():
                facts.append(hosts.fault_domain[:, None])
            self._kind = np.unique(np.hstack(facts), axis=0, return_inverse=True)[1].ravel()
        return self._kind

    def holds(self) -> F64:
        """(H,) the share of all that the fleet wants that each host has room for, at most 1."""
        if self._holds is None:
            times = _most(self.totals.mean.sum(axis=0), self.room)
            self._holds = np.minimum(
                np.divide(1.0, times, out=np.ones_like(times), where=times > 0), 1
            )
        return self._holds

    def efficiency(self) -> F64:
        """(H,) what it would cost an hour to run the whole fleet on hosts like each; inf: it
        cannot be."""
        if self._efficiency is None:
            costs, holds = self.problem.costs, self.holds()
            price = np.divide(costs.in_use, holds, out=np.full_like(holds, np.inf), where=holds > 0)
            if costs.per_load is not None:
                price = price + costs.per_load @ self.totals.mean.sum(axis=0)
            self._efficiency = np.asarray(price)
        return self._efficiency

    def price(self, vms: Ints, hosts: Ints) -> F64:
        """(n, m) an hour of having each VM on each host that is in use."""
        return self.load(vms, hosts) + self.contention(vms, hosts)

    def load(self, vms: Ints, hosts: Ints) -> F64:
        """(n, m) what of `price` each VM's own demand costs there."""
        per_load = self.problem.costs.per_load
        if per_load is None:
            return np.zeros((len(vms), len(hosts)))
        return np.asarray(self.each.mean[vms] @ per_load[hosts].T)

    def contention(self, vms: Ints, hosts: Ints) -> F64:
        """(n, m) what of `price` comes of being together with others: what all there lose more, in
        the steps in which placement tells it apart from none."""
        price = self.problem.costs.lost
        if not price or not len(vms) or not len(hosts):
            return np.zeros((len(vms), len(hosts)))
        return price * noticed(self._losses.more(self.each[vms], self.totals[hosts], hosts))

    def lost(self) -> F64:
        """(H,) what those on each host are expected to lose, in hosts."""
        return self._losses.of(self.totals, np.arange(len(self.n_vms)))

    def running(self) -> float:
        """What all hosts in use cost an hour, and what is lost on them."""
        costs = self.problem.costs
        cost = float(costs.in_use[self.n_vms > 0].sum())
        if costs.per_load is not None:
            cost += float((costs.per_load * self.totals.mean).sum())
        return cost + (costs.lost * float(self.lost().sum()) if costs.lost else 0.0)

    # --- changing -----------------------------------------------------------------------------

    def move(self, vm: int, target: int) -> None:
        """The caller made sure that it fits."""
        source = int(self.host[vm])
        self.moves.append(Move(vm, source, target))
        self._put(vm, source, target)
        self.inflow[target] += 1
        self._moved[vm] += 1

    def place(self, vm: int, host: int) -> None:
        """One that is nowhere yet; no move."""
        self.host[vm] = host
        self.n_vms[host] += 1
        self._add(vm, host)

    def undo(self, n_moves: int) -> None:
        """Back to when there were `n_moves`."""
        while len(self.moves) > n_moves:
            last = self.moves.pop()
            self._put(last.vm, last.target, last.source)
            self.inflow[last.target] -= 1
            self._moved[last.vm] -= 1

    def _put(self, vm: int, source: int, target: int) -> None:
        self.host[vm] = target
        self.n_vms[source] -= 1
        self.n_vms[target] += 1
        self._add(vm, target)
        # Nothing is nothing: rounding does not gather on hosts that come and go.
        stay = 1.0 if self.n_vms[source] else 0.0
        for total, one in self._sums:
            total[source] = np.maximum(total[source] - one[vm], 0.0) * stay

    def _add(self, vm: int, host: int) -> None:
        for total, one in self._sums:
            total[host] += one[vm]

    def _takes(self) -> Bools:
        return np.asarray(self.is_open & (self.inflow < self.problem.limits.inflow))

    def _within(self, total: Totals, room: F64) -> Bools:
        return np.asarray((self._needed(total) <= room).all(axis=-1))

    def _short(self, total: Totals, room: F64, epsilon: float) -> F64:
        need = needed(total, self.problem.chance.correlation, epsilon)
        return np.asarray(np.maximum(_most(need, room) - 1.0, 0.0))

    def _needed(self, total: Totals) -> F64:
        chance = self.problem.chance
        return np.asarray(needed(total, chance.correlation, chance.epsilon))


def _most(part: F64, of: F64) -> F64:
    """(n,) the largest share in a row; nothing of nothing is 0, something of nothing inf."""
    out = np.where(part > 0, np.inf, np.zeros(np.broadcast_shapes(part.shape, of.shape)))
    return np.asarray(np.divide(part, of, out=out, where=of > 0).max(axis=-1, initial=0.0))
