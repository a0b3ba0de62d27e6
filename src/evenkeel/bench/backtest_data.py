"""What a backtest trains on and where it is tested, from trace files: nothing of the test's future.

Called by `bench.backtest`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from math import gcd
from pathlib import Path
from typing import Final

import numpy as np

from evenkeel.adapters.traces.bitbrains import read_bitbrains
from evenkeel.adapters.traces.planetlab import read_planetlab
from evenkeel.domain.arrays import Bools
from evenkeel.domain.errors import InvalidRequest
from evenkeel.domain.panel import DAY_S, SLOT_S, Calendar, Panel
from evenkeel.domain.resources import Resource
from evenkeel.domain.trace import Reading, Trace, joined
from evenkeel.forecast.backtest import Course, first_origin

FORMATS: Final = ("planetlab", "bitbrains")
MAX_ORIGINS: Final = 700
"""Most origins when `every` is left open."""
MAX_JOINED_S: Final = 400 * DAY_S

_UNITS_S: Final = {"m": 60.0, "h": 3600.0, "d": DAY_S}


@dataclass(frozen=True, slots=True)
class Question:
    """What to backtest. Spans are words like 5m, 24h, 7d; None takes the format's default."""

    format: str
    train: tuple[Path, ...]
    test: tuple[Path, ...]
    resource: Resource = Resource.CPU
    horizons: tuple[str, ...] = ("5m", "30m", "60m")
    windows: tuple[str, ...] = ("30m", "60m")
    models: tuple[str, ...] = ()
    train_days: tuple[str, ...] = ()
    test_days: tuple[str, ...] = ()
    train_until: str | None = None
    test_from: str | None = None
    every: str | None = None
    history: str | None = None
    warm_up: str | None = None
    unseen: float = 0.0
    sample: int = 0
    """Test so many VMs only, drawn by the seed; 0: all. For models that are slow."""
    seed: int = 1
    time_zone: str = "UTC"


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    train: tuple[Panel, ...]
    courses: tuple[Course, ...]
    notes: tuple[str, ...] = ()
    flaws: dict[str, int] = field(default_factory=dict)

    @property
    def seen(self) -> frozenset[str]:
        return frozenset(vm for panel in self.train for vm in panel.ids)


def slots(span: str, what: str = "span") -> int:
    """Number of five-minute slots in 5m, 24h, 7d; raises InvalidRequest for anything else."""
    match = re.fullmatch(r"(\d+)([mhd])", span.strip())
    n = int(match[1]) * _UNITS_S[match[2]] / SLOT_S if match else 0
    if not n or n != round(n):
        raise InvalidRequest(
            f"{what} {span!r} is not a span in steps of five minutes", hint="Like 5m, 24h or 7d."
        )
    return round(n)


def material(question: Question, now_s: float) -> Material:
    """Read and split. Raises TraceInvalid, or InvalidRequest when training would see the future."""
    calendar = Calendar(time_zone=question.time_zone)
    if question.format == "planetlab":
        found = _planetlab(question, calendar)
    elif question.format == "bitbrains":
        found = _bitbrains(question, calendar, now_s)
    else:
        raise InvalidRequest(
            f"no format {question.format!r}", hint=f"There are: {', '.join(FORMATS)}."
        )
    return _sampled(_split_vms(found, question), question)


def _planetlab(question: Question, calendar: Calendar) -> Material:
    if question.resource is not Resource.CPU:
        raise InvalidRequest("PlanetLab traces have CPU alone", hint="Use --resource cpu.")
    train = read_planetlab(question.train, question.train_days, calendar)
    test = read_planetlab(question.test, question.test_days, calendar)
    test_ids = {trace.label: set(trace.panel.ids) for trace in test.traces}
    for trace in train.traces:
        if test_ids.get(trace.label, set()).intersection(trace.panel.ids):
            raise InvalidRequest(
                f"day {trace.label} is in training and in the test: looking into the future",
                hint="Choose with --train-days and --test-days, such as 20110403,20110409.",
            )
    notes = []
    first_test = min(trace.panel.start_s for trace in test.traces)
    late = [t.label for t in train.traces if t.panel.start_s > first_test]
    if late:
        notes.append(f"training days after the first day of the test: {', '.join(late)}")
    history, warm_up = _spans(question, "1d", "12h")
    every = slots(question.every or "30m", "--every")
    courses = [Course(trace, warm_up, every, history) for trace in test.traces]
    return Material(
        tuple(t.panel for t in train.traces), tuple(courses), tuple(notes), _added(train, test)
    )


def _bitbrains(question: Question, calendar: Calendar, now_s: float) -> Material:
    def read(paths: tuple[Path, ...]) -> Reading:
        return read_bitbrains(paths, question.resource, now_s, calendar)

    train = read(question.train)
    test = train if question.test == question.train else read(question.test)
    trained, tested = train.traces[0], test.traces[0]
    until_s, from_s = _cut(question, trained.panel, tested.panel)

    shown = tested
    notes: list[str] = []
    if until_s <= from_s and trained is not tested:
        span_s = tested.panel.end_s - trained.panel.start_s
        if span_s <= MAX_JOINED_S:
            # What lies before the test is history that was known; it is not only for training.
            shown = joined(trained, tested)
            rows = np.array([shown.panel.ids.index(vm) for vm in tested.panel.ids], dtype=np.intp)
            shown = _only(shown, rows)
    history, warm_up = _spans(question, "7d", "1d")
    panel = shown.panel
    not_before = max(0, round((from_s - panel.start_s) / panel.step_s))
    is_known: Bools = np.any(np.isfinite(panel.values), axis=0)
    first = first_origin(is_known, not_before, warm_up, history)
    if first is None:
        raise InvalidRequest(
            f"the test has no moment with {question.warm_up or '1d'} of history before it",
            hint="Give more --test files, an earlier --test-from or a shorter --warm-up.",
        )
    last = trained.panel
    end = min(last.n_slots, round((until_s - last.start_s) / last.step_s))
    if end < 1:
        raise InvalidRequest("nothing is left to train on", hint="Is --train-until too early?")
    every = _every(question, panel.n_slots - first, notes)
    return Material(
        (trained.known_at(end),),
        (Course(shown, first, every, history),),
        tuple(notes),
        dict(train.flaws) if test is train else _added(train, test),
    )


def _cut(question: Question, train: Panel, test: Panel) -> tuple[float, float]:
    """Until when training reaches and from when the test does."""
    until_s = instant(question.train_until) if question.train_until else None
    from_s = instant(question.test_from) if question.test_from else None
    if until_s is None:
        until_s = train.end_s if from_s is None else min(train.end_s, from_s)
    else:
        until_s = min(until_s, train.end_s)
    if from_s is None:
        from_s = max(test.start_s, until_s) if question.train_until else test.start_s
    if until_s > from_s:
        raise InvalidRequest(
            f"training reaches to {_day(until_s)}, the test begins on {_day(from_s)}: that is "
            "looking into the future",
            hint="Split them with --train-until DATE and --test-from DATE.",
        )
    return until_s, max(from_s, test.start_s)


def _spans(question: Question, history: str, warm_up: str) -> tuple[int, int]:
    return (
        slots(question.history or history, "--history"),
        slots(question.warm_up or warm_up, "--warm-up"),
    )


def _every(question: Question, n_slots: int, notes: list[str]) -> int:
    """About half an hour; no divisor of the day, so that every minute of it has its turn.

    Origins at full hours alone would judge by what starts at full hours. And calibration learns at
    each origin: a controller has one every five minutes, and twenty are needed until it is settled.
    """
    if question.every:
        return slots(question.every, "--every")
    every = slots("35m")
    if n_slots // every > MAX_ORIGINS:
        every = -(-n_slots // MAX_ORIGINS)
        while gcd(every, slots("1d")) > 1:
            every += 1
        notes.append(f"an origin every {every * SLOT_S / 3600:.1f} h")
    return every


def _split_vms(found: Material, question: Question) -> Material:
    """Take a share of the VMs, drawn by the seed, out of training."""
    if not 0 <= question.unseen < 1:
        raise InvalidRequest("--unseen is a share below 1")
    if not question.unseen:
        return found
    everybody = sorted(found.seen | {vm for c in found.courses for vm in c.trace.panel.ids})
    rng = np.random.default_rng(question.seed)
    n = round(question.unseen * len(everybody))
    hidden = {everybody[i] for i in rng.permutation(len(everybody))[:n]}
    train = (
        panel.only(np.array([vm not in hidden for vm in panel.ids], dtype=bool))
        for panel in found.train
    )
    return replace(found, train=tuple(panel for panel in train if panel.n_series))


def _sampled(found: Material, question: Question) -> Material:
    if not question.sample:
        return found
    rng = np.random.default_rng(question.seed)
    courses = []
    for course in found.courses:
        n = course.trace.panel.n_series
        rows = np.sort(rng.permutation(n)[: question.sample])
        courses.append(replace(course, trace=_only(course.trace, rows)))
    return replace(found, courses=tuple(courses))


def _only(trace: Trace, rows: np.ndarray[tuple[int], np.dtype[np.intp]]) -> Trace:
    capacities = None if trace.capacities is None else trace.capacities[rows]
    return replace(trace, panel=trace.panel.only(rows), capacities=capacities)


def _added(*readings: Reading) -> dict[str, int]:
    total: dict[str, int] = {}
    for reading in readings:
        for name, n in reading.flaws.items():
            total[name] = total.get(name, 0) + n
    return total


def instant(text: str) -> float:
    """UTC epoch seconds of an ISO date or time; raises InvalidRequest for anything else."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidRequest(f"{text!r} is not a date", hint="Like 2013-08-16.") from error
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def _day(when_s: float) -> str:
    return datetime.fromtimestamp(when_s, UTC).strftime("%Y-%m-%d %H:%M")


def words(values: Iterable[str]) -> tuple[str, ...]:
    """Comma-separated or repeated options as one list."""
    return tuple(w.strip() for value in values for w in value.split(",") if w.strip())


def paths(values: Sequence[str]) -> tuple[Path, ...]:
    """Files of options that may be repeated, hold commas or shell patterns."""
    found: list[Path] = []
    for word in values:
        for part in [word] if Path(word).exists() else words([word]):
            if any(c in part for c in "*?["):
                base = Path(part).anchor or "."
                found += sorted(Path(base).glob(str(Path(part).relative_to(Path(part).anchor))))
            else:
                found.append(Path(part))
    return tuple(found)
