"""How often drift is judged where nothing changed, and how soon where something did.

    python -m evenkeel.bench.drift --seeds 10

A generated fleet of all four classes; a model is validated on the fourth week, as `evenkeel train`
does, and followed by the hour as the controller does. Prints Markdown.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from typing import Final

import numpy as np

from evenkeel.controller.drifting import DriftWatch
from evenkeel.domain.model import ModelInfo, ModelRecord, ModelState
from evenkeel.domain.panel import DAY_S, SLOT_S, Panel
from evenkeel.domain.profile import Behaviour
from evenkeel.domain.resources import Resource
from evenkeel.forecast.base import Targets
from evenkeel.forecast.empirical import FittedEmpirical
from evenkeel.forecast.validation import HOUR_S, validate
from evenkeel.sim.demand import CLASSES, draw_spec, panel_of

MODEL: Final = "bench"
DAY: Final = int(DAY_S / SLOT_S)
HOUR: Final = int(HOUR_S / SLOT_S)
TRAINED_DAYS: Final = 28
CHANGE_DAYS: Final = 3.0
"""Something changes so long after the model began to serve."""
CONTEXT: Final = 2 * DAY
TARGETS: Final = Targets((1, HOUR))
OFFICE: Final = "nothing, and all VMs rest at week-ends"
CHANGES: Final = {
    "nothing": (1.0, 1.0, 1.0),
    "all VMs: noise x 3": (1.0, 3.0, 1.0),
    "half of the VMs: demand x 2": (2.0, 1.0, 0.5),
    "half of the VMs: noise x 5": (1.0, 5.0, 0.5),
    "a tenth of the VMs: demand x 4": (4.0, 1.0, 0.1),
}


class _OneModel:
    """As much of a registry as `DriftWatch` asks."""

    def __init__(self, info: ModelInfo) -> None:
        self.info = info

    def line(self, resource: Resource) -> tuple[str, ...]:
        return (MODEL,)

    def model(self, model_id: str) -> ModelRecord:
        return ModelRecord(self.info, ModelState.CHAMPION)


def follow(panel: Panel, days: float) -> list[float]:
    """Hours after the change (or after `CHANGE_DAYS`) at which drift stands, of one fleet."""
    first, fitted = TRAINED_DAYS * DAY, FittedEmpirical()
    known = panel.until(first)
    info = ModelInfo(
        id=MODEL,
        resource=Resource.CPU,
        forecaster="empirical",
        created_at_s=known.end_s,
        sha256="",
        size_bytes=0,
        data_from_s=0.0,
        data_until_s=0.0,
        n_series=panel.n_series,
        step_s=SLOT_S,
        seed=1,
        code_version="",
        validation=validate(fitted, known, TARGETS, first * 3 // 4),
    )
    watch = DriftWatch(_OneModel(info), _Deaf())  # type: ignore[arg-type]
    standing = []
    for slot in range(first, first + int(days * DAY), HOUR):
        seen = panel.between(slot - CONTEXT, slot)
        watch.see(seen, MODEL, fitted.predict(seen, TARGETS))
        if watch.drifted():
            standing.append((slot - first) / HOUR - 24 * CHANGE_DAYS)
    return standing


class _Deaf:
    """A store that nobody reads."""

    def write(self) -> _Deaf:
        return self

    def __enter__(self) -> _Deaf:
        return self

    def __exit__(self, *_: object) -> None: ...

    @property
    def chronicle(self) -> _Deaf:
        return self

    def add_events(self, events: object) -> None: ...


def office(n: int, days: float, seed: int) -> Panel:
    """All VMs work from Monday to Friday, and nothing changes."""
    rng = np.random.default_rng(seed)
    specs = [draw_spec(Behaviour.DIURNAL, rng) for _ in range(n)]
    week = frozenset(range(5))
    for i, spec in enumerate(specs):
        spikes = [replace(s, hour=rng.uniform(8, 10), weekdays=week) for s in spec.spikes]
        specs[i] = replace(spec, spikes=tuple(spikes))
    return panel_of(tuple(specs), int((TRAINED_DAYS + days) * DAY), rng)


def fleet(change: tuple[float, float, float], n_each: int, days: float, seed: int) -> Panel:
    factor, noise, share = change
    rng = np.random.default_rng(seed)
    whole = TRAINED_DAYS + days
    specs = [draw_spec(label, rng) for label in CLASSES for _ in range(n_each)]
    for i in np.flatnonzero(rng.random(len(specs)) < share).tolist():
        specs[i] = replace(
            specs[i],
            change_at=(TRAINED_DAYS + CHANGE_DAYS) / whole,
            change_by=factor,
            change_noise=noise,
        )
    return panel_of(tuple(specs), int(whole * DAY), rng)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--days", type=float, default=21.0, help="how long a model is followed")
    parser.add_argument("--each", type=int, default=25, help="VMs of each class")
    chosen = parser.parse_args()
    print("| change | fleets with a verdict of drift | hours until it, median | largest |")
    print("|---|---|---|---|")
    makers = {
        name: partial(fleet, change, chosen.each, chosen.days) for name, change in CHANGES.items()
    }
    for name, make in {OFFICE: partial(office, 4 * chosen.each, chosen.days), **makers}.items():
        firsts = []
        for seed in range(chosen.seeds):
            firsts += follow(make(seed), chosen.days)[:1]
        told = f"{np.median(firsts):.0f} | {max(firsts):.0f}" if firsts else "- | -"
        print(f"| {name} | {len(firsts)} of {chosen.seeds} | {told} |", flush=True)


if __name__ == "__main__":
    main()
