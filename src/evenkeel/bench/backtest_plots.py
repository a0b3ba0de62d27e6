"""The pictures of a backtest: coverage, WQL, the tail of VMs, and forecasts against what came."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from evenkeel.bench.backtest import Outcome
from evenkeel.bench.pictures import figure_class
from evenkeel.bench.profile_plots import draw_profile, representative
from evenkeel.domain.arrays import Ints
from evenkeel.domain.resources import SPECS
from evenkeel.forecast.base import QUANTILES
from evenkeel.forecast.profiles import profile

N_FANS = 6
N_ORIGINS = 48
"""Most of them along one fan chart: more cannot be told apart."""

PROFILE_SLOTS = 14 * 288
N_CURVES = 6
"""Most models in one picture of curves: ours and the best baselines."""


def draw(outcome: Outcome, folder: Path) -> list[Path]:
    """Write all pictures as PNG into `folder`; returns their paths."""
    new_figure = figure_class()
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for name, picture in (
        ("coverage", _coverage),
        ("wql", _wql),
        ("tail", _tail),
        ("peaks", _peaks),
        ("fans", _fans),
        ("profiles", _profiles),
    ):
        figure = new_figure(layout="constrained")
        if picture(figure, outcome):
            figure.savefig(folder / f"{name}.png", dpi=110)
            found.append(folder / f"{name}.png")
    return found


def _shown(outcome: Outcome) -> list[str]:
    """Ours, then the baselines from the best on."""
    nearest = f"wql.{outcome.horizons[0]}"
    others = [n for n in outcome.opponents if n not in outcome.ours]
    others.sort(key=lambda n: outcome.metrics[n].get(nearest, np.inf))
    return [*outcome.ours, *others][:N_CURVES]


def _grid(figure: Any, n: int, width: float = 4.2, height: float = 3.8, wrap: int = 4) -> list[Any]:
    columns = min(n, wrap)
    rows = -(-n // columns)
    figure.set_size_inches(width * columns, height * rows)
    return list(figure.subplots(rows, columns, squeeze=False).flat)[:n]


def _coverage(figure: Any, outcome: Outcome) -> bool:
    for axes, (h, label) in zip(
        _grid(figure, len(outcome.horizons)), enumerate(outcome.horizons), strict=True
    ):
        known = np.isfinite(outcome.field.observed.y[:, h])
        axes.plot([0, 1], [0, 1], color="0.7", lw=1)
        for name in _shown(outcome):
            split = outcome.judged[name].split[known, h].mean(axis=0)
            is_ours = name in outcome.ours
            axes.plot(QUANTILES, split, marker="o", ms=3, lw=2.2 if is_ours else 1, label=name)
        axes.set(title=f"{label} ahead", xlabel="quantile", xlim=(0, 1), ylim=(0, 1))
        axes.set_ylabel("share of demand at or below it (ties split)")
        axes.legend(fontsize=7)
    return True


def _wql(figure: Any, outcome: Outcome) -> bool:
    names = [*outcome.ours, *(n for n in outcome.opponents if n not in outcome.ours)]
    groups = {"all VMs": "", "active VMs": "active."}
    if outcome.field.is_unseen.any():
        groups["unseen VMs"] = "unseen."
    width = 0.8 / len(outcome.horizons)
    for axes, (title, group) in zip(
        _grid(figure, len(groups), width=5.2), groups.items(), strict=True
    ):
        for h, label in enumerate(outcome.horizons):
            heights = [outcome.metrics[n].get(f"{group}wql.{label}", 0.0) for n in names]
            axes.bar(np.arange(len(names)) + h * width, heights, width, label=label)
        axes.set_xticks(np.arange(len(names)) + 0.4 - width / 2, names, rotation=60, ha="right")
        axes.set(title=title, ylabel="WQL")
        axes.legend(title="ahead", fontsize=7)
    return True


def _tail(figure: Any, outcome: Outcome) -> bool:
    """Share of VMs whose own WQL is above x."""
    field = outcome.field
    for axes, (h, label) in zip(
        _grid(figure, len(outcome.horizons)), enumerate(outcome.horizons), strict=True
    ):
        size = np.bincount(field.vm, np.nan_to_num(np.abs(field.observed.y[:, h])))
        for name in _shown(outcome):
            loss = np.bincount(field.vm, outcome.judged[name].loss[:, h].mean(axis=-1))
            wql = np.sort(2 * loss[size > 0] / size[size > 0])
            is_ours = name in outcome.ours
            share = 1 - np.arange(len(wql)) / max(1, len(wql))
            axes.plot(np.maximum(wql, 1e-3), share, lw=2.2 if is_ours else 1, label=name)
        axes.set(
            title=f"{label} ahead", xlabel="WQL of a VM by itself", ylabel="share of VMs above"
        )
        axes.set(xscale="log", yscale="log")
        axes.legend(fontsize=7)
    return True


def _peaks(figure: Any, outcome: Outcome) -> bool:
    if not outcome.windows:
        return False
    for axes, window in zip(_grid(figure, len(outcome.windows)), outcome.windows, strict=True):
        axes.plot([0, 1], [0, 1], color="0.7", lw=1)
        for name in _shown(outcome):
            rows = outcome.deciles[name][window]
            is_ours = name in outcome.ours
            axes.plot(
                [d.said for d in rows],
                [d.came for d in rows],
                marker="o",
                ms=3,
                lw=2.2 if is_ours else 1,
                label=name,
            )
        axes.set(title=f"peak within {window} above k shards", xlabel="odds said", ylabel="came")
        axes.legend(fontsize=7)
    return True


def _fans(figure: Any, outcome: Outcome) -> bool:
    """Of six active VMs, from small to large: the furthest horizon along the test."""
    name, label = outcome.ours[0], outcome.horizons[-1]
    ahead_s = outcome.targets.horizons[-1] * outcome.material.courses[0].trace.panel.step_s
    vms = _chosen(outcome)
    if not len(vms):
        return False
    unit = SPECS[outcome.question.resource].unit
    for axes, vm in zip(_grid(figure, len(vms), 5.6, 3.2, wrap=2), vms, strict=True):
        rows = np.flatnonzero((outcome.field.vm == vm) & (outcome.field.course == 0))[:N_ORIGINS]
        trace = outcome.material.courses[0].trace.panel
        target_s = outcome.field.origin_s[rows] + ahead_s - trace.step_s
        q = outcome.runs[name].values[rows, -1]
        hours = (target_s - target_s[0]) / 3600
        at = {level: i for i, level in enumerate(QUANTILES)}
        for low, high, alpha in ((0.05, 0.95, 0.2), (0.25, 0.75, 0.35)):
            axes.fill_between(
                hours,
                q[:, at[low]],
                q[:, at[high]],
                alpha=alpha,
                color="tab:blue",
                lw=0,
                label=f"{low:g} to {high:g}",
            )
        axes.plot(hours, q[:, at[0.5]], color="tab:blue", lw=1, label="median")
        slot = np.arange(
            round((target_s[0] - trace.start_s) / trace.step_s),
            min(round((target_s[-1] - trace.start_s) / trace.step_s) + 1, trace.n_slots),
        )
        came = trace.values[trace.ids.index(outcome.field.ids[vm]), slot]
        axes.plot((slot - slot[0]) * trace.step_s / 3600, came, color="0.65", lw=0.5, zorder=0)
        judged = outcome.field.observed.y[rows, -1]
        axes.plot(hours, judged, ".", color="0.1", ms=4, label="came")
        axes.set(xlabel="hours", ylabel=unit, title=outcome.field.ids[vm][:48])
        axes.title.set_fontsize(9)
    figure.axes[0].legend(fontsize=7)
    figure.suptitle(f"{name}, {label} ahead")
    return True


def _profiles(figure: Any, outcome: Outcome) -> bool:
    """Six VMs of the first course and what they are taken for, at its end."""
    course = outcome.material.courses[0]
    panel = course.trace.known_at(course.last_slot, PROFILE_SLOTS)
    profiles = profile(panel)
    rows = representative(panel, profiles)
    for axes, row in zip(_grid(figure, len(rows), 6.4, 2.9, wrap=2), rows, strict=True):
        draw_profile(axes, panel, profiles, int(row))
    return True


def _chosen(outcome: Outcome) -> Ints:
    """Active VMs of the first course, evenly spread by demand."""
    field = outcome.field
    here = (field.course == 0) & field.is_active
    total = np.bincount(field.vm[here], np.nan_to_num(field.observed.y[here, 0]), len(field.ids))
    count = np.bincount(field.vm[here], minlength=len(field.ids))
    mean = total / np.maximum(count, 1)
    order = np.argsort(mean, kind="stable")
    order = order[(count[order] > count.max() // 2) & (mean[order] > 0)]
    picks = np.unique(np.linspace(0, len(order) - 1, N_FANS).round().astype(np.intp))
    result: Ints = order[picks] if len(order) else order
    return result
