"""Our model of pairs: sensitivity x pressure x physics, averaged over several views of a profile.

Each member is a `Process` over one view. Physics enters twice: as what both demand of a pool, and,
in diluted members, as the share of the victim's time that its partner is there at all. Whether
dilution helps depends on how the co-runs were measured: the mean is over both kinds of members.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64, Ints
from evenkeel.domain.bundle import from_text, text
from evenkeel.domain.corun import CoRuns
from evenkeel.domain.errors import ModelCorrupt
from evenkeel.interference.pairs.base import Arrays, Said, learnable, opened, sealed
from evenkeel.interference.pairs.process import Inputs, Process
from evenkeel.interference.pairs.scaling import Scaling
from evenkeel.interference.pairs.views import demands, look, together, views_of

DILUTION: Final = 0.5
"""Weight of a partner that is there for a share s of the time: s ** DILUTION (noisy times)."""
_INPUTS: Final = ("victim", "partner", "placement", "demand", "victim_id", "partner_id", "weight")
_SCALINGS: Final = ("victim_by", "partner_by", "placement_by", "demand_by")
Asked = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """One view, fitted: how features are scaled, and the process."""

    view: str
    is_diluted: bool
    victim_by: Scaling
    partner_by: Scaling
    placement_by: Scaling
    demand_by: Scaling
    process: Process

    @classmethod
    def fit(
        cls, view: str, is_diluted: bool, co_runs: CoRuns, names: Sequence[str], seed: int
    ) -> Member:
        victim = look(view, co_runs.victim_features, co_runs.victim_solo)
        partner = look(view, co_runs.partner_features, co_runs.partner_solo)
        if co_runs.has_one_profile:
            # A workload is one point, whichever side it is on and however often it was measured.
            whole = np.concatenate([victim, partner])
            _, first = np.unique([*co_runs.victim, *co_runs.partner], return_index=True)
            victim_by = partner_by = Scaling.of(whole[first])
        else:
            victim_by, partner_by = Scaling.of(victim), Scaling.of(partner)
        scalings = (victim_by, partner_by, Scaling.of(co_runs.placement))
        scaled = Scaling.of if co_runs.has_one_profile else Scaling.from_zero
        demand_by = scaled(demands(co_runs))
        rows = _inputs(view, is_diluted, (*scalings, demand_by), co_runs, names)
        process = Process.fit(rows, np.log(co_runs.slowdown), seed)
        return cls(view, is_diluted, *scalings, demand_by, process)

    def predict(self, co_runs: CoRuns, names: Sequence[str]) -> tuple[F64, F64]:
        """(N,) mean and variance of log slowdown."""
        scalings = (self.victim_by, self.partner_by, self.placement_by, self.demand_by)
        return self.process.predict(_inputs(self.view, self.is_diluted, scalings, co_runs, names))


@dataclass(frozen=True, slots=True, eq=False)
class FittedTraits:
    """Members, the workloads they know by name, and the features they were learnt from."""

    name: str
    members: tuple[Member, ...]
    known: tuple[str, ...]
    features: Asked

    def predict(self, co_runs: CoRuns) -> Said:
        if _features(co_runs) != self.features:
            raise ValueError("these co-runs have other features than those learnt from")
        mean, spread = _mean([m.predict(co_runs, self.known) for m in self.members])
        expected = np.exp(mean)
        return Said.of(expected, expected * spread)

    def save(self) -> bytes:
        about = {
            "known": self.known,
            "features": self.features,
            "members": [(m.view, m.is_diluted, m.process.scale) for m in self.members],
        }
        arrays: Arrays = {"about": from_text(json.dumps(about))}
        for i, member in enumerate(self.members):
            arrays[f"{i}.theta"] = member.process.theta
            arrays[f"{i}.answers"] = member.process.answers
            for part in _INPUTS:
                arrays[f"{i}.rows.{part}"] = getattr(member.process.rows, part)
            for part in _SCALINGS:
                by: Scaling = getattr(member, part)
                arrays[f"{i}.{part}"] = np.stack([by.mean, by.spread])
        return sealed(self.name, arrays)


@dataclass(frozen=True, slots=True)
class TraitsModel:
    """The same whatever will be unseen: nothing is chosen."""

    name: str = "traits"

    def fit(self, co_runs: CoRuns, seed: int) -> FittedTraits:
        co_runs = learnable(co_runs)
        known = tuple(sorted({*co_runs.victim, *co_runs.partner}))
        members = _members(co_runs, known, seed)
        return FittedTraits(self.name, members, known, _features(co_runs))

    def load(self, blob: bytes) -> FittedTraits:
        arrays = opened(self.name, blob)
        try:
            about = json.loads(text(arrays["about"]))
            members = [
                _member(arrays, i, view, is_diluted, scale)
                for i, (view, is_diluted, scale) in enumerate(about["members"])
            ]
            one, two, three = (tuple(map(str, names)) for names in about["features"])
            return FittedTraits(self.name, tuple(members), tuple(about["known"]), (one, two, three))
        except (KeyError, ValueError, TypeError) as error:
            raise ModelCorrupt(f"a part of this model is missing or damaged: {error}") from error


def _member(arrays: Arrays, i: int, view: str, is_diluted: bool, scale: float) -> Member:
    victim_by, partner_by, placement_by, demand_by = (
        Scaling(*arrays[f"{i}.{part}"]) for part in _SCALINGS
    )
    rows = Inputs(*(arrays[f"{i}.rows.{part}"] for part in _INPUTS))
    process = Process(rows, arrays[f"{i}.theta"], arrays[f"{i}.answers"], scale)
    return Member(view, is_diluted, victim_by, partner_by, placement_by, demand_by, process)


def _members(co_runs: CoRuns, names: Sequence[str], seed: int) -> tuple[Member, ...]:
    """One of each view and kind; undiluted ones alone where nobody is there for less time."""
    kinds = (False, True) if together(co_runs).any() else (False,)
    return tuple(
        Member.fit(view, is_diluted, co_runs, names, seed)
        for is_diluted in kinds
        for view in views_of(co_runs)
    )


def _inputs(
    view: str,
    is_diluted: bool,
    scalings: tuple[Scaling, Scaling, Scaling, Scaling],
    co_runs: CoRuns,
    names: Sequence[str],
) -> Inputs:
    victim_by, partner_by, placement_by, demand_by = scalings
    return Inputs(
        victim=victim_by(look(view, co_runs.victim_features, co_runs.victim_solo)),
        partner=partner_by(look(view, co_runs.partner_features, co_runs.partner_solo)),
        placement=placement_by(co_runs.placement),
        demand=demand_by(demands(co_runs)),
        victim_id=_ids(co_runs.victim, names),
        partner_id=_ids(co_runs.partner, names),
        weight=np.exp(DILUTION * together(co_runs)) if is_diluted else np.ones(co_runs.n),
    )


def _ids(who: Sequence[str], names: Sequence[str]) -> Ints:
    at = {name: i for i, name in enumerate(names)}
    return np.array([at.get(name, -1) for name in who], dtype=np.intp)


def _features(co_runs: CoRuns) -> Asked:
    return co_runs.victim_features, co_runs.partner_features, co_runs.placement_features


def _mean(said: Sequence[tuple[F64, F64]]) -> tuple[F64, F64]:
    """Mean of members, and the standard deviation of the mixture (within and between them)."""
    means = np.array([mean for mean, _ in said])
    variance = np.array([v for _, v in said]).mean(axis=0) + means.var(axis=0)
    return np.asarray(means.mean(axis=0)), np.asarray(np.sqrt(variance))
