"""A global gradient-boosted quantile model: LightGBM on the same features as the networks.

One booster a quantile, over all series and targets at once. It learns the distance from the middle
of a trailing window in units of the series' scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from evenkeel.domain import bundle
from evenkeel.domain.arrays import F32
from evenkeel.domain.panel import Panel
from evenkeel.forecast.base import LEVELS, N_QUANTILES, Forecast, Targets
from evenkeel.forecast.features import CANDIDATES, Features, describe
from evenkeel.forecast.rows import draw, least_scale
from evenkeel.forecast.workers import Report, ignore

NAME: Final = "boosted"
_ANCHOR: Final = CANDIDATES.index("trailing-3h")
_GAMMA: Final = 0.15


@dataclass(frozen=True, slots=True)
class BoostedForecaster:
    """`rows` series-origins, `rounds` trees a quantile."""

    rows: int = 120_000
    rounds: int = 200
    leaves: int = 47
    learning_rate: float = 0.06
    report: Report = ignore

    @property
    def name(self) -> str:
        return NAME

    def fit(self, panels: Sequence[Panel], targets: Targets, seed: int) -> FittedBoosted:
        """Raises NothingKnown."""
        import lightgbm

        floor = least_scale(panels)
        drawn = draw(panels, targets, floor, self.rows, np.random.default_rng(seed))
        inputs = _inputs(drawn.features)
        anchor, unit = _anchor(drawn.features)
        truth = drawn.truth.ravel()
        known = ~np.isnan(truth)
        weight = unit ** (1 - _GAMMA)
        weight = np.minimum(weight, np.quantile(weight, 0.999))  # one giant must not decide alone
        settings = {
            "objective": "quantile",
            "num_leaves": self.leaves,
            "learning_rate": self.learning_rate,
            "min_data_in_leaf": min(200, max(1, int(known.sum()) // 20)),
            "feature_fraction": 0.6,
            "bagging_fraction": 0.6,
            "bagging_freq": 1,
            "max_bin": 127,
            "verbose": -1,
            "seed": seed,
            "deterministic": True,
            "force_row_wise": True,
        }
        data = lightgbm.Dataset(
            inputs[known],
            ((truth - anchor) / unit)[known],
            weight=weight[known] / weight[known].mean(),
            params=settings,
            free_raw_data=False,
        )
        boosters = []
        for i, level in enumerate(LEVELS.tolist()):
            boosters.append(
                lightgbm.train(settings | {"alpha": level}, data, self.rounds).model_to_string()
            )
            self.report(f"training {NAME}: {(i + 1) / N_QUANTILES:.0%}")
        return _fitted(floor, tuple(boosters))

    def load(self, blob: bytes) -> FittedBoosted:
        """Raises ModelCorrupt."""
        parts = bundle.unpack(blob)
        texts = tuple(bundle.text(parts[f"q{i}"]) for i in range(N_QUANTILES))
        return _fitted(float(parts["floor"]), texts)


@dataclass(frozen=True, slots=True, eq=False)
class FittedBoosted:
    """Boosters in the order of the quantile levels, as text and ready to run."""

    floor: float
    texts: tuple[str, ...]
    boosters: tuple[Any, ...]

    def __reduce__(self) -> tuple[Any, ...]:
        return _fitted, (self.floor, self.texts)

    @property
    def name(self) -> str:
        return NAME

    def predict(self, panel: Panel, targets: Targets) -> Forecast:
        raw = self.from_features(describe(panel, targets, self.floor))
        return Forecast.of(panel, targets, raw)

    def from_features(self, features: Features) -> F32:
        """Raw quantiles (N, K, Q)."""
        shape = (*features.target.shape[:2], N_QUANTILES)
        if not len(features.scale):
            return np.empty(shape, dtype=np.float32)
        inputs = _inputs(features)
        anchor, unit = _anchor(features)
        raw = np.stack([booster.predict(inputs) for booster in self.boosters], axis=-1)
        quantiles: F32 = (raw * unit[:, None] + anchor[:, None]).astype(np.float32)
        return quantiles.reshape(shape)

    def save(self) -> bytes:
        texts = {f"q{i}": bundle.from_text(text) for i, text in enumerate(self.texts)}
        return bundle.pack(floor=np.array(self.floor), **texts)


def _fitted(floor: float, texts: tuple[str, ...]) -> FittedBoosted:
    import lightgbm

    boosters = tuple(lightgbm.Booster(model_str=text) for text in texts)
    return FittedBoosted(floor, texts, boosters)


def _inputs(features: Features) -> F32:
    """(N * K, F + G): one row a series and target."""
    n, n_targets, width = features.target.shape
    return np.concatenate(
        [
            np.repeat(features.series, n_targets, axis=0),
            features.target.reshape(n * n_targets, width),
        ],
        axis=1,
    )


def _anchor(features: Features) -> tuple[F32, F32]:
    n_targets = features.target.shape[1]
    return features.candidates[:, :, _ANCHOR, 3].ravel(), np.repeat(features.scale, n_targets)
