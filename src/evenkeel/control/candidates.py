"""What could be done for a victim, and what the physics says each would bring.

Every candidate changes one knob of one VM. It is judged by running the capacity physics again with
that VM's tuning replaced: the victim's benefit less the harm to everybody else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64
from evenkeel.domain.host import Capability, Host
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
from evenkeel.interference.cores import Atoms
from evenkeel.interference.loads import (
    DEFAULT_SHARES,
    Tunings,
    cpu_demand,
    cpu_lost,
    cpu_spread,
)
from evenkeel.interference.window import Window

BOOSTS: Final = (2, 4, 8)
MAX_SHARES: Final = 10_000
"""The upper bound that cgroup v1 and v2 have in common."""
QUOTA_PERIOD_US: Final = 100_000
MIN_QUOTA_US: Final = 10_000
DOUBT: Final = 0.05
"""Of the cores that change hands: physics is no surer of what is won than that."""
KIND_COST: Final = {ActionKind.PIN_APART: 0.0, ActionKind.BOOST: 0.02, ActionKind.QUOTA: 0.05}
"""Preference between equals, in cores: what takes nothing from anybody comes first."""
HELP_WEIGHT: Final = 0.25
"""What others win counts too, but is not what it is done for."""
SURPLUS_WEIGHT: Final = 0.25
"""What a VM has above its fair share counts this much: it is not its own to win or to lose."""

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
    loads = _loads(window, host)
    pair = [(victim, rowdy)] if aggressor is None else [(aggressor, sick), (victim, rowdy)]
    for column, other in pair:
        target = window.vms[column]
        for pins in _pin_sets(host, target, other, loads.without(column)):
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
    host: Host, target: Vm, other: Vm | None, load: dict[int, float]
) -> Iterator[tuple[tuple[int, ...], ...]]:
    """Core sets for `target`: the quietest ones, kept off the other's cores where possible."""
    everywhere = set(host.cpus)
    occupied = set(other.tuning.cpuset) & everywhere if other else set()
    current = (set(target.tuning.cpuset) & everywhere) or everywhere
    for avoid in (occupied, set()):
        free = sorted(everywhere - avoid, key=lambda cpu: (load[cpu], cpu))
        chosen = tuple(sorted(free[: max(1, min(target.n_vcpus, len(everywhere) - 1))]))
        if chosen and set(chosen) != current:
            yield (chosen,) * max(1, len(target.tuning.vcpu_pins))
        if occupied == set():
            break


@dataclass(frozen=True, slots=True, eq=False)
class _Loads:
    """Mean cores (N,) wanted by VMs, and the share (N, A) of each that lies on each atom."""

    atoms: Atoms
    mean: F64
    share: F64

    def without(self, column: int) -> dict[int, float]:
        """Mean load per host CPU that everybody but one VM causes."""
        others = self.mean.copy()
        others[column] = 0.0
        per_atom = (others @ self.share) / self.atoms.sizes
        return {cpu: float(per_atom[a]) for a, cpus in enumerate(self.atoms.cpus) for cpu in cpus}


def _loads(window: Window, host: Host) -> _Loads:
    weights = window.weights(half_life_s=15.0)
    atoms, share = cpu_spread(window, host, weights)
    return _Loads(atoms, weights @ cpu_demand(window), share)


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
    candidates: Sequence[Candidate],
) -> list[Outcome]:
    """Predict each candidate's effect for a (victim, aggressor) pair of columns.

    Its worth is counted in cores won back less cores taken from others, each weighted by the
    VM's priority; `objection` is empty when it may be done.
    """
    wanted = np.asarray(row_weights @ cpu_demand(window), dtype=np.float64)
    worlds: list[Tunings] = [{}, *({c.target.id: c.tuning} for c in candidates)]
    lost = _lost(window, host, row_weights, worlds)
    every = np.asarray(row_weights @ lost, dtype=np.float64)
    before, *afters = _material(lost, row_weights)
    fair = fair_share(window, host)
    outcomes = []
    for candidate, after, shares in zip(candidates, afters, _share(every[1:], wanted), strict=True):
        objection = _objection(policy, pair, candidate, before - after, wanted) or _hurts(
            window, policy, pair, every[0], shares, wanted
        )
        worth = _worth(window, fair, wanted, pair, wanted - before, wanted - after)
        outcomes.append(
            Outcome(
                candidate=candidate,
                before=_share(before, wanted),
                after=_share(after, wanted),
                net=worth - KIND_COST[candidate.kind],
                objection=objection,
            )
        )
    return outcomes


def _worth(
    window: Window, fair: F64, wanted: F64, pair: tuple[int, int | None], before: F64, after: F64
) -> float:
    """What it is worth, in cores, that VMs (N,) get `after` instead of `before`.

    A victim's gain counts in full up to its fair share, an aggressor's loss less where it wants
    more than that: shifting cores among those who have more than theirs helps nobody.
    """
    victim, aggressor = pair
    won = after - before
    worth = won * np.where(won < 0, 1.0, HELP_WEIGHT)
    ends = np.array([before[victim], after[victim]])
    own = np.minimum(ends, fair[victim])
    worth[victim] = np.diff(own + SURPLUS_WEIGHT * (ends - own))[0]
    if aggressor is not None and won[aggressor] < 0 and wanted[aggressor] > fair[aggressor]:
        worth[aggressor] = SURPLUS_WEIGHT * won[aggressor]
    shifted = float(np.abs(won).sum()) / 2
    return float(worth @ np.array([vm.priority for vm in window.vms])) - DOUBT * shifted


def _lost(window: Window, host: Host, row_weights: F64, worlds: Sequence[Tunings]) -> F64:
    """(W, T, N) cores lost to others under each world's tunings, own quotas included."""
    lost, demand = cpu_lost(window, host, row_weights, worlds)
    quota = np.array(
        [[world.get(vm.id, vm.tuning).quota_cores for vm in window.vms] for world in worlds]
    )
    return np.asarray(lost + np.maximum(demand - quota[:, None], 0.0))


def mean_lost(window: Window, host: Host, row_weights: F64, worlds: Sequence[Tunings]) -> F64:
    """(W, N) mean cores lost to others under each world's tunings, own quotas included.

    As in the scores, a loss below one shard is not material and counts as none.
    """
    return _material(_lost(window, host, row_weights, worlds), row_weights)


def _material(lost: F64, row_weights: F64) -> F64:
    """(W, N) mean over rows of what is lost (W, T, N) in those in which it is a shard or more."""
    return np.asarray(row_weights @ (lost * (lost >= SPECS[Resource.CPU].shard)), dtype=np.float64)


def loss_with(
    window: Window, host: Host, row_weights: F64, victim: int, worlds: Sequence[Tunings]
) -> list[tuple[float, float]]:
    """What the victim would lose under each world's tunings: (share of demand, cores)."""
    lost = mean_lost(window, host, row_weights, worlds)[:, victim]
    wanted = float(row_weights @ cpu_demand(window)[:, victim])
    return [(float(cores / wanted) if wanted > 0 else 0.0, float(cores)) for cores in lost]


def _share(lost: F64, wanted: F64) -> F64:
    return np.divide(lost, wanted, out=np.zeros_like(lost), where=wanted > 0)


def fair_share(window: Window, host: Host) -> F64:
    """(N,) cores of the host that each VM's weight entitles it to."""
    shares = np.array([float(vm.tuning.shares or DEFAULT_SHARES) for vm in window.vms])
    return np.asarray(len(host.cpus) * shares / shares.sum(), dtype=np.float64)


def _objection(
    policy: Policy, pair: tuple[int, int | None], candidate: Candidate, won: F64, wanted: F64
) -> str:
    """Why a candidate that wins (N,) cores may not be done, or an empty string."""
    if candidate.target.exempt:
        return f"{candidate.target.name} is exempt"
    gain_cores = float(won[pair[0]])
    if gain_cores < policy.min_benefit * wanted[pair[0]]:
        return f"would cut the loss by {gain_cores / max(wanted[pair[0]], 1e-9):.0%} only"
    if gain_cores < policy.min_gain_cores:
        return f"would win back {gain_cores:.2f} cores only"
    return ""


def _hurts(
    window: Window,
    policy: Policy,
    pair: tuple[int, int | None],
    before: F64,
    shares: F64,
    wanted: F64,
) -> str:
    """Whom else it would hurt, or an empty string.

    `before` (N,) cores lost without it, `shares` (N,) of demand lost with it. Small VMs are hurt by
    the loss of one shard.
    """
    rise = shares * wanted - before
    hurt = (rise >= SPECS[Resource.CPU].shard) & (100 * shares > policy.alarm_score)
    hurt[[column for column in pair if column is not None]] = False
    for i in np.flatnonzero(hurt):
        return f"would hurt {window.vms[i].name}: it would lose {shares[i]:.0%}"
    return ""
