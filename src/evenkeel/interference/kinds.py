"""What VMs of a kind have in common, and what is remembered of each: priors and posteriors.

A VM that was never seen has its kind's traits, a kind nobody knows those of all kinds, and a VM
that comes back what was learnt of it. Kinds are pooled from their VMs by precision (partial
pooling: Gelman & Hill 2007, ch. 12): a VM counts as far as it has been learnt from at all, and a
kind with few VMs stays near what all kinds have in common.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from evenkeel.domain.arrays import F64
from evenkeel.domain.bundle import from_text, pack, text, unpack
from evenkeel.domain.errors import ModelCorrupt
from evenkeel.domain.ids import VmId
from evenkeel.domain.resources import N_RESOURCES
from evenkeel.domain.rollup import kind_of
from evenkeel.domain.vm import Vm
from evenkeel.interference.traits import FARTHEST, PRIOR_SPREAD, Belief

FORMAT: Final = 1
MOST_KEPT: Final = 2000
"""VMs that are remembered on a host; those not seen for longest are forgotten first."""
WITHIN: Final = 0.7
"""How much of a stranger's spread is left among the VMs of one kind."""
_SHAPE: Final = (2, N_RESOURCES)
_STRANGER: Final = np.broadcast_to(PRIOR_SPREAD[:, None] ** 2, _SHAPE)


@dataclass(frozen=True, slots=True, eq=False)
class Learnt:
    """`mean` and `variance` (2, R) of the logs of one VM's or kind's traits."""

    kind: str
    mean: F64
    variance: F64


@dataclass(frozen=True, slots=True, eq=False)
class Priors:
    """What to expect of a VM before it is measured, by kind. "" stands for all other kinds."""

    by_kind: Mapping[str, Learnt] = field(default_factory=lambda: MappingProxyType({}))

    def of(self, kind: str) -> Learnt:
        known = self.by_kind.get(kind) or self.by_kind.get("")
        return known or Learnt(kind, np.zeros(_SHAPE), np.array(_STRANGER))

    def save(self) -> bytes:
        return _save("priors", self.by_kind)

    @classmethod
    def load(cls, blob: bytes) -> Priors:
        """Raises ModelCorrupt: it is damaged, of another version, or something else."""
        return cls(MappingProxyType(_load("priors", blob)))


@dataclass(frozen=True, slots=True, eq=False)
class TraitMemory:
    """What was learnt of each VM, those seen last at the end. Immutable."""

    kept: Mapping[VmId, Learnt] = field(default_factory=lambda: MappingProxyType({}))

    def belief(self, vms: Sequence[Vm], priors: Priors) -> Belief:
        """Of the VMs in their order: what was learnt, or what their kind says."""
        known = [self.kept.get(vm.id) or priors.of(kind_of(vm)) for vm in vms]
        return _stacked(known)

    def with_(self, vms: Sequence[Vm], belief: Belief) -> TraitMemory:
        """The same with what is believed of `vms` now."""
        kept = dict(self.kept)
        for i, vm in enumerate(vms):
            kept.pop(vm.id, None)
            kept[vm.id] = Learnt(kind_of(vm), belief.mean[:, i], belief.variance[:, i])
        for _, oldest in zip(range(len(kept) - MOST_KEPT), list(kept), strict=False):
            del kept[oldest]
        return TraitMemory(MappingProxyType(kept))

    def save(self) -> bytes:
        return _save("memory", self.kept)

    @classmethod
    def load(cls, blob: bytes) -> TraitMemory:
        """Raises ModelCorrupt: it is damaged, of another version, or something else."""
        kept = {VmId(name): learnt for name, learnt in _load("memory", blob).items()}
        return cls(MappingProxyType(kept))


def expected(vms: Sequence[Vm], priors: Priors) -> Belief:
    """What the VMs' kinds say of them."""
    return _stacked([priors.of(kind_of(vm)) for vm in vms])


def _stacked(known: Sequence[Learnt]) -> Belief:
    if not known:
        return Belief.nobody_knows(0)
    mean = np.stack([one.mean for one in known], axis=1)
    return Belief(mean, np.stack([one.variance for one in known], axis=1))


def pool(learnt: Iterable[Learnt]) -> Priors:
    """Priors of every kind and of all kinds together, from what was learnt of single VMs."""
    by_kind: dict[str, list[Learnt]] = {}
    for one in learnt:
        by_kind.setdefault(one.kind, []).append(one)
    if not by_kind:
        return Priors()
    everyone = [one for members in by_kind.values() for one in members]
    overall = _pooled("", everyone, np.zeros(_SHAPE), np.array(_STRANGER))
    priors = {"": overall}
    for kind, members in sorted(by_kind.items()):
        if kind:
            priors[kind] = _pooled(kind, members, overall.mean, WITHIN * _STRANGER)
    return Priors(MappingProxyType(priors))


def _pooled(kind: str, members: Sequence[Learnt], around: F64, between: F64) -> Learnt:
    """The mean of a kind's VMs, drawn towards `around` as far as they say little.

    `between` (2, R): variance of kinds about `around`. A VM says as much as its own variance has
    shrunk.
    """
    within = WITHIN * _STRANGER
    mean = np.stack([one.mean for one in members])
    variance = np.stack([one.variance for one in members])
    said = np.clip(1.0 - variance / _STRANGER, 0.0, 1.0)
    weight = said / (within + variance)
    precision = 1.0 / between + weight.sum(axis=0)
    pooled = (around / between + (weight * mean).sum(axis=0)) / precision
    return Learnt(kind, pooled, np.minimum(within + 1.0 / precision, _STRANGER))


def _save(what: str, learnt: Mapping[Any, Learnt]) -> bytes:
    names = list(learnt)
    empty = np.empty((0, *_SHAPE))
    return pack(
        format=np.array([FORMAT]),
        what=from_text(what),
        names=from_text("\n".join(names)),
        kinds=from_text("\n".join(learnt[name].kind for name in names)),
        mean=np.stack([learnt[name].mean for name in names]) if names else empty,
        variance=np.stack([learnt[name].variance for name in names]) if names else empty,
    )


def _load(what: str, blob: bytes) -> dict[str, Learnt]:
    told = unpack(blob)
    try:
        version, said = told["format"].tolist(), text(told["what"])
        names, kinds = text(told["names"]).split("\n"), text(told["kinds"]).split("\n")
        mean = told["mean"].astype(np.float64)
        variance = told["variance"].astype(np.float64)
    except (KeyError, ValueError, TypeError) as error:
        raise ModelCorrupt(f"these are no traits: {error}") from error
    if version != [FORMAT] or said != what:
        raise ModelCorrupt(f"these are {said} of format {version}, not {what} of format {FORMAT}")
    n = len(mean)
    if not n:
        return {}
    if mean.shape != (n, *_SHAPE) or variance.shape != mean.shape or len({*names}) != n:
        raise ModelCorrupt("these are no traits: names and numbers do not fit together")
    sound = np.abs(mean).max() <= FARTHEST and variance.min() > 0 and np.isfinite(variance).all()
    if len(kinds) != n or not sound:
        raise ModelCorrupt("these are no traits: their numbers cannot be")
    return {
        name: Learnt(kind, mean[i], variance[i])
        for i, (name, kind) in enumerate(zip(names, kinds, strict=True))
    }
