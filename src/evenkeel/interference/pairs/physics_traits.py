"""Traits that multiply the physics of a known capacity: log slowdown = queue x traits.

    log slowdown = queue(pair) * (c + s(victim) + p(partner) + sum s_k(victim) p_k(partner))

`queue` is what the CPU queue says of the two (`queue.hazards`), and the little that any company
costs by waking up; s and p are the unknown functions of the solo profiles that `traits` has, with
offsets of the workloads' own. It is the same Gaussian process with the queue as each row's weight:
where physics sees no contention there is next to none, and a workload never seen gets the physics
times what alike workloads made of it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64
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
from evenkeel.interference.pairs.queue import DEVICES, VCPUS, hazards
from evenkeel.interference.pairs.scaling import Scaling
from evenkeel.interference.pairs.score import Calibration
from evenkeel.interference.pairs.views import CPU

USED: Final = "cpu_used"
COMPANY: Final = 0.02
"""Hazard that any neighbour costs, before traits; measured in docs/designs/0013."""
LEAST_CORES: Final = 1e-3


def shape_of(names: tuple[str, ...], values: F64) -> F64:
    """(N, 4) how a VM uses a CPU: how much, by how many vCPUs, which share of it for devices, and
    which share of what its vCPUs want they wait for its own devices, alone."""
    wanted, devices, vcpus = (values[:, names.index(n)] for n in (CPU, DEVICES, VCPUS))
    used = values[:, names.index(USED)] if USED in names else wanted
    total = np.maximum(used + devices, LEAST_CORES)
    waits = np.maximum(wanted - used, 0.0) / np.maximum(wanted, LEAST_CORES)
    return np.column_stack([np.log(total), np.log(np.maximum(vcpus, 1.0)), devices / total, waits])


@dataclass(frozen=True, slots=True, eq=False)
class FittedPhysicsTraits:
    """The process, how its features are scaled, the workloads that it knows by name, and how its
    scores come true."""

    name: str
    cores: float
    by: Scaling
    process: Process
    known: tuple[str, ...]
    features: tuple[str, ...]
    scores: Calibration

    def predict(self, co_runs: CoRuns) -> Said:
        if co_runs.victim_features != self.features or co_runs.partner_features != self.features:
            raise ValueError("these co-runs have other features than those learnt from")
        inputs = _inputs(co_runs, self.by, self.known, self.cores)
        return self.scores(_said(*self.process.predict(inputs)))

    def save(self) -> bytes:
        about = {"known": self.known, "features": self.features, "cores": self.cores}
        arrays: Arrays = {
            "about": from_text(json.dumps(about)),
            "by": np.stack([self.by.mean, self.by.spread]),
            "scores": self.scores.comes,
        }
        arrays |= self.process.save()
        return sealed(self.name, arrays)


@dataclass(frozen=True, slots=True)
class PhysicsTraitsModel:
    """For co-runs that share `cores` CPUs and whose profiles say what the queue needs."""

    facing: Facing
    cores: float
    name: str = "physics-traits"

    def fit(self, co_runs: CoRuns, seed: int) -> FittedPhysicsTraits:
        co_runs = learnable(co_runs)
        known = tuple(sorted({*co_runs.victim, *co_runs.partner}))
        whole = np.concatenate(
            [
                shape_of(co_runs.victim_features, co_runs.victim_solo),
                shape_of(co_runs.partner_features, co_runs.partner_solo),
            ]
        )
        _, first = np.unique([*co_runs.victim, *co_runs.partner], return_index=True)
        by = Scaling.of(whole[first])
        rows = _inputs(co_runs, by, known, self.cores)
        process = Process.fit(rows, np.log(co_runs.slowdown), seed)
        scores = Calibration.of(
            co_runs, self.facing, lambda groups: _said(*process.left_out(groups))
        )
        features = co_runs.victim_features
        return FittedPhysicsTraits(self.name, self.cores, by, process, known, features, scores)

    def load(self, blob: bytes) -> FittedPhysicsTraits:
        arrays = opened(self.name, blob)
        try:
            about = json.loads(text(arrays["about"]))
            return FittedPhysicsTraits(
                self.name,
                float(about["cores"]),
                Scaling(*arrays["by"]),
                Process.load(arrays),
                tuple(map(str, about["known"])),
                tuple(map(str, about["features"])),
                Calibration(arrays["scores"]),
            )
        except (KeyError, ValueError, TypeError) as error:
            raise ModelCorrupt(f"a part of this model is missing or damaged: {error}") from error


def _inputs(co_runs: CoRuns, by: Scaling, known: Sequence[str], cores: float) -> Inputs:
    nothing = np.empty((co_runs.n, 0))
    return Inputs(
        victim=by(shape_of(co_runs.victim_features, co_runs.victim_solo)),
        partner=by(shape_of(co_runs.partner_features, co_runs.partner_solo)),
        placement=nothing,
        demand=nothing,
        victim_id=identities(co_runs.victim, known),
        partner_id=identities(co_runs.partner, known),
        weight=hazards(co_runs, cores) + COMPANY,
    )


def _said(mean: F64, variance: F64) -> Said:
    """Nobody gets faster by a queue."""
    return Said.of_log(np.maximum(mean, 0.0), variance)
