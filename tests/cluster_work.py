"""Pieces of work for a Ray cluster on this machine, importable by its workers.

A worker's parent process is the raylet of its node; pieces leave that number in a folder, so that a
test knows where they ran.
"""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path

from evenkeel.forecast.auto import AutoForecaster
from evenkeel.forecast.boosted import BoostedForecaster
from evenkeel.forecast.network.forecaster import NetworkForecaster
from evenkeel.forecast.network.settings import Training

BRIEF = Training(epochs=2, rows_per_epoch=800, hidden=32)


def leave_mark(folder: Path, what: object) -> None:
    (folder / f"{os.getppid()}-{what}-{time.monotonic_ns()}").touch()


def marks(folder: Path, raylet: int) -> list[str]:
    """What was begun on that node."""
    return [path.name.split("-")[1] for path in folder.glob(f"{raylet}-*")]


class Marked:
    """A learner that says where it learns, and takes its time, so that it can be killed."""

    def __init__(self, learner, folder: Path, seconds: float):
        self.name, self.load = learner.name, learner.load
        self._learner, self._folder, self._seconds = learner, folder, seconds

    def fit(self, panels, targets, seed):
        leave_mark(self._folder, self.name)
        time.sleep(self._seconds)
        return self._learner.fit(panels, targets, seed)


def brief_learners(folder: Path, seconds: float, report):
    """The learners of `auto`, trained for a second or two."""
    made = (
        NetworkForecaster(training=BRIEF, report=report),
        BoostedForecaster(rows=2000, rounds=2, report=report),
        NetworkForecaster(recurrent=True, training=BRIEF, report=report),
    )
    return tuple(Marked(learner, folder, seconds) for learner in made)


def brief_auto(folder: Path, workers, seconds=0.0, report=lambda *_: None) -> AutoForecaster:
    make = partial(brief_learners, folder, seconds)
    return AutoForecaster(make, report, judged_rows=2000, workers=workers)


def learnt(folder, workers, panels, targets, seed, report) -> bytes:
    """A piece of work that has pieces of its own."""
    return brief_auto(folder, workers, report=report).fit(panels, targets, seed).save()


def slow_panel(folder, panel, seconds):
    leave_mark(folder, panel.ids[0])
    time.sleep(seconds)
    return panel


def doubled(number, report):
    report(f"at {number}")
    if number == 13:
        raise ValueError("thirteen")
    return 2 * number


def asleep(folder, number, report):
    leave_mark(folder, number)
    time.sleep(60)
