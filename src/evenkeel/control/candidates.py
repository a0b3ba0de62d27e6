"""What could be done for a victim, and what the physics says each would bring.

Every candidate changes one knob of one VM. It is judged by running the capacity physics again with
that VM's tuning replaced: the victim's benefit less the harm to everybody else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64
from evenkeel.domain.host import Capability, Host
from evenkeel.domain.ids import VmId
from evenkeel.domain.plan import (
    ActionKind,
    Instruction,
    SetCpuQuota,
    SetCpuShares,
    SetVcpuPins,
)
from evenkeel.domain.policy import Policy
from evenkeel.domain.resources import SPECS, Resource
from evenkeel.domain.vm import CpuTuning, Vm
from evenkeel.interference.loads import DEFAULT_SHARES, cpu_demand, cpu_loss_with
from evenkeel.interference.window import Window

BOOSTS: Final = (2, 4, 8)
MAX_SHARES: Final = 10_000
"""The upper bound that cgroup v1 and v2 have in common."""
QUOTA_PERIOD_US: Final = 100_000
MIN_QUOTA_US: Final = 10_000
KIND_COST: Final = {ActionKind.PIN_APART: 0.0, ActionKind.BOOST: 0.02, ActionKind.QUOTA: 0.05}
"""Preference between equals, in cores: what takes nothing from anybody comes first."""
HELP_WEIGHT: Final = 0.25
"""What others win counts too, but is not what it is done for."""
SURPLUS_WEIGHT: Final = 0.25
"""Harm to an aggressor above its fair share counts this much: it was not its own to lose."""

NEEDS: Final = {
    ActionKind.PIN_APART: Capability.PIN,
    ActionKind.BOOST: Capability.SHARES,
    ActionKind.QUOTA: Capability.QUOTA,
}


@dataclass(frozen=True, slots=True)
class Candidate:
    kind: ActionKind
    target: Vm
    instruction: Instruction
    tuning: CpuTuning


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """(N,) mean share of demand lost, before and after; `net` is the worth in cores."""

    candidate: Candidate
    before: F64
    after: F64
    net: float
    objection: str


def propose(window: Window, host: Host, victim: int, aggressor: int | None) -> Iterator[Candidate]:
    """All candidates for a (victim, aggressor) pair of columns; None stands for the host itself."""
    sick = window.vms[victim]
    rowdy = None if aggressor is None else window.vms[aggressor]
    targets = [(sick, rowdy)] + ([(rowdy, sick)] if rowdy is not None else [])
    for target, other in reversed(targets):
        for pins in _pin_sets(window, host, target, other):
            tuning = replace(target.tuning, vcpu_pins=pins)
            yield Candidate(ActionKind.PIN_APART, target, SetVcpuPins(target.id, pins), tuning)
    if sick.tuning.shares is not None:
        for factor in BOOSTS:
            shares = min(MAX_SHARES, sick.tuning.shares * factor)
            if shares > sick.tuning.shares:
                tuning = replace(sick.tuning, shares=shares)
                yield Candidate(ActionKind.BOOST, sick, SetCpuShares(sick.id, shares), tuning)
    if rowdy is not None and rowdy.tuning.quota_us is not None:
        yield from _quotas(window, host, rowdy)


def _pin_sets(
    window: Window, host: Host, target: Vm, other: Vm | None
) -> Iterator[tuple[tuple[int, ...], ...]]:
    """Core sets for `target`: the quietest ones, kept off the other's cores where possible."""
    everywhere = set(host.cpus)
    occupied = set(other.tuning.cpuset) & everywhere if other else set()
    load = _load_without(window, host, target)
    current = (set(target.tuning.cpuset) & everywhere) or everywhere
    for avoid in (occupied, set()):
        free = sorted(everywhere - avoid, key=lambda cpu: (load[cpu], cpu))
        chosen = tuple(sorted(free[: max(1, min(target.n_vcpus, len(everywhere) - 1))]))
        if chosen and set(chosen) != current:
            yield (chosen,) * max(1, len(target.tuning.vcpu_pins))
        if occupied == set():
            break


def _load_without(window: Window, host: Host, target: Vm) -> dict[int, float]:
    """Mean load per host CPU that everybody but `target` causes."""
    weights = window.weights(half_life_s=15.0)
    loss, demand = cpu_loss_with(window, host, weights, {})
    mean = weights @ demand
    mean[window.index_of(target.id)] = 0.0
    per_atom = (mean @ loss.share) / loss.atoms.sizes
    return {cpu: float(per_atom[a]) for a, cpus in enumerate(loss.atoms.cpus) for cpu in cpus}


def _quotas(window: Window, host: Host, rowdy: Vm) -> Iterator[Candidate]:
    """Cap the aggressor at its fair share of the host, or at what it uses halved."""
    i = window.index_of(rowdy.id)
    demand = cpu_demand(window)
    if i is None or not len(demand):
        return
    fair = float(fair_share(window, host)[i])
    for cores in sorted({fair, max(fair, float(demand[-1, i]) / 2)}):
        per_vcpu = math.ceil(cores / rowdy.n_vcpus * QUOTA_PERIOD_US)
        quota_us = max(MIN_QUOTA_US, per_vcpu)
        if quota_us < QUOTA_PERIOD_US and cores < rowdy.tuning.quota_cores:
            tuning = replace(rowdy.tuning, period_us=QUOTA_PERIOD_US, quota_us=quota_us)
            yield Candidate(
                ActionKind.QUOTA, rowdy, SetCpuQuota(rowdy.id, QUOTA_PERIOD_US, quota_us), tuning
            )


def judge(
    window: Window,
    host: Host,
    policy: Policy,
    row_weights: F64,
    pair: tuple[int, int | None],
    candidate: Candidate,
) -> Outcome:
    """Predict a candidate's effect for a (victim, aggressor) pair of columns.

    Its worth is counted in cores won back less cores taken from others, each weighted by the
    VM's priority; `objection` is empty when it may be done.
    """
    wanted = np.asarray(row_weights @ cpu_demand(window), dtype=np.float64)
    before = mean_lost(window, host, row_weights, {})
    after = mean_lost(window, host, row_weights, {candidate.target.id: candidate.tuning})
    priority = np.array([vm.priority for vm in window.vms])
    won = (before - after) * priority
    care = np.where(won < 0, _care(window, host, wanted, pair[1]), HELP_WEIGHT)
    care[pair[0]] = 1.0
    return Outcome(
        candidate=candidate,
        before=_share(before, wanted),
        after=_share(after, wanted),
        net=float((won * care).sum()) - KIND_COST[candidate.kind],
        objection=_objection(window, policy, pair, candidate, before, after, wanted),
    )


def mean_lost(window: Window, host: Host, row_weights: F64, changed: dict[VmId, CpuTuning]) -> F64:
    """(N,) mean cores lost to others under changed tunings, own quotas included.

    As in the scores, a loss below one shard is not material and counts as none.
    """
    loss, demand = cpu_loss_with(window, host, row_weights, changed)
    quota = np.array([changed.get(vm.id, vm.tuning).quota_cores for vm in window.vms])
    lost = loss.lost + np.maximum(demand - quota, 0.0)
    material = lost * (lost >= SPECS[Resource.CPU].shard)
    return np.asarray(row_weights @ material, dtype=np.float64)


def loss_with(
    window: Window, host: Host, row_weights: F64, victim: int, changed: dict[VmId, CpuTuning]
) -> tuple[float, float]:
    """What the victim would lose if these VMs had these tunings: (share of demand, cores)."""
    lost = mean_lost(window, host, row_weights, changed)
    wanted = np.asarray(row_weights @ cpu_demand(window), dtype=np.float64)
    return float(_share(lost, wanted)[victim]), float(lost[victim])


def _share(lost: F64, wanted: F64) -> F64:
    return np.divide(lost, wanted, out=np.zeros_like(lost), where=wanted > 0)


def _care(window: Window, host: Host, wanted: F64, aggressor: int | None) -> F64:
    """(N,) how much a VM's harm counts: an aggressor's above its fair share counts less."""
    care = np.ones(len(window.vms))
    if aggressor is not None and wanted[aggressor] > fair_share(window, host)[aggressor]:
        care[aggressor] = SURPLUS_WEIGHT
    return care


def fair_share(window: Window, host: Host) -> F64:
    """(N,) cores of the host that each VM's weight entitles it to."""
    shares = np.array([float(vm.tuning.shares or DEFAULT_SHARES) for vm in window.vms])
    return np.asarray(len(host.cpus) * shares / shares.sum(), dtype=np.float64)


def _objection(
    window: Window,
    policy: Policy,
    pair: tuple[int, int | None],
    candidate: Candidate,
    before: F64,
    after: F64,
    wanted: F64,
) -> str:
    """Why a candidate may not be done, or an empty string."""
    victim, _ = pair
    if candidate.target.exempt:
        return f"{candidate.target.name} is exempt"
    gain_cores = float(before[victim] - after[victim])
    if gain_cores < policy.min_benefit * wanted[victim]:
        return f"would cut the loss by {gain_cores / max(wanted[victim], 1e-9):.0%} only"
    if gain_cores < policy.min_gain_cores:
        return f"would win back {gain_cores:.2f} cores only"
    share = _share(after, wanted)
    for i, vm in enumerate(window.vms):
        worse = float(after[i] - before[i])
        if i not in pair and worse >= policy.min_gain_cores and 100 * share[i] > policy.alarm_score:
            return f"would hurt {vm.name}: it would lose {share[i]:.0%}"
    return ""
