"""Baselines that see a co-run as a row of numbers, and the search for their best settings.

Settings are chosen by inner folds that leave out what will be unseen, on training rows only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from evenkeel.domain.arrays import F64
from evenkeel.domain.bundle import from_text, text
from evenkeel.domain.corun import CoRuns
from evenkeel.domain.errors import ModelCorrupt
from evenkeel.interference.pairs.base import Arrays, Facing, Said, Scale, learnable, opened, sealed
from evenkeel.interference.pairs.folds import folds
from evenkeel.interference.pairs.scaling import Scaling

N_INNER: Final = 5
WORKLOAD_INNER: Final = 10
Settings = Mapping[str, Any]
Look = Callable[[CoRuns], F64]
"""Co-runs -> (N, F) features."""


class Regressor:
    """What turns rows (N, F) and targets (N,) into arrays, and arrays and rows into answers."""

    def fit(self, rows: F64, target: F64, settings: Settings, seed: int) -> Arrays:
        raise NotImplementedError

    def predict(self, arrays: Arrays, rows: F64) -> F64:
        raise NotImplementedError


class Ridge(Regressor):
    """Least squares with a penalty of `penalty` on squared weights; features standardised."""

    def fit(self, rows: F64, target: F64, settings: Settings, seed: int) -> Arrays:
        by = Scaling.of(rows)
        x, mean = by(rows), float(target.mean())
        square = x.T @ x + float(settings["penalty"]) * np.eye(x.shape[1])
        weights = np.linalg.solve(square, x.T @ (target - mean))
        return {
            "weights": weights,
            "mean": np.array([mean]),
            "by": np.stack([by.mean, by.spread]),
        }

    def predict(self, arrays: Arrays, rows: F64) -> F64:
        by = Scaling(*arrays["by"])
        return np.asarray(arrays["mean"][0] + by(rows) @ arrays["weights"])


class Trees(Regressor):
    """LightGBM's trees: boosted, or a random forest (bagged, random features at every node)."""

    def fit(self, rows: F64, target: F64, settings: Settings, seed: int) -> Arrays:
        import lightgbm

        parameters = {
            "objective": "regression",
            "verbose": -1,
            "num_threads": 1,
            "deterministic": True,
            "force_row_wise": True,
            "min_data_in_bin": 1,
            "bagging_freq": 1,
            "bagging_fraction": 0.7,
            "seed": seed,
            **settings,
        }
        n_trees = parameters.pop("n_trees")
        data = lightgbm.Dataset(rows, target, params=parameters)
        booster = lightgbm.train(parameters, data, num_boost_round=n_trees)
        return {"trees": from_text(booster.model_to_string())}

    def predict(self, arrays: Arrays, rows: F64) -> F64:
        import lightgbm

        try:
            booster = lightgbm.Booster(model_str=text(arrays["trees"]))
        except lightgbm.basic.LightGBMError as error:
            raise ModelCorrupt(f"the trees of this model cannot be read: {error}") from error
        return np.asarray(booster.predict(rows, num_threads=1), dtype=np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class FittedTabular:
    """A regressor, how it looks at co-runs, and what it learnt; `is_log`: of log slowdown."""

    name: str
    regressor: Regressor
    look: Look
    arrays: Arrays
    is_log: bool
    n_features: int

    def predict(self, co_runs: CoRuns) -> Said:
        rows = self.look(co_runs)
        if rows.shape[1] != self.n_features:
            raise ValueError(f"{rows.shape[1]} features, learnt from {self.n_features}")
        said = self.regressor.predict(self.arrays, rows)
        return Said.of(np.exp(np.clip(said, -1.0, 6.0)) if self.is_log else said)

    def save(self) -> bytes:
        about = json.dumps({"is_log": self.is_log, "n_features": self.n_features})
        return sealed(self.name, {**self.arrays, "about": from_text(about)})


@dataclass(frozen=True, slots=True)
class TabularModel:
    """`regressor` over what `look` sees, with the best of `grid` and of the two scales to fit."""

    name: str
    regressor: Regressor
    look: Look
    grid: Sequence[Settings]
    facing: Facing
    scale: Scale

    def fit(self, co_runs: CoRuns, seed: int) -> FittedTabular:
        co_runs = learnable(co_runs)
        settings, is_log = self._choose(co_runs, seed)
        return self._fitted(co_runs, settings, is_log, seed)

    def load(self, blob: bytes) -> FittedTabular:
        arrays = opened(self.name, blob)
        try:
            about = json.loads(text(arrays.pop("about")))
            is_log, n = bool(about["is_log"]), int(about["n_features"])
        except (KeyError, ValueError, TypeError) as error:
            raise ModelCorrupt(f"a part of this model is missing or damaged: {error}") from error
        return FittedTabular(self.name, self.regressor, self.look, arrays, is_log, n)

    def _fitted(
        self, co_runs: CoRuns, settings: Settings, is_log: bool, seed: int
    ) -> FittedTabular:
        rows = self.look(co_runs)
        target = np.log(co_runs.slowdown) if is_log else co_runs.slowdown
        arrays = self.regressor.fit(rows, target, settings, seed)
        return FittedTabular(self.name, self.regressor, self.look, arrays, is_log, rows.shape[1])

    def _choose(self, co_runs: CoRuns, seed: int) -> tuple[Settings, bool]:
        scales = (True,) if self.scale is Scale.LOG else (False, True)
        choices = [(settings, is_log) for settings in self.grid for is_log in scales]
        n = WORKLOAD_INNER if self.facing is Facing.WORKLOAD else N_INNER
        cuts = folds(co_runs, self.facing, n, seed)
        if len(choices) == 1 or not cuts:
            return choices[0]
        errors = np.zeros(len(choices))
        for _, train, test in cuts:
            learn, ask = co_runs.take(train), co_runs.take(test)
            for i, (settings, is_log) in enumerate(choices):
                said = self._fitted(learn, settings, is_log, seed).predict(ask)
                errors[i] += float(self.scale.errors(said.expected, ask.slowdown).sum())
        return choices[int(np.argmin(errors))]
