"""`evenkeel backtest`: forecasters on recorded demand, each beside every baseline in one run."""

from __future__ import annotations

import resource as process
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import count
from typing import Any, Final

import numpy as np

from evenkeel.bench.backtest_data import Material, Question, material, slots
from evenkeel.domain.errors import InvalidRequest
from evenkeel.domain.panel import Panel
from evenkeel.domain.profile import BEHAVIOURS, Behaviour
from evenkeel.domain.resources import SPECS
from evenkeel.envelope import Result
from evenkeel.forecast.backtest import Course, Field, Run, lay_out, run
from evenkeel.forecast.base import Targets
from evenkeel.forecast.catalogue import CATALOGUE, forecaster
from evenkeel.forecast.metrics import Decile, Judged, Tail, peak_reliability, summary, tail
from evenkeel.forecast.profiles import profile
from evenkeel.forecast.workers import IN_TURN, Workers, ignore

MIN_DRAWS: Final = 200
"""A decile of fewer draws is not asked for its gap: chance alone moves it by points."""

OnStep = Callable[[str, int, int], None]
"""Model, origins done, origins in all."""


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """All that a table or a plot may want to show."""

    question: Question
    horizons: tuple[str, ...]
    windows: tuple[str, ...]
    field: Field
    material: Material
    targets: Targets
    runs: dict[str, Run]
    judged: dict[str, Judged]
    metrics: dict[str, dict[str, float]]
    tails: dict[str, dict[str, Tail]]
    deciles: dict[str, dict[str, list[Decile]]]
    ours: tuple[str, ...]
    opponents: tuple[str, ...]
    notes: tuple[str, ...]
    seconds: float

    def best(self, metric: str) -> tuple[str, float] | None:
        """The opponent with the lowest `metric`."""
        found = [
            (value, name)
            for name in self.opponents
            if (value := self.metrics[name].get(metric)) is not None
        ]
        return (min(found)[1], min(found)[0]) if found else None

    def result(self) -> Result:
        """The envelope: `metrics` are the first model's, with its ratios to the best baseline."""
        lead = self.ours[0]
        ours = dict(self.metrics[lead])
        for name in [n for n in ours if ".wql." in f".{n}"]:
            best = self.best(name)
            if best and best[1] > 0 and not name.startswith("profile."):
                ours[f"ratio.{name}"] = ours[name] / best[1]
        return Result(
            name=f"backtest {self.question.format} {self.question.resource.value}",
            seconds=self.seconds,
            metrics=ours,
            baselines={n: self.metrics[n] for n in self.opponents if n != lead},
            seed=self.question.seed,
            detail=self._detail(),
        )

    def _detail(self) -> dict[str, Any]:
        return {
            "model": self.ours[0],
            "models": {name: self.metrics[name] for name in self.ours[1:]},
            "n_origins": len(self.field.blocks),
            "n_forecasts": self.field.n_rows,
            "n_vms": len(self.field.ids),
            "n_train_series": sum(p.n_series for p in self.material.train),
            "flaws": self.material.flaws,
            "notes": list(self.notes),
            "worst": {
                name: {h: {"n_idle": t.n_idle, "vms": t.worst} for h, t in of.items()}
                for name, of in self.tails.items()
            },
            "peak_deciles": {
                name: {w: [asdict(d) for d in ds] for w, ds in of.items()}
                for name, of in self.deciles.items()
            },
        }


def backtest(question: Question, on_step: OnStep = ignore, workers: Workers = IN_TURN) -> Outcome:
    """Run `question`; each model is a piece of work.

    Raises TraceInvalid, InvalidRequest, ConfigInvalid (an unknown model), and what `workers` do.
    """
    began_s = time.monotonic()
    ours = question.models or (next(iter(CATALOGUE)),)
    names = [n for n, entry in CATALOGUE.items() if entry.always and n not in ours] + list(ours)
    for name in names:
        forecaster(name)  # an unknown one is told before anything is read
    on_step("reading", 0, 0)
    found = material(question, time.time())
    horizons, windows, targets, notes = _targets(question, found)
    field = lay_out(found.courses, targets, found.seen, behaviours)
    say = partial(_say, found.train, found.courses, field, targets, question.seed, workers)
    runs, metrics, judged, tails, deciles = {}, {}, {}, {}, {}
    for name, (said, rss_mib) in zip(names, workers.map(say, names, on_step), strict=True):
        runs[name] = said
        judged[name] = Judged.of(field.observed, runs[name].values)
        tails[name] = {
            label: tail(judged[name], h, field.vm, field.ids) for h, label in enumerate(horizons)
        }
        odds = peak_reliability(
            runs[name].peaks,
            field.observed.peak,
            SPECS[question.resource].shard,
            np.random.default_rng(question.seed),
            max(course.trace.grain for course in found.courses),
        )
        deciles[name] = dict(zip(windows, odds, strict=True))
        metrics[name] = {
            **_by_group(judged[name], field, horizons),
            **{f"vm_p95.{label}": t.p95 for label, t in tails[name].items()},
            **_peak_metrics(deciles[name]),
            "seconds.fit": runs[name].fit_s,
            "seconds.predict": runs[name].predict_s,
            "rss_mib": rss_mib,
        }
    return Outcome(
        question=question,
        horizons=horizons,
        windows=windows,
        field=field,
        material=found,
        targets=targets,
        runs=runs,
        judged=judged,
        metrics=metrics,
        tails=tails,
        deciles=deciles,
        ours=tuple(ours),
        opponents=tuple(n for n in names if CATALOGUE[n].is_baseline),
        notes=(*found.notes, *notes),
        seconds=time.monotonic() - began_s,
    )


def behaviours(known: Panel) -> list[str]:
    """The behaviour profile of every series as of then, as metrics spell it; "" for unknown."""
    words = ["" if b is Behaviour.UNKNOWN else b.name.lower() for b in BEHAVIOURS]
    return [words[label] for label in profile(known).labels]


def _say(
    train: Sequence[Panel],
    courses: Sequence[Course],
    field: Field,
    targets: Targets,
    seed: int,
    workers: Workers,
    name: str,
    on_step: OnStep,
) -> tuple[Run, float]:
    """What one model says, and the most memory (MiB) that the process took so far."""
    n = len(field.blocks)
    done = count()
    on_step(name, next(done), n)
    found = run(
        forecaster(name, lambda words: on_step(words, 0, 0), workers),
        train,
        courses,
        field,
        targets,
        seed,
        time.monotonic,
        lambda: on_step(name, next(done), n),
        calibrated=not CATALOGUE[name].is_baseline,
    )
    return found, process.getrusage(process.RUSAGE_SELF).ru_maxrss / 1024


def _targets(
    question: Question, found: Material
) -> tuple[tuple[str, ...], tuple[str, ...], Targets, list[str]]:
    """What of the horizons and windows asked for lies inside the test at all."""
    reach = max((c.last_slot - c.first for c in found.courses), default=0)
    kept: list[list[str]] = []
    notes = []
    for what, spans in (("horizon", question.horizons), ("window", question.windows)):
        inside = [s for s in dict.fromkeys(spans) if slots(s, what) <= reach]
        kept.append(inside)
        notes += [
            f"{what} {s}: no target of it lies inside the test" for s in spans if s not in inside
        ]
    horizons, windows = kept
    if not horizons:
        raise InvalidRequest(
            "the test is too short for every horizon asked for",
            hint="Give more --test files, shorter --horizons or a shorter --warm-up.",
        )
    targets = Targets(tuple(map(slots, horizons)), tuple(map(slots, windows)))
    return tuple(horizons), tuple(windows), targets, notes


def _by_group(judged: Judged, field: Field, horizons: tuple[str, ...]) -> dict[str, float]:
    """The summary of all, of active VMs, of VMs that training never saw, and of every profile."""
    found = summary(judged, horizons)
    groups = {"active": field.is_active, "unseen": field.is_unseen}
    if field.is_unseen.any():
        groups["unseen.active"] = field.is_unseen & field.is_active
    for label in sorted(set(field.profile.tolist()) - {""}):
        groups[f"profile.{label}"] = field.profile == label
    for group, rows in groups.items():
        part = summary(judged, horizons, rows)
        found |= {f"{group}.{name}": value for name, value in part.items()}
    return found


def _peak_metrics(deciles: Mapping[str, list[Decile]]) -> dict[str, float]:
    """`peak.gap.W`: mean |said - came| over all draws; `peak.worst.W`: of the worst decile."""
    found = {}
    for window, rows in deciles.items():
        if not rows:
            continue
        gaps = [abs(d.said - d.came) for d in rows]
        found[f"peak.gap.{window}"] = float(np.average(gaps, weights=[d.n for d in rows]))
        big = [gap for gap, d in zip(gaps, rows, strict=True) if d.n >= MIN_DRAWS]
        if big:
            found[f"peak.worst.{window}"] = max(big)
        for d in rows:
            found[f"peak.said.{d.low:.1f}.{window}"] = d.said
            found[f"peak.came.{d.low:.1f}.{window}"] = d.came
    return found
