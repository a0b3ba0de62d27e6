"""Our model of pairs: sensitivity x pressure x physics, averaged over several views of a profile.

Each member is a `Process` over one view. Physics enters twice: as what both demand of a pool, and,
in diluted members, as the share of the victim's time that its partner is there at all. Whether
dilution helps depends on how the co-runs were measured: the mean is over both kinds of members.
Scores are calibrated by what came of co-runs left out (`score`).
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
from evenkeel.interference.pairs.base import (
    Arrays,
    Facing,
    Said,
    identities,
    learnable,
    opened,
    sealed,
)
from evenkeel.interference.pairs.process import Inputs, Process
from evenkeel.interference.pairs.scaling import Scaling
from evenkeel.interference.pairs.score import Calibration
from evenkeel.interference.pairs.views import demands, look, together, views_of

DILUTION: Final = 0.5
"""Weight of a partner that is there for a share s of the time: s ** DILUTION (noisy times)."""
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
    """Members, the workloads they know by name, the features they were learnt from, and how their
    scores come true."""

    name: str
    members: tuple[Member, ...]
    known: tuple[str, ...]
    features: Asked
    scores: Calibration

    def predict(self, co_runs: CoRuns) -> Said:
        if _features(co_runs) != self.features:
            raise ValueError("these co-runs have other features than those learnt from")
        return self.scores(_said([m.predict(co_runs, self.known) for m in self.members]))

    def save(self) -> bytes:
        about = {
            "known": self.known,
            "features": self.features,
            "members": [(m.view, m.is_diluted) for m in self.members],
        }
        arrays: Arrays = {"about": from_text(json.dumps(about)), "scores": self.scores.comes}
        for i, member in enumerate(self.members):
            arrays |= {f"{i}.{part}": array for part, array in member.process.save().items()}
            for part in _SCALINGS:
                by: Scaling = getattr(member, part)
                arrays[f"{i}.{part}"] = np.stack([by.mean, by.spread])
        return sealed(self.name, arrays)


@dataclass(frozen=True, slots=True)
class TraitsModel:
    """Slowdowns are the same whatever will be unseen, for nothing is chosen; scores are not."""

    facing: Facing
    name: str = "traits"

    def fit(self, co_runs: CoRuns, seed: int) -> FittedTraits:
        co_runs = learnable(co_runs)
        known = tuple(sorted({*co_runs.victim, *co_runs.partner}))
        members = _members(co_runs, known, seed)

        def say(groups: Sequence[Ints]) -> Said:
            return _said([member.process.left_out(groups) for member in members])

        scores = Calibration.of(co_runs, self.facing, say)
        return FittedTraits(self.name, members, known, _features(co_runs), scores)

    def load(self, blob: bytes) -> FittedTraits:
        arrays = opened(self.name, blob)
        try:
            about = json.loads(text(arrays["about"]))
            members = [
                _member(arrays, f"{i}.", view, is_diluted)
                for i, (view, is_diluted) in enumerate(about["members"])
            ]
            one, two, three = (tuple(map(str, names)) for names in about["features"])
            return FittedTraits(
                self.name,
                tuple(members),
                tuple(about["known"]),
                (one, two, three),
                Calibration(arrays["scores"]),
            )
        except (KeyError, ValueError, TypeError) as error:
            raise ModelCorrupt(f"a part of this model is missing or damaged: {error}") from error


def _member(arrays: Arrays, prefix: str, view: str, is_diluted: bool) -> Member:
    own = {k.removeprefix(prefix): array for k, array in arrays.items() if k.startswith(prefix)}
    victim_by, partner_by, placement_by, demand_by = (Scaling(*own[part]) for part in _SCALINGS)
    process = Process.load(own)
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
        victim_id=identities(co_runs.victim, names),
        partner_id=identities(co_runs.partner, names),
        weight=np.exp(DILUTION * together(co_runs)) if is_diluted else np.ones(co_runs.n),
    )


def _features(co_runs: CoRuns) -> Asked:
    return co_runs.victim_features, co_runs.partner_features, co_runs.placement_features


def _said(members: Sequence[tuple[F64, F64]]) -> Said:
    """From means and variances of log slowdown: the mean of the members, and the spread of their
    mixture (within and between them)."""
    means = np.array([mean for mean, _ in members])
    variance = np.array([v for _, v in members]).mean(axis=0) + means.var(axis=0)
    return Said.of_log(means.mean(axis=0), variance)
