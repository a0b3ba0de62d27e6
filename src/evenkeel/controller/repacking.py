"""Where a fleet's VMs are to live: few moves, hosts that hold, no more of them than needed.

Every slot hosts that grew risky are relieved; every few slots hosts are emptied where that pays.
Demand is forecast from what was seen up to now (`forecast.steady`), its sums are held against
capacity by the odds of a shortfall (`placement.shortfall`), moves are chosen by
`placement.consolidate`. Pure; a live fleet (`advising`) and a simulated one call `repack` alike.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64
from evenkeel.forecast.steady import Memory, steady
from evenkeel.placement.consolidate import rebalance, replan
from evenkeel.placement.fleet import Chance, Fleet, Hosts, Vms
from evenkeel.placement.plan import MovePlan
from evenkeel.placement.problem import NO_LIMIT, Costs, Limits, Problem

FAR: Final = 2.0
"""Standard deviations from its level that a VM does not reach for slots on end by chance."""
LEAST_SLOTS: Final = 12
"""Fewer say nothing of how demand moves together."""


@dataclass(frozen=True, slots=True)
class Repacking:
    """Hosts take VMs up to a chance of `epsilon` of a shortfall and are relieved above `alarm`:
    between the two nobody moves. `correlation` between any two VMs' demand. Every `drain_slots`
    hosts may be emptied, where `payback_h` hours make up for moves of `move_wh` watt hours each,
    for a VM of average memory and demand. Emptying ends after so many `tries` that failed.
    `is_grainy`: hosts hold what runs at a moment, not its mean over a slot, for each vCPU runs or
    does not. A VM that was far off its level for the last `jump_slots` has left it for good (0:
    levels move slowly whatever comes).
    """

    epsilon: float = 0.003
    alarm: float = 0.008
    correlation: float = 0.02
    drain_slots: int = 2
    payback_h: float = 2.0
    move_wh: float = 10.0
    is_grainy: bool = False
    jump_slots: int = 0
    memory: Memory = field(default_factory=Memory)
    tries: int = NO_LIMIT


@dataclass(frozen=True, slots=True, eq=False)
class Past:
    """The fleet as it was seen. `demand` (V, n) of CPU by slot, the newest last, NaN: not known;
    `size` (V,) what a VM may want at most; `memory` (V,) to be sent if it moves, in any unit;
    `firm` (V, R - 1) of the other resources, held in full.
    """

    demand: F64
    size: F64
    memory: F64
    firm: F64


def demand_ahead(past: Past, memory: Memory, jump_slots: int = 0) -> tuple[F64, F64]:
    """(V, R) mean and deviation of each VM's demand, CPU first."""
    mean, deviation = steady(past.demand, past.size, memory)
    if 0 < jump_slots < past.demand.shape[1]:
        mean = _after_jumps(past.demand[:, -jump_slots:], mean, deviation)
    return (
        np.column_stack([mean, past.firm]),
        np.column_stack([deviation, np.zeros_like(past.firm)]),
    )


def _after_jumps(recent: F64, mean: F64, deviation: F64) -> F64:
    """(V,) the mean of `recent` (V, n) where all of it is far from `mean`, on one side of it."""
    off = recent - mean[:, None]
    is_far = np.abs(off) > FAR * deviation[:, None]
    is_one_side = (off > 0).all(axis=1) | (off < 0).all(axis=1)
    return np.where(is_far.all(axis=1) & is_one_side, recent.mean(axis=1), mean)


def common_correlation(demand: F64) -> float:
    """Between any two VMs' demand (V, n), by how much more their sum varies than independent VMs'
    would; NaN: not known, and taken as the VM's mean. In [0, 1]; 0 where too little is known."""
    known = np.isfinite(demand)
    counts = known.sum(axis=1)
    if demand.shape[1] < LEAST_SLOTS or not (counts > 1).any():
        return 0.0
    mean = np.where(known, demand, 0.0).sum(axis=1) / np.maximum(counts, 1)
    around = np.where(known, demand - mean[:, None], 0.0)
    variance = (around**2).sum(axis=1) / demand.shape[1]
    of_all, alone = float(around.sum(axis=0).var()), float(variance.sum())
    most = float(np.sqrt(variance).sum() ** 2)
    if most - alone <= 1e-12:
        return 0.0
    return min(max((of_all - alone) / (most - alone), 0.0), 1.0)


def problem_of(
    hosts: Hosts, vms: Vms, past: Past, idle_watts: F64, watts_per_cpu: F64, how: Repacking
) -> Problem:
    """The fleet as it is, and as it is expected to want.

    Parameters
    ----------
    vms : where everybody is; its mean and deviation are not looked at
    idle_watts : (H,) of a host that is on; watts_per_cpu : (H,) for each unit of CPU used
    """
    mean, deviation = demand_ahead(past, how.memory, how.jump_slots)
    if how.is_grainy:
        grain = mean[:, 0] * np.maximum(1.0 - mean[:, 0] / past.size, 0.0)
        deviation[:, 0] = np.sqrt(deviation[:, 0] ** 2 + grain)
    n_resources = mean.shape[1]
    per_load = np.zeros((len(hosts.ids), n_resources))
    per_load[:, 0] = watts_per_cpu
    # Half of it for the memory that is sent, half for the work that is lost meanwhile.
    move_wh = how.move_wh * _relative(past.memory) * (0.5 + 0.5 * _relative(mean[:, 0]))
    return Problem(
        fleet=Fleet(hosts, replace(vms, mean=mean, deviation=deviation)),
        chance=Chance(how.epsilon, np.full(n_resources, how.correlation)),
        costs=Costs(idle_watts, move_wh, per_load),
        limits=Limits(payback_h=how.payback_h),
    )


def _relative(values: F64) -> F64:
    """To their mean."""
    return np.asarray(values / max(float(values.mean()), 1e-12))


def repack(problem: Problem, slot: int, how: Repacking) -> MovePlan:
    """What to move in slot number `slot`. Whoever runs the plan holds it against
    `placement.check` first. Raises InvalidRequest."""
    is_time = slot % how.drain_slots == 0
    return replan(problem, how.alarm, how.tries) if is_time else rebalance(problem, how.alarm)
