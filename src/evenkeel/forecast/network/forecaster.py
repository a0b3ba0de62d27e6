"""The learnt forecasters `blend` and `recurrent`: panels in, a served network out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from evenkeel.domain import bundle
from evenkeel.domain.arrays import F32
from evenkeel.domain.errors import ConfigInvalid
from evenkeel.domain.panel import Panel
from evenkeel.forecast.base import Forecast, Targets
from evenkeel.forecast.features import Features, describe
from evenkeel.forecast.network.serve import Session
from evenkeel.forecast.network.settings import Training
from evenkeel.forecast.rows import draw, least_scale
from evenkeel.forecast.workers import Report, ignore


@dataclass(frozen=True, slots=True)
class NetworkForecaster:
    """`recurrent` adds a GRU over the latest slots; the rest is the same."""

    recurrent: bool = False
    training: Training = field(default_factory=Training)
    report: Report = ignore

    @property
    def name(self) -> str:
        return "recurrent" if self.recurrent else "blend"

    def fit(self, panels: Sequence[Panel], targets: Targets, seed: int) -> FittedNetwork:
        """Raises NothingKnown, and ConfigInvalid when PyTorch lacks."""
        try:
            from evenkeel.forecast.network.train import train  # PyTorch: hundreds of MB
        except ModuleNotFoundError as error:
            raise ConfigInvalid(
                f"training {self.name!r} needs the Python package {error.name}",
                hint="pip install 'evenkeel[ml]'; a model trained elsewhere serves without it.",
            ) from error

        rng = np.random.default_rng(seed)
        floor = least_scale(panels)
        model = train(
            lambda _epoch: draw(panels, targets, floor, self.training.rows_per_epoch, rng),
            self.training,
            self.recurrent,
            seed,
            lambda share: self.report(f"training {self.name}: {share:.0%}"),
        )
        return FittedNetwork(self.name, floor, Session(model))

    def load(self, blob: bytes) -> FittedNetwork:
        """Raises ModelCorrupt."""
        parts = bundle.unpack(blob)
        session = Session(parts["model"].tobytes())
        return FittedNetwork(bundle.text(parts["name"]), float(parts["floor"]), session)


@dataclass(frozen=True, slots=True, eq=False)
class FittedNetwork:
    """A network and the least scale it was trained with (in the panel's unit)."""

    name: str
    floor: float
    session: Session

    def predict(self, panel: Panel, targets: Targets) -> Forecast:
        raw = self.from_features(describe(panel, targets, self.floor))
        return Forecast.of(panel, targets, raw)

    def from_features(self, features: Features) -> F32:
        """Raw quantiles (N, K, Q)."""
        return self.session.run(features)

    def save(self) -> bytes:
        return bundle.pack(
            name=bundle.from_text(self.name),
            model=np.frombuffer(self.session.model, dtype=np.uint8),
            floor=np.array(self.floor),
        )
