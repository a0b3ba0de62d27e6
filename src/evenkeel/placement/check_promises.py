"""Whether hosts can take over what is promised to VMs that move to them, at every instant ahead.

Shares no code with the calendar: it adds up the lots that hold at each instant at which anything
begins, and asks for odds, where the calendar asks for room.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from evenkeel.domain.arrays import Ints
from evenkeel.domain.instants import shown
from evenkeel.domain.resources import AXIS, Resource
from evenkeel.domain.shard import Lot, LotId, PerformanceClass
from evenkeel.placement.fleet import Move
from evenkeel.placement.problem import Problem
from evenkeel.placement.shortfall import Totals, shortfall_odds

ROUNDING = 1e-6


class PromisesCheck:
    """Of one problem; nothing is promised where it tells of no lots."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._promises = problem.promises

    def left_behind(
        self, moves: Sequence[Move], lots: Mapping[int, tuple[LotId, ...]]
    ) -> Iterator[tuple[int, str]]:
        """Moves without the very lots that the VM has where it is."""
        if self._promises is None:
            return
        for i, move in enumerate(moves):
            mine = {lot.id for lot in self._promises.carried.get(move.vm, ())}
            said = lots.get(move.vm, ())
            if mine != set(said) or len(said) != len(mine):
                name = self._problem.fleet.vms.ids[move.vm]
                yield i, f"{name} has {len(mine)} lots where it is, and the plan takes others along"

    def wave(self, host: Ints, now: Sequence[tuple[int, Move]]) -> Iterator[tuple[int, str]]:
        """Moves to hosts whose calendars do not take the lots. `host` (V,): before the wave;
        while it lasts, lots count on both hosts."""
        if self._promises is None:
            return
        carried = self._promises.carried
        targets = {move.target for _, move in now if move.vm in carried}
        for target in sorted(targets):
            coming = [(i, m.vm) for i, m in now if m.target == target and m.vm in carried]
            there = {vm for vm in carried if host[vm] == target} | {vm for _, vm in coming}
            lots = [lot for vm in sorted(there) for lot in carried[vm]]
            lots += self._promises.fixed[target]
            new = [lot for _, vm in coming for lot in carried[vm]]
            why = self._short(target, lots, new)
            if why is not None:
                yield from ((i, why) for i, _ in coming)

    def _short(self, target: int, lots: Sequence[Lot], new: Sequence[Lot]) -> str | None:
        """The first instant of the new lots at which the host has promised too much."""
        assert self._promises is not None
        now_s = self._promises.now_s
        for resource in AXIS:
            of = [lot for lot in _counted(lots) if lot.resource is resource]
            mine = [lot for lot in _counted(new) if lot.resource is resource]
            for at_s in sorted({max(at, now_s) for lot in of for at in _changes(lot)}):
                if not any(lot.start_s <= at_s < lot.end_s for lot in mine):
                    continue
                if self._over(
                    target, resource, [x for x in of if x.start_s <= at_s < x.end_s], at_s
                ):
                    name = self._problem.fleet.hosts.ids[target]
                    return f"{name} has promised its {resource.value} at {shown(at_s)} UTC"
        return None

    def _over(self, host: int, resource: Resource, lots: Sequence[Lot], at_s: int) -> bool:
        assert self._promises is not None
        r = AXIS.index(resource)
        capacity = int(self._promises.capacity[host, r])
        firm = sum(lot.n_shards for lot in lots if _is_firm(lot))
        wants = [_demand(lot, at_s) for lot in lots if not _is_firm(lot)]
        mean, variance, deviation = (sum(want[k] for want in wants) / 1000.0 for k in range(3))
        free = capacity - firm
        if capacity < 0 or free < 0:
            return bool(lots)
        chance = self._problem.chance
        total = Totals(*(np.array([x]) for x in (mean, variance / 1000.0, deviation)))
        rho = float(chance.correlation[r])
        odds = float(shortfall_odds(total, float(free), rho)[0])
        return mean > free * (1 + ROUNDING) or odds > chance.epsilon * (1 + ROUNDING) + 1e-12


def _counted(lots: Iterable[Lot]) -> list[Lot]:
    """Best-effort ones are promised nothing."""
    return [lot for lot in lots if lot.performance is not PerformanceClass.BEST_EFFORT]


def _is_firm(lot: Lot) -> bool:
    return lot.performance is PerformanceClass.PINNED or not lot.demand


def _changes(lot: Lot) -> list[int]:
    """When what it wants begins to be another."""
    later = [step.from_s for step in lot.demand if lot.start_s < step.from_s < lot.end_s]
    return [lot.start_s, *later]


def _demand(lot: Lot, at_s: int) -> tuple[int, int, int]:
    """Mean, variance and deviation in thousandths of shards (the variance: of their squares)."""
    begun = [step for step in lot.demand[1:] if step.from_s <= at_s]
    step = begun[-1] if begun else lot.demand[0]
    return step.mean, step.variance, step.deviation
