"""`evenkeel interference evaluate`: models of pairs on measured co-runs, each beside the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np

from evenkeel.adapters.traces.fairco2 import read_fairco2
from evenkeel.adapters.traces.lab_matrix import HOST_CPUS, read_lab_pairs
from evenkeel.adapters.traces.ntua import read_ntua
from evenkeel.bench.triples import FittedFold, judge_triples
from evenkeel.domain.corun import CoRuns
from evenkeel.domain.errors import InvalidRequest, TraceInvalid
from evenkeel.envelope import Result
from evenkeel.interference.pairs.base import Facing, Said, Scale
from evenkeel.interference.pairs.catalogue import OURS, models, ours
from evenkeel.interference.pairs.folds import Fold, folds, unseen
from evenkeel.interference.pairs.judge import Bin, metrics, reliability
from evenkeel.interference.pairs.traits import TraitsModel

SAME_INPUTS: Final = "+placement"
BLIND: Final = "traits-placement"
DETECTORS: Final = ("two-sigma",)
OnStep = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Format:
    """How files of a format are read, and the scale that errors are judged on."""

    read: Callable[[Sequence[Path]], CoRuns]
    scale: Scale
    cores: float | None = None
    """CPUs that all share, where that is known."""
    also: Callable[[Sequence[Path], Sequence[FittedFold]], dict[str, float]] | None = None
    """More to judge a model by, where the files have more than pairs."""

    @property
    def headline(self) -> str:
        """The metric that models are compared by."""
        return "mae.log" if self.scale is Scale.LOG else "mae"


FORMATS: Final = {
    "fairco2": Format(read_fairco2, Scale.SLOWDOWN),
    "ntua": Format(read_ntua, Scale.LOG),
    "lab": Format(read_lab_pairs, Scale.SLOWDOWN, HOST_CPUS, judge_triples),
}


@dataclass(frozen=True, slots=True)
class Question:
    """What to judge; `n_folds` 0 leaves each pair or campaign out by itself."""

    format: str
    train: tuple[Path, ...]
    test: tuple[Path, ...]
    split: str
    n_folds: int
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What each model said to the T co-runs tested (`asked`), and what came of it."""

    question: Question
    asked: CoRuns
    left_out: tuple[str, ...]
    said: dict[str, Said]
    metrics: dict[str, dict[str, float]]
    notes: tuple[str, ...]
    seconds: float
    ours: str = OURS

    @property
    def headline(self) -> str:
        return FORMATS[self.question.format].headline

    @property
    def baselines(self) -> tuple[str, ...]:
        """What sees the solo profiles alone: those that goals are stated against."""
        others = (self.ours, OURS, BLIND, *DETECTORS)
        return tuple(n for n in self.said if n not in others and not n.endswith(SAME_INPUTS))

    def best(self, names: Sequence[str], metric: str) -> str:
        return min(names, key=lambda name: self.metrics[name][metric])

    def bins(self) -> list[Bin]:
        """Score and loss that came, of ours."""
        groups = self.left_out or self.asked.victim
        return reliability(self.said[self.ours].lost, self.asked.slowdown, groups)

    def result(self) -> Result:
        """The envelope: `ratio.*` is ours over the best baseline of the run (below 1: better)."""
        ours = dict(self.metrics[self.ours])
        same = [n for n in self.said if n.endswith(SAME_INPUTS)]
        for metric in dict.fromkeys(("mae", "mae.log", self.headline)):
            best = self.metrics[self.best(self.baselines, metric)][metric]
            ours[f"ratio.{metric}"] = ours[metric] / best
            ours[f"ratio.{metric}.effects"] = ours[metric] / self.metrics["effects"][metric]
            if same:
                all_best = self.best([*self.baselines, *same], metric)
                ratio = ours[metric] / self.metrics[all_best][metric]
                ours[f"ratio.{metric}.same_inputs"] = ratio
        said = self.said[self.ours]
        known = np.isfinite(said.spread)
        if known.any():
            off = np.abs(said.expected - self.asked.slowdown)[known]
            ours["coverage.2_spread"] = float((off <= 2 * said.spread[known]).mean())
        return Result(
            name=f"interference {self.question.format} {self.question.split}",
            seconds=self.seconds,
            metrics=ours,
            baselines={n: m for n, m in self.metrics.items() if n != self.ours},
            seed=self.question.seed,
            detail={
                "model": self.ours,
                "headline": self.headline,
                "best_baseline": self.best(self.baselines, self.headline),
                "n_tested": self.asked.n,
                "left_out": list(dict.fromkeys(self.left_out)),
                "calibration": [asdict(b) for b in self.bins()],
                "notes": list(self.notes),
                "co_runs": self._rows(),
            },
        )

    def _rows(self) -> list[dict[str, str | float]]:
        rows = zip(
            self.asked.victim,
            self.asked.partner,
            self.asked.campaign,
            self.asked.slowdown.tolist(),
            self.said[self.ours].expected.tolist(),
            self.said[self.ours].lost.tolist(),
            strict=True,
        )
        names = ("victim", "partner", "campaign", "slowdown", "predicted", "predicted_loss")
        return [dict(zip(names, row, strict=True)) for row in rows]


def evaluate(question: Question, on_step: OnStep = lambda *_: None) -> Outcome:
    """Run `question`. Raises TraceInvalid and InvalidRequest."""
    began_s = time.monotonic()
    if question.format not in FORMATS:
        known = ", ".join(FORMATS)
        raise InvalidRequest(f"unknown format {question.format!r}; known: {known}")
    splits = [facing.value for facing in Facing]
    if question.split not in splits:
        raise InvalidRequest(f"unknown split {question.split!r}; known: {', '.join(splits)}")
    kind, split = FORMATS[question.format], Facing(question.split)
    on_step("reading", 0, 0)
    train, notes = kind.read(question.train), []
    if [p.resolve() for p in question.train] == [p.resolve() for p in question.test]:
        n_folds = 0 if split is Facing.WORKLOAD else question.n_folds
        asked, cuts = train, folds(train, split, n_folds, question.seed)
        if not cuts:
            raise TraceInvalid("nothing to leave out: there is only one", hint="Give more files.")
    else:
        test = kind.read(question.test)
        mask = unseen(train, test, split)
        if not mask.any():
            raise InvalidRequest(
                f"{split.value}: everything in the test is in training too",
                hint="Give the same files as --train and --test to leave out in turn.",
            )
        if not mask.all():
            notes.append(f"{int((~mask).sum())} co-runs of the test are seen in training: left out")
        asked, cuts = test.take(mask), []
    if train.placement_features:
        notes.append("placement is inferred from residency of cores during the co-runs")
    candidates = {**models(split, kind.scale, train, kind.cores)}
    own = ours(train, kind.cores)
    if train.placement_features:
        candidates[BLIND] = TraitsModel(split, BLIND)
    said: dict[str, Said] = {}
    more: dict[str, dict[str, float]] = {}
    if cuts:
        asked = asked.take(np.concatenate([np.flatnonzero(test) for _, _, test in cuts]))
    for name, model in candidates.items():
        parts, fits = [], []
        for done, (learn, ask) in enumerate(_pieces(train, asked, cuts)):
            on_step(name, done, len(cuts) or 1)
            if name == BLIND:
                learn, ask = learn.without_placement(), ask.without_placement()
            fitted = model.fit(learn, question.seed)
            fits.append((cuts[done][0] if cuts else "", fitted))
            parts.append(fitted.predict(ask.blind()))
        said[name] = Said.joined(parts)
        more[name] = kind.also(question.test, fits) if kind.also else {}
    left_out = tuple(name for name, _, test in cuts for _ in range(int(test.sum())))
    return Outcome(
        question,
        asked,
        left_out,
        said,
        {n: _metrics(of, asked, left_out, split, kind) | more[n] for n, of in said.items()},
        tuple(notes),
        time.monotonic() - began_s,
        own,
    )


def _pieces(train: CoRuns, asked: CoRuns, cuts: Sequence[Fold]) -> list[tuple[CoRuns, CoRuns]]:
    """What to learn from and what to ask, fold by fold, in the order of `asked`."""
    if not cuts:
        return [(train, asked)]
    return [(train.take(learn), train.take(test)) for _, learn, test in cuts]


def _metrics(
    said: Said, asked: CoRuns, left_out: tuple[str, ...], split: Facing, kind: Format
) -> dict[str, float]:
    """Over all, and of each workload or campaign (by the scale of the format)."""
    out = metrics(said.expected, said.lost, asked.slowdown)
    errors = kind.scale.errors(said.expected, asked.slowdown)
    if split is Facing.CAMPAIGN:
        groups = {name: np.array(asked.campaign) == name for name in sorted(set(asked.campaign))}
    elif left_out and split is Facing.WORKLOAD:
        groups = {name: np.array(left_out) == name for name in sorted(set(left_out))}
    else:
        victim, partner = np.array(asked.victim), np.array(asked.partner)
        names = sorted(set(asked.victim) if asked.has_one_profile else set(asked.partner))
        groups = {name: (victim == name) | (partner == name) for name in names}
    for name, which in groups.items():
        out[f"{kind.headline}.{name}"] = float(errors[which].mean())
    return out
