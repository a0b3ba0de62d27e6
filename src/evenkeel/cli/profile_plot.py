"""A picture of a profile: the demand, and when it spikes, so that a person can agree or not."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from evenkeel.domain.panel import Panel
from evenkeel.domain.profile import Behaviour
from evenkeel.domain.resources import SPECS
from evenkeel.forecast.profiles import Profiles


def plot_profile(panel: Panel, profiles: Profiles, row: int, path: Path) -> None:
    """Draw series `row` over local days, its peak hours shaded, and save it as `path`."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    profile = profiles[row]
    when_s = panel.start_s + panel.step_s * np.arange(panel.n_slots, dtype=np.float64)
    local = panel.calendar.at(when_s)
    days = (when_s - panel.start_s) / 86_400.0
    values = panel.values[row]
    figure, axes = plt.subplots(figsize=(11, 3.2), layout="constrained")
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
    axes.set_title(f"{panel.ids[row]}: {profile}", fontsize=10)
    figure.savefig(path, dpi=90)
    plt.close(figure)
