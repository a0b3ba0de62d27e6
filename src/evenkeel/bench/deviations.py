"""How often do pairs alarm that behave as predicted, and how soon do those that do not?

Noise is made tick by tick, as unkind as measured losses are: errors of neighbouring ticks are alike
(AR(1)), sometimes with heavy tails, and at the start and the end of each collision the prediction
lags by some ticks. Baselines see the same losses: a limit of three spreads on each minute, one on
an exponential mean, and Page's test on single ticks.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64, Bools
from evenkeel.domain.ids import VmId
from evenkeel.domain.resources import N_RESOURCES
from evenkeel.envelope import Result
from evenkeel.interference.page import CLIP
from evenkeel.interference.pair_watch import MIN_GAP, PairWatch

TICKS: Final = 12
"""Per minute, at 5 s each."""
LAG_TICKS: Final = 2
N_VMS: Final = 20
REST_MINUTES: Final = 10
SHIFTS: Final = (0.15, 0.25, 0.40)
SHIFTED_HOURS: Final = 2


@dataclass(frozen=True, slots=True)
class Noise:
    """Error of a tick: AR(1) with this correlation and spread; `tails`: degrees of freedom of t.

    `per_hour` collisions of some minutes each start and end unforeseen.
    """

    name: str
    phi: float
    sd: float
    tails: float = 0.0
    per_hour: float = 0.0
    size: float = 0.4


NOISES: Final = (
    Noise("white", 0.0, 0.10),
    Noise("alike", 0.7, 0.10),
    Noise("very-alike", 0.9, 0.10),
    Noise("wide", 0.7, 0.25),
    Noise("heavy-tails", 0.7, 0.10, tails=3.0),
    Noise("collisions", 0.7, 0.05, per_hour=6.0),
)
Detector = Callable[[F64, F64, F64], Bools]
"""(ticks of measured loss (TICKS, ...), predicted, minute's mean) -> alarms that begin now."""


def bench_deviations(hours: float, seed: int, report: Callable[[str], None]) -> Result:
    """False alarms per 1000 pair-hours under each noise, and minutes until a shift is told."""
    began_s = time.perf_counter()
    minutes = round(hours * 60)
    names = ("ours", "minute-limit", "mean-limit", "tick-cusum")
    found: dict[str, dict[str, float]] = {name: {} for name in names}
    for noise in NOISES:
        report(f"quiet, {noise.name}")
        for name, rate in _false_alarms(noise, minutes, seed).items():
            found[name][f"false_per_1000_pair_hours.{noise.name}"] = rate
    for shift in SHIFTS:
        report(f"a shift of {shift:g}")
        for name, (delay, missed) in _delays(NOISES[1], shift, seed).items():
            found[name][f"delay_min.p50.{shift:g}"] = delay
            found[name][f"missed.{shift:g}"] = missed
    ours = found.pop("ours")
    pairs = math.prod(_shape())
    cost_ms = _cost_ms(seed)
    return Result(
        name="deviations",
        seconds=time.perf_counter() - began_s,
        seed=seed,
        metrics=ours | {"pair_hours": pairs * hours, "minute_ms": cost_ms},
        baselines=found,
    )


def _shape() -> tuple[int, int, int]:
    return N_RESOURCES, N_VMS, N_VMS + 2


def _losses(noise: Noise, predicted: F64, minutes: int, rng: np.random.Generator) -> Iterator[F64]:
    """(TICKS, R, N, N + 2) measured losses, minute by minute."""
    state = np.zeros(predicted.shape)
    width = noise.sd * np.sqrt(1 - noise.phi**2)
    late = np.zeros(predicted.shape, dtype=np.intp)
    sign = np.zeros(predicted.shape)
    for _ in range(minutes):
        out = np.empty((TICKS, *predicted.shape))
        for t in range(TICKS):
            fresh = rng.standard_normal(predicted.shape)
            if noise.tails:
                chi = rng.chisquare(noise.tails, predicted.shape) / noise.tails
                fresh = fresh / np.sqrt(chi * noise.tails / (noise.tails - 2))
            state = noise.phi * state + width * fresh
            if noise.per_hour:
                starts = rng.random(predicted.shape) < 2 * noise.per_hour / 3600 * 5
                late = np.where(starts, LAG_TICKS, np.maximum(late - 1, 0))
                sign = np.where(starts, np.where(sign > 0, -1.0, 1.0), sign)
            out[t] = np.clip(predicted + state + sign * (late > 0) * noise.size, 0.0, 1.0)
        yield out


def _detectors(predicted: F64) -> dict[str, Detector]:
    return {
        "ours": _Ours(),
        "minute-limit": _Limit(predicted, weight=1.0),
        "mean-limit": _Limit(predicted, weight=0.2),
        "tick-cusum": _TickCusum(predicted),
    }


def _prediction(rng: np.random.Generator) -> F64:
    """Most pairs cost little, some a lot; where clipping at 0 and 1 does not bias the mean."""
    return np.asarray(0.35 + 0.3 * rng.random(_shape()))


def _false_alarms(noise: Noise, minutes: int, seed: int) -> dict[str, float]:
    rng = np.random.default_rng([seed, 1])
    predicted = _prediction(rng)
    detectors = _detectors(predicted)
    n = dict.fromkeys(detectors, 0)
    for ticks in _losses(noise, predicted, minutes, rng):
        mean = ticks.mean(axis=0)
        for name, detect in detectors.items():
            n[name] += int(detect(ticks, predicted, mean).sum())
    pair_hours = predicted.size * minutes / 60
    return {name: 1000 * count / pair_hours for name, count in n.items()}


def _delays(noise: Noise, shift: float, seed: int) -> dict[str, tuple[float, float]]:
    """(median minutes to the alarm, share missed) after an hour that went as predicted."""
    rng = np.random.default_rng([seed, 2])
    predicted = _prediction(rng)
    wrong = rng.random(predicted.shape) < 0.02
    detectors = _detectors(predicted)
    first = {name: np.full(predicted.shape, np.inf) for name in detectors}
    before, total = 60, 60 + SHIFTED_HOURS * 60
    for minute, ticks in enumerate(_losses(noise, predicted, total, rng)):
        if minute >= before:
            ticks = np.clip(ticks + shift * wrong, 0.0, 1.0)
        mean = ticks.mean(axis=0)
        for name, detect in detectors.items():
            told = detect(ticks, predicted, mean)
            if minute >= before:
                fresh = told & np.isinf(first[name])
                first[name][fresh] = minute - before + 1
    out = {}
    for name, at in first.items():
        delays = at[wrong]
        heard = np.isfinite(delays)
        out[name] = (float(np.median(delays[heard])) if heard.any() else -1.0, 1 - heard.mean())
    return {name: (delay, float(missed)) for name, (delay, missed) in out.items()}


class _Ours:
    def __init__(self) -> None:
        vms = tuple(VmId(f"vm{i}") for i in range(N_VMS))
        everyone = np.arange(math.prod(_shape()))
        self.watch = PairWatch.for_vms(vms).joined(everyone)

    def __call__(self, ticks: F64, predicted: F64, mean: F64) -> Bools:
        before = self.watch.alarm
        known = np.ones(mean.size, dtype=np.bool_)
        self.watch = self.watch.judged(predicted.ravel(), mean.ravel(), known, 0.0)
        fresh: Bools = (self.watch.alarm != 0) & (before == 0)
        return fresh.reshape(mean.shape)


class _Limit:
    """Three spreads on an exponential mean of minutes (weight 1: on each minute)."""

    def __init__(self, predicted: F64, weight: float) -> None:
        self.weight = weight
        self.mean = np.zeros(predicted.shape)
        self.square = np.full(predicted.shape, 0.05**2)
        self.rest = np.zeros(predicted.shape)

    def __call__(self, ticks: F64, predicted: F64, mean: F64) -> Bools:
        gap = mean - predicted
        self.mean = (1 - self.weight) * self.mean + self.weight * gap
        limit = 3 * np.sqrt(self.square * self.weight / (2 - self.weight))
        over = (np.abs(self.mean) > limit) & (np.abs(self.mean) >= MIN_GAP)
        told = np.asarray(over & (self.rest <= 0))
        self.rest = np.where(told, REST_MINUTES, self.rest - 1)
        self.square = 0.98 * self.square + 0.02 * np.minimum(gap**2, 9 * self.square)
        return told


class _TickCusum:
    """Page's test as textbooks have it: every tick independent, threshold for 1000 hours."""

    threshold = 12.3
    """Siegmund: (exp(h + 1.166) - h - 2.166) / 0.5 = 2 x 720,000 ticks at k = 1/2."""

    def __init__(self, predicted: F64) -> None:
        self.page = np.zeros((2, *predicted.shape))
        self.square = np.full(predicted.shape, 0.05**2)
        self.rest = np.zeros(predicted.shape)

    def __call__(self, ticks: F64, predicted: F64, mean: F64) -> Bools:
        over = np.zeros(predicted.shape, dtype=np.bool_)
        for tick in ticks:
            gap = tick - predicted
            score = np.clip(gap / np.sqrt(self.square), -CLIP, CLIP)
            self.page = np.maximum(self.page + np.stack([score, -score]) - 0.5, 0.0)
            over |= (self.page > self.threshold).any(axis=0)
            self.square = 0.998 * self.square + 0.002 * np.minimum(gap**2, 9 * self.square)
        told = over & (self.rest <= 0)
        self.page *= ~told
        self.rest = np.where(told, REST_MINUTES, self.rest - 1)
        return told


def _cost_ms(seed: int) -> float:
    """CPU time to judge one minute of all pairs of this host."""
    rng = np.random.default_rng(seed)
    ours, predicted = _Ours(), _prediction(rng)
    began_s = time.process_time()
    for _ in range(20):
        ours(predicted[None], predicted, predicted)
    return (time.process_time() - began_s) / 20 * 1e3
