"""Pictures of profiles: the demand, and when it spikes, so that a person can agree or not."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from evenkeel.domain.arrays import Ints
from evenkeel.domain.panel import DAY_S, Panel
from evenkeel.domain.profile import UNKNOWN, Behaviour
from evenkeel.domain.resources import SPECS
from evenkeel.forecast.backtest import active
from evenkeel.forecast.profiles import Profiles

N_SHOWN: Final = 6


def representative(panel: Panel, profiles: Profiles) -> Ints:
    """Rows of six series: of each class the surest, then the next ones; active ones first."""
    confidence = profiles.probability.max(axis=1)
    order = np.lexsort((-confidence, ~active(panel)))
    order = order[profiles.labels[order] != UNKNOWN]
    turn = np.zeros(len(order), dtype=np.intp)  # the how-manieth of its class
    for label in np.unique(profiles.labels):
        of_class = profiles.labels[order] == label
        turn[of_class] = np.arange(of_class.sum())
    result: Ints = order[np.argsort(turn, kind="stable")][:N_SHOWN]
    return result


def draw_profile(axes: Any, panel: Panel, profiles: Profiles, row: int) -> None:
    """Series `row` over local days, its peak hours shaded."""
    profile = profiles[row]
    when_s = panel.start_s + panel.step_s * np.arange(panel.n_slots, dtype=np.float64)
    local = panel.calendar.at(when_s)
    days = (when_s - panel.start_s) / DAY_S
    values = panel.values[row]
    axes.plot(days, values, linewidth=0.7)
    if profile.label is Behaviour.DIURNAL:
        peak = np.isin(local.hour.astype(np.intp), profile.peak_hours)
        peak &= np.isin(local.weekday, profile.weekdays)
        axes.fill_between(
            days, 0, 1, where=peak, transform=axes.get_xaxis_transform(), alpha=0.15, linewidth=0
        )
    spec = SPECS[panel.resource]
    most = float(np.nanmax(values)) if np.isfinite(values).any() else 0.0
    axes.set_ylim(0, max(1.08 * most, 2 * spec.shard))
    axes.set_ylabel(f"{spec.label} ({spec.unit})")
    axes.set_xlabel(f"days ({panel.calendar.time_zone})")
    axes.set_title(f"{panel.ids[row].strip()[:40]}: {profile}", fontsize=9, wrap=True)
