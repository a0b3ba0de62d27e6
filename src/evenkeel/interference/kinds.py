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
from evenkeel.interference.traits import FARTHEST, MOOD, PRIOR_SPREAD, Belief

FORMAT: Final = 1
MOST_KEPT: Final = 2000
"""VMs that are remembered on a host; those not seen for longest are forgotten first."""
WITHIN: Final = 0.7
"""How much of a stranger's spread is left among the VMs of one kind."""
_SHAPE: Final = (2, N_RESOURCES)
_STRANGER: Final = np.broadcast_to(PRIOR_SPREAD[:MOOD, None] ** 2, _SHAPE)

_CALM: Final = np.stack([np.zeros(N_RESOURCES), np.full(N_RESOURCES, PRIOR_SPREAD[MOOD] ** 2)])


@dataclass(frozen=True, slots=True, eq=False)
class Learnt:
    """`mean` and `variance` (2, R) of the logs of one VM's or kind's lasting traits."""

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
    """What was learnt of each VM, those seen last at the end. Immutable.

    `moods` (2, R), mean and variance, are of the VMs of the last tick alone, and are not saved.
    """

    kept: Mapping[VmId, Learnt] = field(default_factory=lambda: MappingProxyType({}))
    moods: Mapping[VmId, F64] = field(default_factory=lambda: MappingProxyType({}))

    def belief(self, vms: Sequence[Vm], priors: Priors) -> Belief:
        """Of the VMs in their order: what was learnt, or what their kind says."""
        known = [self.kept.get(vm.id) or priors.of(_kind(vm)) for vm in vms]
        return _stacked(known, [self.moods.get(vm.id, _CALM) for vm in vms])

    def with_(self, vms: Sequence[Vm], belief: Belief) -> TraitMemory:
        """The same with what is believed of `vms` now."""
        kept = dict(self.kept)
        for i, vm in enumerate(vms):
            kept.pop(vm.id, None)
            kept[vm.id] = Learnt(_kind(vm), belief.mean[:MOOD, i], belief.variance[:MOOD, i])
        for _, oldest in zip(range(len(kept) - MOST_KEPT), list(kept), strict=False):
            del kept[oldest]
        moods = {
            vm.id: np.stack([belief.mean[MOOD, i], belief.variance[MOOD, i]])
            for i, vm in enumerate(vms)
        }
        return TraitMemory(MappingProxyType(kept), MappingProxyType(moods))

    def save(self) -> bytes:
        return _save("memory", self.kept)

    @classmethod
    def load(cls, blob: bytes) -> TraitMemory:
        """Raises ModelCorrupt: it is damaged, of another version, or something else."""
        kept = {VmId(name): learnt for name, learnt in _load("memory", blob).items()}
        return cls(MappingProxyType(kept))


def _kind(vm: Vm) -> str:
    """In one line, since lists of kinds are kept as lines."""
    return " ".join(kind_of(vm).split())


def expected(vms: Sequence[Vm], priors: Priors) -> Belief:
    """What the VMs' kinds say of them."""
    return _stacked([priors.of(_kind(vm)) for vm in vms], [_CALM] * len(vms))


def _stacked(known: Sequence[Learnt], moods: Sequence[F64]) -> Belief:
    if not known:
        return Belief.nobody_knows(0)
    mood = np.stack(moods, axis=1)[:, None]
    mean = np.stack([one.mean for one in known], axis=1)
    variance = np.stack([one.variance for one in known], axis=1)
    return Belief(np.concatenate([mean, mood[0]]), np.concatenate([variance, mood[1]]))


@dataclass(frozen=True, slots=True, eq=False)
class Said:
    """What VMs of one kind say together: `weight` and `total` (2, R), the sums of their weights
    and of their weighted traits. Sums of sums are the same again, so hosts can be added up."""

    kind: str
    weight: F64
    total: F64


def said_by(learnt: Iterable[Learnt]) -> tuple[Said, ...]:
    """By kind, sorted. A VM says as much as its variance has shrunk."""
    by_kind: dict[str, list[Learnt]] = {}
    for one in learnt:
        by_kind.setdefault(one.kind, []).append(one)
    out = []
    for kind, members in sorted(by_kind.items()):
        mean = np.stack([one.mean for one in members])
        variance = np.stack([one.variance for one in members])
        weight = np.clip(1.0 - variance / _STRANGER, 0.0, 1.0) / (WITHIN * _STRANGER + variance)
        out.append(Said(kind, weight.sum(axis=0), (weight * mean).sum(axis=0)))
    return tuple(out)


def pool(said: Iterable[Said]) -> Priors:
    """Priors of every kind and of all kinds together, drawn towards 1 as far as little was said."""
    by_kind: dict[str, tuple[F64, F64]] = {}
    for one in said:
        weight, total = by_kind.get(one.kind, (np.zeros(_SHAPE), np.zeros(_SHAPE)))
        by_kind[one.kind] = (weight + one.weight, total + one.total)
    if not by_kind:
        return Priors()
    everyone = [sum(parts) for parts in zip(*by_kind.values(), strict=True)]
    overall = _pooled("", everyone[0], everyone[1], np.zeros(_SHAPE), _STRANGER)
    kinds = {
        kind: _pooled(kind, weight, total, overall.mean, WITHIN * _STRANGER)
        for kind, (weight, total) in sorted(by_kind.items())
        if kind
    }
    return Priors(MappingProxyType({"": overall, **kinds}))


def _pooled(kind: str, weight: F64, total: F64, around: F64, between: F64) -> Learnt:
    """`between` (2, R): variance of kinds about `around`."""
    precision = 1.0 / between + weight
    mean = (around / between + total) / precision
    return Learnt(kind, mean, np.minimum(WITHIN * _STRANGER + 1.0 / precision, _STRANGER))


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
