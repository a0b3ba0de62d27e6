"""What a planner answers: moves in an order that can be done, and what they are worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

import numpy as np

from evenkeel.domain.arrays import Ints
from evenkeel.domain.shard import LotId
from evenkeel.placement.fleet import NOWHERE, Move
from evenkeel.placement.losses import Losses
from evenkeel.placement.problem import Problem
from evenkeel.placement.shortfall import shortfall_odds


class Why(StrEnum):
    """Why a host is left as it is, though it is at risk or could be emptied."""

    NO_ROOM = "no_room"
    """Somebody on it fits nowhere else, or a rule of placement keeps it."""
    BOUND = "bound"
    """Somebody on it may not move: exempt, or moved lately; or the host is kept on."""
    DOES_NOT_PAY = "does_not_pay"
    """What is saved within the payback time is less than what the moves cost."""
    BUDGET = "budget"
    """More moves than the plan may have."""


SAY: Final[Mapping[Why, str]] = {
    Why.NO_ROOM: "some of its VMs fit nowhere else, or a rule keeps them",
    Why.BOUND: "it is kept on, or some of its VMs may not move (exempt, or moved lately)",
    Why.DOES_NOT_PAY: "the moves cost more than is saved within the payback time",
    Why.BUDGET: "it takes more moves than the plan may have",
}


@dataclass(frozen=True, slots=True)
class Outlook:
    """`cost_per_h`: of hosts in use, load and contention, without moves; `n_at_risk` hosts run
    short of something with more than the accepted probability; `worst_odds` of any host; `lost`:
    work that is expected to be lost to contention, in hosts; `running_per_h`: the cost without
    it."""

    n_in_use: int
    cost_per_h: float
    n_at_risk: int
    worst_odds: float
    lost: float
    running_per_h: float


@dataclass(frozen=True, slots=True, eq=False)
class MovePlan:
    """`moves` in order; those of equal `wave` (n,) may go at the same time, a wave begins when the
    former one is through. `left`: hosts that were looked at and stay as they are."""

    moves: tuple[Move, ...]
    wave: Ints
    host: Ints
    """(V,) where every VM is afterwards."""
    before: Outlook
    after: Outlook
    move_cost: float
    left: Mapping[int, Why]
    lots: Mapping[int, tuple[LotId, ...]] = field(default_factory=dict)
    """By VM that moves: the lots that it takes along, each time."""

    @property
    def n_waves(self) -> int:
        return int(self.wave.max()) + 1 if len(self.wave) else 0

    def saved(self, hours: float) -> float:
        """Within so many hours, less what the moves cost."""
        return (self.before.cost_per_h - self.after.cost_per_h) * hours - self.move_cost


def outlook(problem: Problem, host: Ints) -> Outlook:
    """Of the fleet with its VMs on `host` (V,)."""
    fleet, costs = problem.fleet, problem.costs
    n_hosts = len(fleet.hosts.ids)
    placed = host != NOWHERE
    at = host[placed]
    in_use = np.bincount(at, minlength=n_hosts) > 0
    totals = replace(fleet, vms=replace(fleet.vms, host=host)).totals()
    room = problem.room()
    odds = shortfall_odds(totals, room, problem.chance.correlation)
    # The skewed tail is no excuse for a mean that is above what there is.
    odds = np.maximum(odds, totals.mean > room)
    cost = float(costs.in_use[in_use].sum())
    if costs.per_load is not None:
        cost += float((costs.per_load * totals.mean).sum())
    lost = float(Losses(problem).of(totals, np.arange(n_hosts)).sum())
    worst = odds.max(axis=1, initial=0.0)
    risky = worst > problem.chance.epsilon * (1 + 1e-9)
    return Outlook(
        n_in_use=int(in_use.sum()),
        cost_per_h=cost + costs.lost * lost,
        n_at_risk=int(risky.sum()),
        worst_odds=float(worst.max(initial=0.0)),
        lost=lost,
        running_per_h=cost,
    )
