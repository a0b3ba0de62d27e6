"""Demand series of a known behaviour, for tests, benches and the simulated fleet.

`DemandSpec` says what a series is made of; `demand` makes it; `draw_spec` draws the knobs of one
class; `labelled_panel` makes a panel of all classes with the truth beside it. Everything follows
from the generator handed in. Amounts are shares of the VM's capacity until the very end.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F32, F64, Ints
from evenkeel.domain.panel import DAY_S, SLOT_S, Calendar, CalendarRows, Panel
from evenkeel.domain.profile import BEHAVIOURS, Behaviour
from evenkeel.domain.resources import Resource

MONDAY_S: Final = 1_375_660_800.0
"""2013-08-05 00:00 UTC, a Monday."""

CLASSES: Final = (Behaviour.STEADY, Behaviour.DIURNAL, Behaviour.BURST, Behaviour.CHAOTIC)


@dataclass(frozen=True, slots=True)
class DailySpike:
    """A hump at local `hour` for `hours`, `height` above the level, on `weekdays` (0 = Monday).

    Each day it comes `jitter_h` (standard deviation) early or late, `wobble` (relative) higher or
    lower, and not at all with probability `skip`. `smooth` is a half sine, else it is a box.
    """

    hour: float
    hours: float
    height: float
    jitter_h: float = 0.0
    wobble: float = 0.0
    skip: float = 0.0
    smooth: bool = False
    weekdays: frozenset[int] = frozenset(range(7))


@dataclass(frozen=True, slots=True)
class Bursts:
    """Poisson bursts: `a_day` of them, lengths Pareto (`shortest_h`, `tail`) cut at `longest_h`.

    Heights are log-normal about `height` (of capacity, above the level) with sigma `wobble`.
    """

    a_day: float
    height: float
    shortest_h: float = 0.25
    longest_h: float = 6.0
    tail: float = 1.5
    wobble: float = 0.3


@dataclass(frozen=True, slots=True)
class Wander:
    """A level that never settles: a log-scale random walk drawn back within `memory_h`, or regimes.

    `sigma` is the spread in logs. With `regimes`, the level is drawn anew at exponential times,
    `memory_h` apart in the mean; without, it drifts (Ornstein-Uhlenbeck). With `two`, regimes take
    turns between exp(sigma) and exp(-sigma) times the level: on and off, for any length.
    """

    sigma: float
    memory_h: float
    regimes: bool = False
    two: bool = False


@dataclass(frozen=True, slots=True)
class DemandSpec:
    """What a series is made of, as shares of capacity.

    `noise` is relative to the demand of the moment, AR(1) with coefficient `memory`. `trend` is the
    relative change of the level over the whole series. `quiet_is_zero` takes the level away, so
    that only spikes, bursts and wandering remain. `rounding` > 0 rounds to its multiples, as tools
    that report whole percents do. `gaps` is the share of unknown slots, in stretches of hours.
    `change_at` (share of the length) multiplies everything after it by `change_by`, and the noise
    by `change_noise`: what a deviation is.
    """

    level: float
    noise: float = 0.05
    memory: float = 0.0
    trend: float = 0.0
    spikes: tuple[DailySpike, ...] = ()
    bursts: Bursts | None = None
    wander: Wander | None = None
    quiet_is_zero: bool = False
    rounding: float = 0.0
    gaps: float = 0.0
    change_at: float = 1.0
    change_by: float = 1.0
    change_noise: float = 1.0


def demand(spec: DemandSpec, when_s: F64, local: CalendarRows, rng: np.random.Generator) -> F64:
    """One series (T,) as shares of capacity at slots starting at `when_s`, NaN in its gaps."""
    n = len(when_s)
    step_s = float(when_s[1] - when_s[0]) if n > 1 else SLOT_S
    days = n * step_s / DAY_S
    x: F64 = np.full(n, 0.0 if spec.quiet_is_zero else spec.level)
    if spec.wander:
        x = spec.level * np.exp(_wander(spec.wander, n, step_s, rng))
    x *= 1.0 + spec.trend * (np.arange(n) / max(n, 1) - 0.5)
    for spike in spec.spikes:
        x += _daily(spike, when_s, local, rng)
    if spec.bursts:
        x += _bursts(spec.bursts, n, days, step_s, rng)
    changed = np.arange(n) >= spec.change_at * n
    noise = spec.noise * np.where(changed, spec.change_noise, 1.0)
    x *= np.where(changed, spec.change_by, 1.0) * (1.0 + noise * _ar1(n, spec.memory, rng))
    x = np.clip(x, 0.0, 1.2)
    if spec.rounding > 0:
        x = np.round(x / spec.rounding) * spec.rounding
    lost = 0.0
    while lost < spec.gaps * n:
        start, length = rng.integers(n), int(1 + rng.exponential(2 * 3600 / step_s))
        x[start : start + length] = np.nan
        lost += length
    return x


def draw_spec(behaviour: Behaviour, rng: np.random.Generator) -> DemandSpec:
    """Knobs of a series that a person would call `behaviour` from a week of it."""
    make = {
        Behaviour.STEADY: _steady,
        Behaviour.DIURNAL: _diurnal,
        Behaviour.BURST: _bursty,
        Behaviour.CHAOTIC: _chaotic,
    }[behaviour]
    spec = make(rng)
    return replace(
        spec,
        rounding=0.01 if rng.random() < 0.3 else 0.0,
        gaps=rng.uniform(0.0, 0.1) if rng.random() < 0.3 else 0.0,
    )


@dataclass(frozen=True, slots=True, eq=False)
class LabelledPanel:
    """A panel with the truth: `labels` (N,) are codes of BEHAVIOURS, `specs` what made it."""

    panel: Panel
    labels: Ints
    specs: tuple[DemandSpec, ...]


def labelled_panel(
    n_each: int,
    n_slots: int,
    rng: np.random.Generator,
    calendar: Calendar | None = None,
    start_s: float = MONDAY_S,
    classes: tuple[Behaviour, ...] = CLASSES,
) -> LabelledPanel:
    """`n_each` series of every class, shuffled; capacities from half a core to 64."""
    calendar = calendar or Calendar()
    order = [label for label in classes for _ in range(n_each)]
    labels = [order[i] for i in rng.permutation(len(order))]
    specs = tuple(draw_spec(label, rng) for label in labels)
    panel = panel_of(specs, n_slots, rng, calendar, start_s)
    return LabelledPanel(panel, np.array([BEHAVIOURS.index(b) for b in labels]), specs)


def panel_of(
    specs: tuple[DemandSpec, ...],
    n_slots: int,
    rng: np.random.Generator,
    calendar: Calendar | None = None,
    start_s: float = MONDAY_S,
) -> Panel:
    """A panel of CPU demand of these specs."""
    calendar = calendar or Calendar()
    when_s: F64 = start_s + SLOT_S * np.arange(n_slots, dtype=np.float64)
    local = calendar.at(when_s)
    capacity = np.exp(rng.uniform(np.log(0.5), np.log(64.0), len(specs)))
    values: F32 = np.array(
        [
            (c * demand(s, when_s, local, rng)).astype(np.float32)
            for s, c in zip(specs, capacity, strict=True)
        ],
        dtype=np.float32,
    ).reshape(len(specs), n_slots)
    return Panel(
        ids=tuple(f"vm{i}" for i in range(len(specs))),
        values=values,
        start_s=start_s,
        resource=Resource.CPU,
        capacity=capacity,
        calendar=calendar,
    )


# --- the four classes -------------------------------------------------------------------------


def _steady(rng: np.random.Generator) -> DemandSpec:
    level = _log(rng, 0.003, 0.8)
    kind = rng.random()
    if kind < 0.2:  # a rare blip, which is no habit
        blips = Bursts(rng.uniform(0.1, 0.4), _log(rng, 0.05, 0.5), 0.08, 0.17, 2.0)
    elif kind < 0.4:  # outliers no larger than the level, which are noise
        blips = Bursts(rng.uniform(0.5, 4.0), level * rng.uniform(0.6, 1.0), 0.08, 0.1, 2.0)
    else:
        blips = None
    return DemandSpec(
        level,
        noise=_log(rng, 0.01, 0.28),
        memory=rng.uniform(0.0, 0.8),
        trend=rng.uniform(-0.2, 0.2) if rng.random() < 0.3 else 0.0,
        bursts=blips,
        quiet_is_zero=0.4 < kind < 0.5,
    )


def _diurnal(rng: np.random.Generator) -> DemandSpec:
    level = _log(rng, 0.01, 0.25)
    workdays = frozenset(range(5)) if rng.random() < 0.4 else frozenset(range(7))
    spikes = tuple(
        DailySpike(
            hour=rng.uniform(0, 24),
            hours=_log(rng, 0.5, 9.0),
            height=max(0.1, level * _log(rng, 1.0, 8.0)),
            jitter_h=rng.uniform(0.0, 0.25),
            wobble=rng.uniform(0.0, 0.25),
            skip=rng.uniform(0.0, 0.08),
            smooth=rng.random() < 0.5,
            weekdays=workdays,
        )
        for _ in range(1 if rng.random() < 0.7 else 2)
    )
    return DemandSpec(
        level,
        noise=_log(rng, 0.02, 0.3),
        memory=rng.uniform(0.0, 0.6),
        spikes=spikes,
        bursts=Bursts(rng.uniform(0.1, 0.4), _log(rng, 0.1, 0.4)) if rng.random() < 0.2 else None,
        quiet_is_zero=rng.random() < 0.2,
    )


def _bursty(rng: np.random.Generator) -> DemandSpec:
    level = _log(rng, 0.005, 0.2)
    bursts = Bursts(
        a_day=_log(rng, 0.7, 8.0),
        height=max(0.12, level * _log(rng, 1.5, 15.0)),
        shortest_h=_log(rng, 0.15, 0.5),
        longest_h=rng.uniform(2.0, 6.0),
        tail=rng.uniform(1.3, 2.0),
        wobble=rng.uniform(0.1, 0.5),
    )
    return DemandSpec(
        level,
        noise=_log(rng, 0.02, 0.35),
        memory=rng.uniform(0.0, 0.6),
        bursts=bursts,
        quiet_is_zero=rng.random() < 0.3,
    )


def _chaotic(rng: np.random.Generator) -> DemandSpec:
    kind = rng.random()
    level = _log(rng, 0.08, 0.4)
    if kind < 0.4:
        wander = Wander(rng.uniform(0.45, 1.0), _log(rng, 0.5, 16.0))
    elif kind < 0.6:
        wander = Wander(rng.uniform(0.5, 1.0), _log(rng, 0.5, 8.0), regimes=True)
    elif kind < 0.75:
        wander = Wander(rng.uniform(0.7, 1.6), _log(rng, 2.0, 16.0), regimes=True, two=True)
        level /= 2.0
    else:
        wander = Wander(rng.uniform(0.5, 1.0), 0.08, regimes=True)
    return DemandSpec(
        level, noise=rng.uniform(0.02, 0.3), memory=rng.uniform(0.0, 0.6), wander=wander
    )


# --- the parts --------------------------------------------------------------------------------


def _log(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _ar1(n: int, memory: float, rng: np.random.Generator) -> F64:
    """Unit-variance AR(1) noise."""
    white: F64 = rng.standard_normal(n) * np.sqrt(1.0 - memory**2)
    if memory == 0 or not n:
        return white
    white[0] /= np.sqrt(1.0 - memory**2)
    return np.fromiter(accumulate(white, lambda last, new: memory * last + new), np.float64, n)


def _daily(spike: DailySpike, when_s: F64, local: CalendarRows, rng: np.random.Generator) -> F64:
    local_h = local.hour
    day = np.cumsum(np.diff(local_h, prepend=local_h[:1]) < 0)  # a new local day begins
    n_days = int(day[-1]) + 1
    shift = rng.normal(0.0, spike.jitter_h, n_days + 1)
    gain = spike.height * np.maximum(0.0, 1.0 + spike.wobble * rng.standard_normal(n_days + 1))
    gain[rng.random(n_days + 1) < spike.skip] = 0.0
    total = np.zeros(len(when_s))
    for back in (0, 1):  # today's spike, and yesterday's that reaches past midnight
        weekday = (local.weekday - back) % 7
        on = np.isin(weekday, list(spike.weekdays))
        which = day - back + 1
        phase = (local_h + 24 * back - spike.hour - shift[which]) / spike.hours
        inside = (phase >= 0) & (phase < 1) & on
        shape = np.sin(np.pi * np.clip(phase, 0, 1)) if spike.smooth else 1.0
        total += np.where(inside, gain[which] * shape, 0.0)
    return total


def _bursts(b: Bursts, n: int, days: float, step_s: float, rng: np.random.Generator) -> F64:
    total = np.zeros(n)
    for _ in range(rng.poisson(b.a_day * days)):
        length_h = min(b.longest_h, b.shortest_h * (1.0 + rng.pareto(b.tail)))
        start, slots = rng.integers(n), max(1, round(length_h * 3600 / step_s))
        height = b.height * np.exp(b.wobble * rng.standard_normal())
        total[start : start + slots] = np.maximum(total[start : start + slots], height)
    return total


def _wander(w: Wander, n: int, step_s: float, rng: np.random.Generator) -> F64:
    keep = float(np.exp(-step_s / (3600 * w.memory_h)))
    if not w.regimes:
        drift: F64 = w.sigma * _ar1(n, keep, rng)
        return drift
    which = np.cumsum(rng.random(n) >= keep)
    count = int(which[-1]) + 1
    turns = np.where((np.arange(count) + rng.integers(2)) % 2 == 0, 1.0, -1.0)
    levels: F64 = w.sigma * (turns if w.two else rng.standard_normal(count))
    steps: F64 = levels[which]
    return steps
