"""Baselines without features: a constant, victim + partner effects, and a detector."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64
from evenkeel.domain.bundle import from_text, text
from evenkeel.domain.corun import CoRuns
from evenkeel.domain.errors import ModelCorrupt
from evenkeel.interference.pairs.base import Facing, Said, Scale, learnable, opened, sealed
from evenkeel.interference.pairs.folds import folds

PENALTIES: Final = (0.05, 0.3, 1.0, 3.0)
SIGMAS: Final = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class FittedEffects:
    """`middle`, plus what a victim and a partner add; one that was not seen adds nothing."""

    name: str
    middle: float
    victims: dict[str, float]
    partners: dict[str, float]
    scale: Scale

    def predict(self, co_runs: CoRuns) -> Said:
        victims = np.array([self.victims.get(v, 0.0) for v in co_runs.victim])
        partners = np.array([self.partners.get(p, 0.0) for p in co_runs.partner])
        said = self.middle + victims + partners
        return Said.of(np.exp(said) if self.scale is Scale.LOG else said)

    def save(self) -> bytes:
        about = {"middle": self.middle, "victims": self.victims, "partners": self.partners}
        return sealed(self.name, {"about": from_text(json.dumps(about))})


@dataclass(frozen=True, slots=True)
class EffectsModel:
    """Victim + partner effects by ridge, its penalty by inner folds; the median with `is_flat`."""

    facing: Facing
    scale: Scale
    is_flat: bool = False

    @property
    def name(self) -> str:
        return "constant" if self.is_flat else "effects"

    def fit(self, co_runs: CoRuns, seed: int) -> FittedEffects:
        co_runs = learnable(co_runs)
        if self.is_flat:
            middle = float(np.median(self._target(co_runs)))
            return FittedEffects(self.name, middle, {}, {}, self.scale)
        cuts = folds(co_runs, self.facing, 10, seed)
        errors = dict.fromkeys(PENALTIES, 0.0)
        for _, train, test in cuts:
            ask = co_runs.take(test)
            for penalty in PENALTIES:
                said = self._fitted(co_runs.take(train), penalty).predict(ask)
                errors[penalty] += float(self.scale.errors(said.expected, ask.slowdown).sum())
        return self._fitted(co_runs, min(errors, key=lambda p: errors[p]))

    def load(self, blob: bytes) -> FittedEffects:
        arrays = opened(self.name, blob)
        try:
            about = json.loads(text(arrays["about"]))
            return FittedEffects(
                self.name, about["middle"], about["victims"], about["partners"], self.scale
            )
        except (KeyError, ValueError, TypeError) as error:
            raise ModelCorrupt(f"a part of this model is missing or damaged: {error}") from error

    def _target(self, co_runs: CoRuns) -> F64:
        return np.log(co_runs.slowdown) if self.scale is Scale.LOG else co_runs.slowdown

    def _fitted(self, co_runs: CoRuns, penalty: float) -> FittedEffects:
        target = self._target(co_runs)
        middle = float(target.mean())
        victims, partners = sorted(set(co_runs.victim)), sorted(set(co_runs.partner))
        rows = np.concatenate(
            [
                np.array(co_runs.victim)[:, None] == np.array(victims)[None, :],
                np.array(co_runs.partner)[:, None] == np.array(partners)[None, :],
            ],
            axis=1,
        ).astype(np.float64)
        square = rows.T @ rows + penalty * np.eye(rows.shape[1])
        found = np.linalg.solve(square, rows.T @ (target - middle)).tolist()
        n = len(victims)
        return FittedEffects(
            self.name,
            middle,
            dict(zip(victims, found[:n], strict=True)),
            dict(zip(partners, found[n:], strict=True)),
            self.scale,
        )


@dataclass(frozen=True, slots=True, eq=False)
class FittedDetector:
    """Expected slowdown of co-runs that are quiet, and of those that are told of."""

    name: str
    quiet: float
    told: float

    def predict(self, co_runs: CoRuns) -> Said:
        return Said.of(np.where(np.nan_to_num(co_runs.cpi_rise) > SIGMAS, self.told, self.quiet))

    def save(self) -> bytes:
        return sealed(self.name, {"levels": np.array([self.quiet, self.told])})


@dataclass(frozen=True, slots=True)
class DetectorModel:
    """Two-sigma: cycles per instruction rose by more than two deviations *during* the co-run.

    It sees what no prediction can, and is here to show what detection is worth.
    """

    scale: Scale
    name: str = "two-sigma"

    def fit(self, co_runs: CoRuns, seed: int) -> FittedDetector:
        co_runs = learnable(co_runs)
        told = np.nan_to_num(co_runs.cpi_rise) > SIGMAS

        def level(which: F64) -> float:
            return float(np.median(which if len(which) else co_runs.slowdown))

        return FittedDetector(
            self.name, level(co_runs.slowdown[~told]), level(co_runs.slowdown[told])
        )

    def load(self, blob: bytes) -> FittedDetector:
        arrays = opened(self.name, blob)
        try:
            quiet, told = (float(level) for level in arrays["levels"])
        except (KeyError, ValueError, TypeError) as error:
            raise ModelCorrupt(f"a part of this model is missing or damaged: {error}") from error
        return FittedDetector(self.name, quiet, told)
