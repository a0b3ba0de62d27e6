"""How a model's forecasts come out, VM by VM: at its validation, and while it serves.

Both sides look at the same: forecasts as the model makes them (before calibration), from one origin
an hour, for the next slot and about an hour ahead, of a few hundred VMs, always the same ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F32, F64
from evenkeel.domain.model import Validation
from evenkeel.domain.panel import Panel
from evenkeel.domain.quantiles import pinball
from evenkeel.forecast.base import N_QUANTILES, FittedForecaster, Targets
from evenkeel.forecast.rows import held_out

HOUR_S: Final = 3600.0
MAX_SERIES: Final = 300
MAX_ORIGINS: Final = 168
"""A week of hours: working days and week-ends, on both sides."""
_DIGITS: Final = 6


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """Sums over forecasts that came true: `loss` (N,), `hits` (N, Q), and their number `n` (N,)."""

    loss: F64
    hits: F64
    n: F64

    @classmethod
    def none(cls, n: int) -> Tally:
        return cls(np.zeros(n), np.zeros((n, N_QUANTILES)), np.zeros(n))

    @classmethod
    def of(cls, said: F32, came: F32) -> Tally:
        """`said` (N, K, Q) against `came` (N, K); NaN counts for nothing."""
        known = ~np.isnan(came)
        loss = np.where(known, pinball(came, said).mean(axis=-1), 0.0)
        hits = known[..., None] & (came[..., None] <= said)
        return cls(
            loss.sum(axis=1, dtype=np.float64), hits.sum(axis=1) * 1.0, known.sum(axis=1) * 1.0
        )

    def plus(self, other: Tally) -> Tally:
        return Tally(self.loss + other.loss, self.hits + other.hits, self.n + other.n)

    def rates(self) -> tuple[F64, F64]:
        """Mean loss (N,) and coverage (N, Q); NaN where nothing has come true."""
        n = np.where(self.n > 0, self.n, np.nan)
        return self.loss / n, self.hits / n[:, None]


def watched(targets: Targets, step_s: float) -> tuple[int, ...]:
    """The horizons that are looked at: the nearest, and the nearest to an hour."""
    near = min(targets.horizons, key=lambda h: abs(h * step_s - HOUR_S))
    return tuple(sorted({min(targets.horizons), near}))


def came_true(panel: Panel, origin: int, horizons: tuple[int, ...]) -> F32:
    """Truth (N, K) of slots before the panel's end; NaN where not known or only a lower bound."""
    at = [origin + h - 1 for h in horizons]
    truth: F32 = panel.values[:, at].copy()
    if panel.censored is not None:
        truth[panel.censored[:, at]] = np.nan
    return truth


def validate(fitted: FittedForecaster, panel: Panel, targets: Targets, first: int) -> Validation:
    """Forecast from every hour of the panel from slot `first` on, a week of them at most."""
    horizons = watched(targets, panel.step_s)
    if panel.n_series > MAX_SERIES:
        panel = panel.only(held_out(panel.ids, 0, MAX_SERIES / panel.n_series))
    hour = max(1, round(HOUR_S / panel.step_s))
    origins = range(panel.n_slots - max(horizons), first - 1, -hour)[:MAX_ORIGINS]
    total = Tally.none(panel.n_series)
    for origin in origins:
        said = fitted.predict(panel.until(origin), Targets(horizons)).values
        total = total.plus(Tally.of(said, came_true(panel, origin, horizons)))
    loss, coverage = total.rates()
    seen = np.flatnonzero(total.n > 0)
    return Validation(
        ids=tuple(panel.ids[i] for i in seen),
        horizons_s=tuple(h * panel.step_s for h in horizons),
        n_origins=len(origins),
        loss=tuple(float(f"{x:.{_DIGITS}g}") for x in loss[seen].tolist()),
        coverage=tuple(tuple(row) for row in coverage[seen].round(4).tolist()),
    )
