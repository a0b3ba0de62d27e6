"""`auto`: learnt models beside the simple forecasts, and a measured choice between them.

A tenth of the VMs, of a large fleet fewer, is kept apart from all training. On them every model,
the mean of every two learnt ones, and every simple forecast is measured, for each kind of series
and each target; the simplest that is not clearly beaten serves. What serves nowhere is not kept.
For far targets a learnt model also has to prove itself in time (see `far`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Final, Protocol

import numpy as np

from evenkeel.domain import bundle
from evenkeel.domain.arrays import F32, F64, Ints
from evenkeel.domain.panel import Panel
from evenkeel.domain.quantiles import pinball
from evenkeel.forecast.base import LEVELS, FittedForecaster, Forecast, Targets, tidy
from evenkeel.forecast.far import earlier, far, later_rows
from evenkeel.forecast.features import (
    CANDIDATES,
    N_CANDIDATES,
    N_KINDS,
    Features,
    describe,
    kind_of_series,
)
from evenkeel.forecast.network.forecaster import NetworkForecaster
from evenkeel.forecast.network.settings import Training
from evenkeel.forecast.rows import NothingKnown, Rows, apart, draw, least_scale
from evenkeel.forecast.workers import IN_TURN, Report, Workers, ignore

NAME: Final = "auto"
LEARNT_MARGIN: Final = 0.005
"""A learnt model serves where it loses less than the best simple forecast by this share ..."""
SECOND_MARGIN: Final = 0.01
"""... and two at once, or a dearer one, where that brings another hundredth."""
JUDGED_ROWS: Final = 60_000
UNJUDGED: Final = CANDIDATES.index("trailing-24h")
MIN_ROWS: Final = 300
"""With fewer rows of a kind the choice for all kinds together holds."""


class Learnt(FittedForecaster, Protocol):
    """A fitted model that works on `Features`."""

    def from_features(self, features: Features) -> F32:
        """Quantiles (N, K, Q)."""
        ...


class Learner(Protocol):
    @property
    def name(self) -> str: ...

    def fit(self, panels: Sequence[Panel], targets: Targets, seed: int) -> Learnt: ...

    def load(self, blob: bytes) -> Learnt: ...


def learners(report: Report = ignore) -> tuple[Learner, ...]:
    """From cheap to dear. `boosted` is not among them: where it was measured, neither it nor its
    mean with a network served anything, at a third of the whole time.
    """
    return (
        NetworkForecaster(report=report),
        NetworkForecaster(recurrent=True, training=Training(epochs=7), report=report),
    )


@dataclass(frozen=True, slots=True)
class AutoForecaster:
    """`report` is told in words how far it has come; `workers` fit the learners."""

    make: Callable[[Report], tuple[Learner, ...]] = learners
    report: Report = ignore
    judged_rows: int = JUDGED_ROWS
    workers: Workers = IN_TURN

    @property
    def name(self) -> str:
        return NAME

    def fit(self, panels: Sequence[Panel], targets: Targets, seed: int) -> FittedAuto:
        """Raises NothingKnown."""
        masks = apart(panels, seed)
        learn = [panel.only(~mask) for panel, mask in zip(panels, masks, strict=True)]
        judge = [panel.only(mask) for panel, mask in zip(panels, masks, strict=True) if mask.any()]
        is_far = far(targets, panels[0].step_s) if panels else np.zeros(0, dtype=bool)
        fit = partial(_fit, self.make, learn, targets, seed)
        n_learners = len(self.make(ignore))
        n_fits = n_learners + int(is_far.any())
        fitted = list(self.workers.map(fit, range(n_fits), self.report))
        models = {model.name: model for model in fitted[:n_learners] if model is not None}
        options = _options(tuple(models))
        self.report("choosing among models")
        rng = np.random.default_rng(seed + 1)
        try:
            rows = draw(judge, targets, least_scale(learn), self.judged_rows, rng)
        except NothingKnown:  # of VMs kept apart: the cheapest learnt model serves, unmeasured
            losses = np.zeros((len(options), N_KINDS, len(targets.horizons + targets.windows)))
            choice = np.full(losses.shape[1:], N_CANDIDATES)
        else:
            losses, count = measure(rows, models, options)
            choice = choose(losses, count, [len(option) for option in options])
        if is_far.any():
            choice[:, is_far] = self._proven(fitted[-1], learn, targets, seed, choice)[:, is_far]
        used = {name for i in np.unique(choice) for name in options[int(i)]} & set(models)
        kept = {name: model for name, model in models.items() if name in used}
        return FittedAuto(kept, options, choice, losses, targets, least_scale(learn))

    def _proven(
        self,
        early: Learnt | None,
        panels: Sequence[Panel],
        targets: Targets,
        seed: int,
        choice: Ints,
    ) -> Ints:
        """`choice` where the model that saw the earlier time alone wins later, else the best simple
        forecast there, or the day's quantiles where nothing came true to judge by.
        """
        if early is None:
            return np.full_like(choice, UNJUDGED)
        rng = np.random.default_rng(seed + 2)
        try:
            rows = later_rows(panels, targets, least_scale(panels), self.judged_rows, rng)
        except NothingKnown:
            return np.full_like(choice, UNJUDGED)
        options = _options((early.name,))
        losses, count = measure(rows, {early.name: early}, options)
        best = choose(losses, count, [len(option) for option in options])
        best[:, count.sum(axis=0) == 0] = UNJUDGED
        return np.where(best < N_CANDIDATES, best, choice)

    def load(self, blob: bytes) -> FittedAuto:
        """Raises ModelCorrupt."""
        parts = bundle.unpack(blob)
        makers = {learner.name: learner for learner in self.make(ignore)}
        models = {
            name: makers[name].load(parts[f"model-{name}"].tobytes())
            for name in bundle.text(parts["models"]).split()
        }
        options = tuple(tuple(line.split()) for line in bundle.text(parts["options"]).split("\n"))
        n_horizons = int(parts["n_horizons"])
        ahead = tuple(int(slots) for slots in parts["targets"])
        return FittedAuto(
            models,
            options,
            parts["choice"],
            parts["losses"],
            Targets(ahead[:n_horizons], ahead[n_horizons:]),
            float(parts["floor"]),
        )


def _fit(
    make: Callable[[Report], tuple[Learner, ...]],
    panels: Sequence[Panel],
    targets: Targets,
    seed: int,
    number: int,
    report: Report,
) -> Learnt | None:
    """Learner `number`; the number after the last one is the cheapest on the earlier time alone,
    None when nothing is known of that. Raises NothingKnown.
    """
    makers = make(report)
    if number < len(makers):
        return makers[number].fit(panels, targets, seed)
    try:
        return makers[0].fit(earlier(panels), targets, seed)
    except NothingKnown:
        return None


def _options(learnt: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """Each option is one forecast, or two whose quantiles are averaged; simple ones first."""
    return (
        *((name,) for name in CANDIDATES),
        *((name,) for name in learnt),
        *combinations(learnt, 2),
    )


def measure(
    rows: Rows, models: dict[str, Learnt], options: tuple[tuple[str, ...], ...]
) -> tuple[F64, Ints]:
    """Mean pinball loss (options, kinds, targets), and how many rows: (kinds, targets)."""
    features = rows.features
    quantiles = {name: features.candidates[:, :, i] for i, name in enumerate(CANDIDATES)}
    quantiles |= {name: tidy(model.from_features(features)) for name, model in models.items()}
    kind = kind_of_series(features)
    known = ~np.isnan(rows.truth) & ~rows.censored
    count = np.stack([known[kind == k].sum(axis=0) for k in range(N_KINDS)])
    losses = np.zeros((len(options), *count.shape))
    for i, option in enumerate(options):
        mean = np.mean([quantiles[name] for name in option], axis=0)
        loss = pinball(np.nan_to_num(rows.truth), mean).mean(axis=-1) * known
        for k in range(N_KINDS):
            losses[i, k] = loss[kind == k].sum(axis=0)
    return losses / np.maximum(count, 1), count


def choose(losses: F64, count: Ints, n_models: Sequence[int]) -> Ints:
    """Option for each kind and target, (kinds, targets).

    Options come simple first. A later one has to beat the best so far by a margin that grows with
    what it costs, see `LEARNT_MARGIN` and `SECOND_MARGIN`.
    """
    overall = (losses * count).sum(axis=1) / np.maximum(count.sum(axis=0), 1)
    choice = np.empty(losses.shape[1:], dtype=np.intp)
    for kind, target in np.ndindex(*choice.shape):
        own = losses[:, kind, target] if count[kind, target] >= MIN_ROWS else overall[:, target]
        best = int(np.argmin(own[:N_CANDIDATES]))
        for option in range(N_CANDIDATES, len(own)):
            is_first = best < N_CANDIDATES and n_models[option] == 1
            margin = LEARNT_MARGIN if is_first else SECOND_MARGIN
            if own[option] < own[best] * (1 - margin):
                best = option
        choice[kind, target] = best
    return choice


@dataclass(frozen=True, slots=True, eq=False)
class FittedAuto:
    """`choice` (kinds, targets) indexes `options`; `losses` (options, kinds, targets) are why."""

    models: dict[str, Learnt]
    options: tuple[tuple[str, ...], ...]
    choice: Ints
    losses: F64
    targets: Targets
    floor: float

    @property
    def name(self) -> str:
        return NAME

    def predict(self, panel: Panel, targets: Targets) -> Forecast:
        features = describe(panel, targets, self.floor)
        wanted = self.choice[:, self._nearest(targets)][kind_of_series(features)]
        quantiles = np.zeros(features.candidates.shape[:2] + LEVELS.shape, dtype=np.float32)
        learnt: dict[str, F32] = {}
        for i in np.unique(wanted):
            chosen = wanted == i
            names = self.options[int(i)]
            for name in names:
                if name in self.models:
                    if name not in learnt:
                        learnt[name] = tidy(self.models[name].from_features(features))
                    found = learnt[name]
                else:
                    found = features.candidates[:, :, CANDIDATES.index(name)]
                quantiles[chosen] += found[chosen] / len(names)
        return Forecast.of(panel, targets, quantiles)

    def _nearest(self, targets: Targets) -> Ints:
        """For each target asked, the one of its sort that was measured and lies nearest."""
        n_horizons = len(self.targets.horizons)
        found = [_closest(self.targets.horizons, h) for h in targets.horizons]
        windows = self.targets.windows
        found += [
            n_horizons + _closest(windows, w) if windows else _closest(self.targets.horizons, w)
            for w in targets.windows
        ]
        return np.array(found, dtype=np.intp)

    def save(self) -> bytes:
        models = {f"model-{n}": np.frombuffer(m.save(), np.uint8) for n, m in self.models.items()}
        return bundle.pack(
            models=bundle.from_text(" ".join(self.models)),
            options=bundle.from_text("\n".join(" ".join(option) for option in self.options)),
            choice=self.choice,
            losses=self.losses,
            targets=np.array(self.targets.horizons + self.targets.windows),
            n_horizons=np.array(len(self.targets.horizons)),
            floor=np.array(self.floor),
            **models,
        )


def _closest(known: tuple[int, ...], wanted: int) -> int:
    return int(np.argmin(np.abs(np.log(np.array(known) / wanted))))
