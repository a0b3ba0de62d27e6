"""Days in fast motion: who bursts when, and the history that tells it. Pure.

A slot is five seconds and a day 24 minutes, so that forecasters see days and weeks within hours.
A diurnal VM bursts at the same times of every day; an event-driven one when an event of the
calendar does it, at no regular times; a steady one never.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64
from evenkeel.domain.resources import CPU_AXIS, N_RESOURCES
from evenkeel.domain.rollup import RollUp

SLOT_S: Final = 5
DAY_S: Final = 288 * SLOT_S
PAST_DAYS: Final = 5
BURST_S: Final = 60
APART_S: Final = 150
"""Least time between starts of bursts on one host: each is told apart, and quiet comes between."""
KIND: Final = "default/1x96MiB"
NOISE: Final = 0.02
EVENT_ODDS: Final = 0.1
"""That an event begins in a slot in which it may."""


class Habit(StrEnum):
    STEADY = "steady"
    DIURNAL = "diurnal"
    EVENT = "event"


@dataclass(frozen=True, slots=True)
class Actor:
    """Wants `base` cores, and `burst` while one lasts. `starts_s`: of all bursts, sorted."""

    name: str
    habit: Habit
    base: float
    burst: float
    starts_s: tuple[float, ...] = ()

    def wants(self, at_s: F64) -> F64:
        """(T,) cores at these instants, without noise."""
        out = np.full(len(at_s), self.base)
        for start_s in self.starts_s:
            out[(at_s >= start_s) & (at_s < start_s + BURST_S)] = self.burst
        return out


def day_starts(begin_s: float, end_s: float, offsets_s: Sequence[float]) -> tuple[float, ...]:
    """Every day's bursts, at these times of the day, between two instants."""
    days = range(int(begin_s // DAY_S), int(end_s // DAY_S) + 1)
    starts = sorted(day * DAY_S + offset for day in days for offset in offsets_s)
    return tuple(s for s in starts if begin_s <= s < end_s)


def event_starts(
    begin_s: float, end_s: float, avoid_s: Sequence[float], rng: np.random.Generator
) -> tuple[float, ...]:
    """Irregular events, on whole slots, each `APART_S` from all of `avoid_s` and the one before."""
    found: list[float] = []
    others = np.array(avoid_s)
    for at_s in np.arange(begin_s // SLOT_S + 1, end_s // SLOT_S) * float(SLOT_S):
        is_apart = not found or at_s - found[-1] >= APART_S
        if is_apart and (np.abs(others - at_s) >= APART_S).all() and rng.random() < EVENT_ODDS:
            found.append(float(at_s))
    return tuple(found)


def crowd(begin_s: float, end_s: float, events: tuple[float, ...], seed: int) -> list[Actor]:
    """Sixty VMs to learn from, a third of each habit."""
    rng = np.random.default_rng(seed)
    out = []
    for k in range(60):
        habit = tuple(Habit)[k % 3]
        base, burst = float(rng.uniform(0.03, 0.6)), float(rng.uniform(0.7, 1.0))
        starts: tuple[float, ...] = events if habit is Habit.EVENT else ()
        if habit is Habit.DIURNAL:
            n_bursts = int(rng.integers(2, 5))
            offsets = rng.choice(DAY_S // SLOT_S, n_bursts, replace=False) * float(SLOT_S)
            starts = day_starts(begin_s, end_s, sorted(offsets))
        out.append(Actor(f"crowd{k}", habit, base, burst, starts))
    return out


def rollups(actors: Sequence[Actor], begin_s: float, end_s: float, seed: int) -> Iterator[RollUp]:
    """What the controller would have kept of these actors: CPU alone, slot by slot."""
    rng = np.random.default_rng(seed)
    first, last = int(begin_s // SLOT_S), int(end_s // SLOT_S)
    at_s = np.arange(first, last, dtype=np.float64) * SLOT_S
    demand = np.stack([actor.wants(at_s) for actor in actors])
    demand = np.maximum(demand * (1 + NOISE * rng.standard_normal(demand.shape)), 0.0)
    ids, n = tuple(actor.name for actor in actors), len(actors)

    def of_cpu(values: F64) -> np.ndarray:
        out = np.full((n, N_RESOURCES), np.nan, np.float32)
        out[:, CPU_AXIS] = values
        return out

    for column, slot_s in enumerate(range(first * SLOT_S, last * SLOT_S, SLOT_S)):
        yield RollUp(
            slot_s=slot_s,
            step_s=SLOT_S,
            rolled_at_s=slot_s + SLOT_S + 1.0,
            ids=ids,
            kinds=(KIND,) * n,
            n_ticks=np.ones(n, dtype=np.intp),
            demand=of_cpu(demand[:, column]),
            peak=of_cpu(demand[:, column]),
            loss=of_cpu(np.zeros(n)),
            censored=of_cpu(np.zeros(n)),
            capacity=of_cpu(np.ones(n)),
        )


@dataclass(frozen=True, slots=True)
class Foreseen:
    """How one burst went. Times are seconds before the loss; negative: after it. None: never."""

    host: str
    habit: Habit
    start_s: float
    onset_s: float
    lead_s: float | None
    present_lead_s: float | None


def judged(
    host: str,
    habit: Habit,
    start_s: float,
    losses: Sequence[tuple[float, float]],
    ahead: Sequence[tuple[float, float]],
    present: Sequence[tuple[float, float]],
    alarm_score: float,
    look_back_s: float,
) -> Foreseen | None:
    """Hold a burst's scores against the victim's loss; None when there was no loss to foresee.

    `losses` (time, share lost) and both scores (time, score) as they came. A score that was up all
    the time before is not a warning: it has to rise above the threshold within `look_back_s`.
    """
    threshold = alarm_score / 100
    end_s = start_s + BURST_S
    onset = next((t for t, loss in losses if start_s <= t < end_s and loss >= threshold), None)
    if onset is None:
        return None

    def lead(scores: Sequence[tuple[float, float]]) -> float | None:
        inside = [(t, s) for t, s in scores if start_s - look_back_s <= t < end_s]
        if inside and inside[0][1] >= alarm_score:
            return None
        passed = next((t for t, s in inside if s >= alarm_score), None)
        return None if passed is None else onset - passed

    return Foreseen(host, habit, start_s, onset, lead(ahead), lead(present))
