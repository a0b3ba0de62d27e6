"""Rules of placement as rows of the integer programme of `exact.py`: of where VMs are in the end.

Like planners, the programme may leave alone what is broken already, and breaks nothing that holds.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from evenkeel.domain.arrays import F64, Bools, Ints
from evenkeel.placement.fleet import NOWHERE
from evenkeel.placement.problem import Problem

Row = tuple[Ints, F64, float]
"""Positions of x, their factors, and what their sum must not pass."""


def close(problem: Problem, vms: Ints, may: Bools) -> None:
    """Take out of `may` (n, H) what hosts do not allow to each of `vms`."""
    company, now = problem.company, problem.fleet.vms.host
    for i, vm in enumerate(vms.tolist()):
        barred = company.barred.get(vm) if company else None
        if barred is not None:
            may[i] &= ~barred | (np.arange(may.shape[1]) == now[vm])
        if problem.drain is not None:
            may[i] &= ~problem.drain


class RuleRows:
    """Rows of one problem; x is (n, H) for `vms`, row by row."""

    def __init__(self, problem: Problem, vms: Ints) -> None:
        assert problem.company is not None
        self._company = problem.company
        self._host = problem.fleet.vms.host
        self._tenant = problem.fleet.vms.tenant
        domain = problem.fleet.hosts.fault_domain
        self._n_hosts = len(domain)
        self._at = {vm: i for i, vm in enumerate(vms.tolist())}
        self._hosts = [np.array([h]) for h in range(self._n_hosts)]
        self._domains = [np.flatnonzero(domain == code) for code in np.unique(domain)]

    def rows(self) -> Iterator[Row]:
        for one, other, by_domain in sorted(self._apart()):
            for place in self._domains if by_domain else self._hosts:
                yield from self._not_both(one, other, place)
        for vm, mates, by_domain in self._together():
            for place in self._domains if by_domain else self._hosts:
                yield from self._with_one(vm, mates, place)

    def _apart(self) -> set[tuple[int, int, bool]]:
        rules, out = self._company, set()
        for n in np.flatnonzero(rules.apart).tolist():
            one = int(rules.vm[n])
            for other in rules.member[rules.group == rules.of[n]].tolist():
                if other != one:
                    out.add((min(one, other), max(one, other), bool(rules.by_domain[n])))
        alone = [] if rules.alone is None else np.flatnonzero(rules.alone).tolist()
        for one in alone:
            for other in np.flatnonzero(self._tenant != self._tenant[one]).tolist():
                out.add((min(one, other), max(one, other), False))
        return out

    def _together(self) -> Iterator[tuple[int, Ints, bool]]:
        """Rules that hold."""
        rules = self._company
        for n in np.flatnonzero(~rules.apart).tolist():
            vm, by_domain = int(rules.vm[n]), bool(rules.by_domain[n])
            mates = np.unique(rules.member[rules.group == rules.of[n]])
            mates = mates[(mates != vm) & (self._host[mates] != NOWHERE)]
            places = self._domains if by_domain else self._hosts
            here = [place for place in places if self._host[vm] in place]
            if here and np.isin(self._host[mates], here[0]).any():
                yield vm, mates, by_domain

    def _not_both(self, one: int, other: int, place: Ints) -> Iterator[Row]:
        both_now = self._host[one] in place and self._host[other] in place
        if not both_now:
            sides = [self._x(vm, place) for vm in (one, other)]
            fixed = sum(self._is_fixed(vm, place) for vm in (one, other))
            at = np.concatenate(sides)
            if len(at):
                yield at, np.ones(len(at)), 1.0 - fixed
            return
        # They may stay as they are, and neither may go to another host of the place.
        for vm, its_other in ((one, other), (other, one)):
            rest = self._x(its_other, place)
            for host in place[place != self._host[vm]].tolist():
                mine = self._x(vm, np.array([host]))
                if len(mine):
                    at = np.concatenate([mine, rest])
                    yield at, np.ones(len(at)), 1.0 - self._is_fixed(its_other, place)

    def _with_one(self, vm: int, mates: Ints, place: Ints) -> Iterator[Row]:
        if any(self._is_fixed(int(mate), place) for mate in mates):
            return
        mine = self._x(vm, place)
        theirs = [self._x(int(mate), place) for mate in mates]
        at = np.concatenate([mine, *theirs])
        factors = np.concatenate([np.ones(len(mine)), -np.ones(len(at) - len(mine))])
        if len(mine) or self._is_fixed(vm, place):
            yield at, factors, -1.0 if self._is_fixed(vm, place) else 0.0

    def _x(self, vm: int, place: Ints) -> Ints:
        """Where the programme says whether it is there; nothing for one that stays."""
        row = self._at.get(vm)
        return place[:0] if row is None else row * self._n_hosts + place

    def _is_fixed(self, vm: int, place: Ints) -> bool:
        return vm not in self._at and bool(self._host[vm] in place)
