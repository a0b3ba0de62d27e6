"""What becomes of forecasts: VMs that deviate, models that drift, and trainings that follow."""

from __future__ import annotations

import math
from typing import Final

from evenkeel.controller.deviating import MAX_AHEAD, DeviationWatch
from evenkeel.controller.drifting import DriftWatch
from evenkeel.controller.models import ModelService
from evenkeel.controller.retraining import Retrainer
from evenkeel.domain.panel import Panel
from evenkeel.domain.rdv import FleetDemand
from evenkeel.forecast.base import Forecast
from evenkeel.ports_history import ModelRegistry
from evenkeel.ports_store import Store

LOOKED_AT_S: Final = 7200.0


def slots_looked_at(step_s: float) -> int:
    """How much of the past `Watch.see` wants: all that forecasts judged now were about."""
    return max(MAX_AHEAD + 1, math.ceil(LOOKED_AT_S / step_s))


class Watch:
    """`see` and `tend` are called by the forecasting thread; what they raise is its to tell."""

    def __init__(
        self,
        models: ModelService,
        retrainer: Retrainer,
        registry: ModelRegistry,
        store: Store,
    ) -> None:
        self.models = models
        self.retrainer = retrainer
        self.deviations = DeviationWatch(store)
        self.drift = DriftWatch(registry, store)

    def see(self, panel: Panel, fleet: FleetDemand, raw: Forecast) -> None:
        """A new forecast: `fleet` as it is shown, `raw` as `fleet.model` made it at `panel`'s end.

        `panel`: the last `slots_looked_at` of the fleet.
        """
        self.deviations.see(panel, fleet)
        self.drift.see(panel, fleet.model, raw)

    def tend(self) -> None:
        """What others did to the models, and what is to be done for them."""
        self.models.notice()
        self.retrainer.run(self.drift.drifted())

    def close(self) -> None:
        self.retrainer.close()
