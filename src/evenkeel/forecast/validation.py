"""How a model's forecasts come out, VM by VM: at its validation, and while it serves.

Both sides look at the same: forecasts as the model makes them (before calibration), from one origin
an hour, for the next slot and about an hour ahead, of a few hundred VMs, always the same ones. And
they are compared hour by hour of the day, working days and days off apart: Monday morning is harder
than Sunday night, and no drift.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F32, F64
from evenkeel.domain.model import Validation
from evenkeel.domain.panel import Calendar, Panel
from evenkeel.domain.quantiles import N_QUANTILES, pinball
from evenkeel.forecast.base import FittedForecaster, Targets
from evenkeel.forecast.rows import held_out

HOUR_S: Final = 3600.0
MAX_SERIES: Final = 300
MAX_ORIGINS: Final = 168
N_KINDS: Final = 48
_SATURDAY: Final = 5


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """Of the forecasts of one origin, `kind` says in which kind of hour.

    Sums over targets that came true: `loss` (N,), `hits` (N, Q), and their number `n` (N,).
    """

    kind: int
    loss: F64
    hits: F64
    n: F64

    @classmethod
    def of(cls, kind: int, said: F32, came: F32) -> Outcome:
        """`said` (N, K, Q) against `came` (N, K); NaN in either counts for nothing."""
        known = ~(np.isnan(came) | np.isnan(said).any(axis=-1))
        loss = np.where(known, pinball(came, said).mean(axis=-1), 0.0).sum(axis=1, dtype=np.float64)
        hits = (known[..., None] & (came[..., None] <= said)).sum(axis=1)
        return cls(kind, loss, hits.astype(np.float64), known.sum(axis=1).astype(np.float64))


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """Of N VMs, over the same hours: what `judge_drift` wants. NaN where nothing is known."""

    recent_loss: F64
    validation_loss: F64
    recent_coverage: F64
    validation_coverage: F64


def kind_of_hour(at_s: float, calendar: Calendar) -> int:
    local = calendar.at(np.array([at_s]))
    day_off = local.weekday[0] >= _SATURDAY or local.is_holiday[0]
    return int(local.hour[0]) + (24 if day_off else 0)


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
    loss, n = np.zeros((panel.n_series, N_KINDS)), np.zeros((panel.n_series, N_KINDS))
    hits = np.zeros((N_KINDS, N_QUANTILES))
    for origin in range(panel.n_slots - max(horizons), first - 1, -hour)[:MAX_ORIGINS]:
        said = fitted.predict(panel.until(origin), Targets(horizons)).values
        kind = kind_of_hour(panel.start_s + origin * panel.step_s, panel.calendar)
        found = Outcome.of(kind, said, came_true(panel, origin, horizons))
        loss[:, kind] += found.loss
        n[:, kind] += found.n
        hits[kind] += found.hits.sum(axis=0)
    total = np.maximum(n.sum(axis=0), 1.0)
    return Validation(
        ids=panel.ids,
        horizons_s=tuple(h * panel.step_s for h in horizons),
        loss=np.where(n > 0, loss / np.maximum(n, 1.0), np.nan).astype("<f4").tobytes(),
        coverage=tuple(tuple(row) for row in (hits / total[:, None]).round(4).tolist()),
    )


def usual_losses(validation: Validation) -> F64:
    """(N, 48), by kind of hour; NaN where the validation knew nothing."""
    losses = np.frombuffer(validation.loss, dtype="<f4").astype(np.float64)
    return losses.reshape(len(validation.ids), N_KINDS)


def compare(validation: Validation, recent: Sequence[Outcome]) -> Compared:
    """What came lately, and what the validation makes expect of the same kinds of hours.

    Hours of a kind in which a VM's validation knew nothing are left out.
    """
    usual, covered = usual_losses(validation), np.array(validation.coverage, dtype=np.float64)
    n_vms = len(usual)
    loss, expected_loss, total = np.zeros(n_vms), np.zeros(n_vms), np.zeros(n_vms)
    hits, stated = np.zeros((n_vms, N_QUANTILES)), np.zeros((n_vms, N_QUANTILES))
    for one in recent:
        expected = usual[:, one.kind]
        n = np.where(np.isnan(expected), 0.0, one.n)
        loss += np.where(n > 0, one.loss, 0.0)
        expected_loss += n * np.nan_to_num(expected)
        hits += np.where(n[:, None] > 0, one.hits, 0.0)
        stated += n[:, None] * covered[one.kind]
        total += n
    total = np.where(total > 0, total, np.nan)
    wide = total[:, None]
    return Compared(loss / total, expected_loss / total, hits / wide, stated / wide)
