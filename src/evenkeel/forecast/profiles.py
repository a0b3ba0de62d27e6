"""Behaviour profiles: from statistics to one of four classes, with a probability and a memory.

Three questions, each a logistic regression on `profile_statistics`, asked in turn: is it steady? if
not, does it follow the day? if not, do bursts over a quiet base explain it? What is left is
chaotic. So the four probabilities add up to 1, and every label can be told in a sentence. The
coefficients were fitted on generated series of known class (`python -m evenkeel.bench.profiles`
fits them again and prints the confusion matrix on other seeds); docs/designs/0006 has the figures.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64, Bools, Ints
from evenkeel.domain.panel import Panel
from evenkeel.domain.profile import BEHAVIOURS, N_KNOWN, UNKNOWN, Behaviour, Profile
from evenkeel.forecast.profile_statistics import Statistics, summarise

MIN_DAYS: Final = 2 / 24
"""Known demand below which nothing is said."""
MIN_WHOLE_DAYS: Final = 2
"""Days from which on a daily pattern can be told from a coincidence."""
MARGIN: Final = 0.4
"""A former class is kept until another is more probable by this much."""

STEADY_WEIGHTS: Final = (0.87, -2.66, -3.34)
DIURNAL_WEIGHTS: Final = (-3.31, 7.50)
BURST_WEIGHTS: Final = (3.49, -3.94, 1.90, -2.86)

_DIURNAL: Final = BEHAVIOURS.index(Behaviour.DIURNAL)
_BURST: Final = BEHAVIOURS.index(Behaviour.BURST)


@dataclass(frozen=True, slots=True, eq=False)
class Profiles:
    """Profiles of N series as columns; iterate or index for `Profile`s.

    `labels` (N,) are codes of BEHAVIOURS, `probability` (N, 4) is of the four known ones.
    """

    labels: Ints
    probability: F64
    statistics: Statistics

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[Profile]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, i: int) -> Profile:
        s, label = self.statistics, int(self.labels[i])
        hours: tuple[int, ...] = ()
        weekdays: tuple[int, ...] = ()
        minutes, a_day = 0.0, 0.0
        if label == _DIURNAL:
            hours = tuple(int(h) for h in np.flatnonzero(s.hours[i]))
            weekdays = tuple(int(d) for d in np.flatnonzero(s.weekdays[i]))
            minutes, a_day = float(s.spike_minutes[i]), float(s.spikes_a_day[i])
        elif label != UNKNOWN:
            minutes, a_day = float(s.burst_minutes[i]), float(s.bursts_a_day[i])
        return Profile(
            label=BEHAVIOURS[label],
            confidence=0.0 if label == UNKNOWN else float(self.probability[i, label]),
            peak_hours=hours,
            weekdays=weekdays,
            burst_minutes=minutes,
            bursts_a_day=a_day,
            history_days=float(s.history_days[i]),
        )

    def shares(self) -> dict[Behaviour, float]:
        """Share of each class among all series."""
        counts = np.bincount(self.labels, minlength=len(BEHAVIOURS)) / max(len(self), 1)
        return {b: float(c) for b, c in zip(BEHAVIOURS, counts, strict=True)}


def profile(panel: Panel, previous: Ints | None = None) -> Profiles:
    """Profiles of every series of `panel`, from all of it: give it the last week or two.

    `previous` (N,): codes of BEHAVIOURS from the last time, for hysteresis.
    """
    return classify(summarise(panel), previous)


def classify(statistics: Statistics, previous: Ints | None = None) -> Profiles:
    """The most probable class of each series, or the former one where the case is not clear.

    Unknown below 2 h of known demand; never newly diurnal below two whole days.
    """
    p = probabilities(statistics)
    labels = np.argmax(p, axis=1)
    if previous is not None:
        known = previous != UNKNOWN
        former = np.where(known, previous, 0)
        rows = np.arange(len(labels))
        unclear = p[rows, labels] - p[rows, former] <= MARGIN
        labels = np.where(known & unclear, former, labels)
    labels = np.where(statistics.history_days < MIN_DAYS - 1e-9, UNKNOWN, labels)
    return Profiles(labels.astype(np.intp), p, statistics)


def features(s: Statistics) -> tuple[F64, F64, F64]:
    """What the three questions look at: columns for steady, for diurnal, for burst."""
    swing, rest = np.log(s.swing + 0.05), np.minimum(s.rest_swing, 3.0)
    often = 10 * np.maximum(s.burst_time - 0.2, 0.0)  # beyond a fifth of the time: no exception
    telling = s.burst_share * np.log1p(1440 * s.burst_time)  # minutes a day, where they matter
    return (
        np.stack([swing, telling], axis=1),
        s.daily[:, None],
        np.stack([rest, s.burst_share, often], axis=1),
    )


def probabilities(s: Statistics) -> F64:
    """Probability of each known class (N, 4).

    A short history shrinks them towards 1/4, so that as many labels are right as they say: by
    w = 0.6 days^0.45 while the daily pattern cannot be known, not at all later.
    """
    weights = (STEADY_WEIGHTS, DIURNAL_WEIGHTS, BURST_WEIGHTS)
    steady, diurnal, burst = (
        1.0 / (1.0 + np.exp(-(w[0] + x @ np.array(w[1:]))))
        for x, w in zip(features(s), weights, strict=True)
    )
    sure: Bools = s.whole_days >= MIN_WHOLE_DAYS
    diurnal = np.where(sure, diurnal, 0.0)
    rest = (1.0 - steady) * (1.0 - diurnal)
    p = np.stack([steady, (1.0 - steady) * diurnal, rest * burst, rest * (1.0 - burst)], axis=1)
    keep = np.where(sure, 1.0, np.minimum(1.0, 0.6 * s.history_days**0.45))[:, None]
    result: F64 = keep * p + (1.0 - keep) / N_KNOWN
    return result
