"""The picture of a simulated day: hosts that run, watts, moves and demand by tick."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from evenkeel.bench.pictures import figure_class
from evenkeel.wiring.cloudsim import Outcome


def draw(outcome: Outcome, folder: Path) -> Path:
    """Write a PNG into `folder`; returns its path."""
    new_figure = figure_class()
    ticks = outcome.day.by_tick
    hours = (1 + np.arange(len(ticks))) / 12
    rows: tuple[tuple[str, list[float]], ...] = (
        ("hosts on", [float(tick.hosts_on) for tick in ticks]),
        ("moves", [float(tick.moves) for tick in ticks]),
        ("kW", [tick.watts / 1e3 for tick in ticks]),
        ("GIPS wanted", [tick.wanted / 1e3 for tick in ticks]),
    )
    figure = new_figure(figsize=(9, 8), layout="constrained")
    axes = figure.subplots(len(rows), 1, sharex=True)
    for axis, (name, values) in zip(axes, rows, strict=True):
        axis.step(hours, values, where="post", linewidth=1)
        axis.set_ylabel(name)
        # The start, when VMs are still spread out, would flatten all the rest.
        axis.set_ylim(0, 1.15 * max(float(np.quantile(values, 0.99)), 1e-9))
    axes[-1].set_xlabel("hour")
    question = outcome.question
    figure.suptitle(f"{outcome.label}, {question.order}: {question.policy.value}")
    folder.mkdir(parents=True, exist_ok=True)
    path = (
        folder / f"{outcome.label}-{question.order.replace(':', '-')}-{question.policy.value}.png"
    )
    figure.savefig(path, dpi=110)
    return path
