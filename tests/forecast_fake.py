"""Forecasts and a profile to show where no controller made any."""

from __future__ import annotations

import numpy as np

from evenkeel.domain.profile import Behaviour, Profile
from evenkeel.domain.quantiles import QUANTILES
from evenkeel.domain.rdv import ResourceDemand
from evenkeel.domain.resources import Resource

FAKE_PROFILE = Profile(Behaviour.DIURNAL, 0.9, (9, 10), (0, 1, 2, 3, 4), 120.0, 1.0, 14.0)


def fake_demands(demand: float, n_vcpus: float, now_s: float) -> dict[Resource, ResourceDemand]:
    """Of CPU and memory: some more demand the further ahead, and less sure of it."""
    ahead_s = (300.0, 900.0, 1800.0, 3600.0, 10_800.0, 21_600.0, 43_200.0, 86_400.0)
    levels = np.array(QUANTILES, np.float32)
    spread = np.array([[0.2 + 0.1 * k] for k in range(len(ahead_s))], np.float32)
    values = np.maximum(0, demand * (1 + 0.06 * spread + spread * (levels - 0.5) * 2.2))
    return {
        each: ResourceDemand(
            resource=each,
            origin_s=now_s // 300 * 300,
            step_s=300.0,
            horizons_s=ahead_s,
            windows_s=(3600.0, 21_600.0, 86_400.0),
            values=(values * factor).astype(np.float32),
            peaks=(values[[3, 5, 7]] * 1.3 * factor).astype(np.float32),
            now=demand * factor,
            capacity=n_vcpus * factor,
            model="cpu-20261120t000000z-blend-0a1b2c3d",
        )
        for each, factor in ((Resource.CPU, 1.0), (Resource.MEMORY, 1000.0))
    }
