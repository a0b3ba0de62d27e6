"""Whether a wave of moves breaks a rule: asked of plain sets, beside what planners reckon.

Shares no code with `company.py`. While a wave lasts, whoever moves is on both of its hosts, and it
is not known who arrives first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum

import numpy as np

from evenkeel.domain.arrays import Ints
from evenkeel.placement.fleet import Move
from evenkeel.placement.problem import Problem


class Broken(StrEnum):
    APART = "apart"
    TOGETHER = "together"
    ALONE = "alone"
    BARRED = "barred"


Rules = list[tuple[int, int, bool]]
"""Of a VM, of a group, by fault domain."""


class CompanyCheck:
    """The rules of a problem, as sets."""

    def __init__(self, problem: Problem) -> None:
        rules = problem.company
        self._domain = problem.fleet.hosts.fault_domain.tolist()
        self._tenant = problem.fleet.vms.tenant.tolist()
        self._members: dict[int, set[int]] = {}
        self._apart: dict[int, Rules] = {}
        """By VM: the rules that it has or that are about it."""
        self._together: dict[int, Rules] = {}
        self._alone: set[int] = set()
        self._barred = rules.barred if rules else {}
        if rules is None:
            return
        for vm, group in zip(rules.member.tolist(), rules.group.tolist(), strict=True):
            self._members.setdefault(group, set()).add(vm)
        for n in range(len(rules.vm)):
            rule = (int(rules.vm[n]), int(rules.of[n]), bool(rules.by_domain[n]))
            of = self._apart if rules.apart[n] else self._together
            for vm in {rule[0]} | self._members.get(rule[1], set()):
                of.setdefault(vm, []).append(rule)
        if rules.alone is not None:
            self._alone = {vm for vm, alone in enumerate(rules.alone.tolist()) if alone}

    def wave(self, host: Ints, now: Sequence[tuple[int, Move]]) -> Iterable[tuple[int, Broken]]:
        """What is wrong: the move's place in the plan, and with what. `host` (V,): before it."""
        to: dict[int, set[int]] = {}
        for _, move in now:
            to.setdefault(move.vm, set()).add(move.target)
        there = _There(host, to)
        out = []
        for i, move in now:
            if move.vm in self._barred and self._barred[move.vm][move.target]:
                out.append((i, Broken.BARRED))
            if self._meets(move, there):
                out.append((i, Broken.APART))
            if self._shares(move, there):
                out.append((i, Broken.ALONE))
        return [*out, *self._left_behind(now, there)]

    def _meets(self, move: Move, there: _There) -> bool:
        """At its target it is with one that it keeps apart from, or that keeps apart from it."""
        for vm, group, by_domain in self._apart.get(move.vm, ()):
            others = self._members.get(group, set()) if vm == move.vm else {vm}
            if any(
                self._near(at, move.target, by_domain)
                for other in others
                if other != move.vm
                for at in there.of(other)
            ):
                return True
        return False

    def _shares(self, move: Move, there: _There) -> bool:
        """At its target there is one of another tenant, and one of the two is to be alone."""
        if not self._alone:
            return False
        return any(
            self._tenant[vm] != self._tenant[move.vm] and {vm, move.vm} & self._alone
            for vm in there.on(move.target)
        )

    def _left_behind(
        self, now: Sequence[tuple[int, Move]], there: _There
    ) -> Iterable[tuple[int, Broken]]:
        """Who needs one of a group near, and had one, has one all the time, wherever it is."""
        seen: set[tuple[int, int, bool]] = set()
        for i, move in now:
            for rule in self._together.get(move.vm, ()):
                if rule in seen:
                    continue
                seen.add(rule)
                vm, group, by_domain = rule
                mates = self._members.get(group, set()) - {vm}
                before = there.before(vm)
                if not any(self._near(there.before(m), before, by_domain) for m in mates):
                    continue
                for place in there.of(vm):
                    if not any(
                        there.of(m) and all(self._near(at, place, by_domain) for at in there.of(m))
                        for m in mates
                    ):
                        yield i, Broken.TOGETHER
                        break

    def _near(self, one: int, other: int, by_domain: bool) -> bool:
        if one < 0 or other < 0:
            return False
        return one == other or (by_domain and self._domain[one] == self._domain[other])


class _There:
    """Where everybody is during a wave: `host` (V,) before it, and `to` who moves."""

    def __init__(self, host: Ints, to: dict[int, set[int]]) -> None:
        self._host = host
        self._to = to
        self._comers: dict[int, list[int]] = {}
        for vm, targets in to.items():
            for target in targets:
                self._comers.setdefault(target, []).append(vm)

    def before(self, vm: int) -> int:
        return int(self._host[vm])

    def of(self, vm: int) -> set[int]:
        at = int(self._host[vm])
        return ({at} if at >= 0 else set()) | self._to.get(vm, set())

    def on(self, host: int) -> list[int]:
        return [*np.flatnonzero(self._host == host).tolist(), *self._comers.get(host, [])]
