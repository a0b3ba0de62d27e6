"""Is each serving model as good as at its validation? Followed by the hour, judged by the hour."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F32, positions
from evenkeel.domain.events import Event, Severity
from evenkeel.domain.model import Validation
from evenkeel.domain.panel import Panel
from evenkeel.domain.resources import SPECS, Resource
from evenkeel.forecast.base import Forecast
from evenkeel.forecast.drift import DriftKind, DriftPolicy, DriftVerdict, judge_drift
from evenkeel.forecast.empirical import NAME as BUILT_IN
from evenkeel.forecast.validation import (
    HOUR_S,
    Outcome,
    came_true,
    compare,
    kind_of_hour,
    usual_losses,
)
from evenkeel.ports_history import ModelRegistry
from evenkeel.ports_store import Store

WINDOW: Final = 24
MIN_ORIGINS: Final = 12
"""Hourly forecasts that a model is judged by, at most and at least."""
GRAIN_SHARDS: Final = 0.1
"""A loss of so much of a shard is as good as none."""


@dataclass(frozen=True, slots=True, eq=False)
class _Said:
    """What the model said of the validated VMs, (N, K, Q); NaN of those that are not there."""

    origin_s: float
    values: F32


class _Followed:
    """One model in service."""

    def __init__(self, model: str, validation: Validation) -> None:
        self.model = model
        self.validation = validation
        self.waiting: list[_Said] = []
        self.kept_s = -np.inf
        self.known_kinds = set(np.flatnonzero(np.isfinite(usual_losses(validation)).any(axis=0)))
        self.hours: deque[Outcome] = deque(maxlen=WINDOW)
        self.verdict: DriftVerdict | None = None

    def placed(self, values: F32, ids: tuple[str, ...]) -> F32:
        """Rows of `values` put where the validation has them."""
        at = positions(self.validation.ids, ids)
        found = np.full((len(at), *values.shape[1:]), np.nan, dtype=np.float32)
        found[at >= 0] = values[at[at >= 0]]
        return found


class DriftWatch:
    """`see` is called once a slot and resource, by one thread; `verdicts` at any time."""

    def __init__(
        self, registry: ModelRegistry, store: Store, policy: DriftPolicy | None = None
    ) -> None:
        self._registry = registry
        self._store = store
        self._policy = policy or DriftPolicy()
        self._followed: dict[Resource, _Followed] = {}
        self._silent: set[str] = set()

    def verdicts(self) -> dict[Resource, DriftVerdict]:
        """Of the models that have one."""
        followed = list(self._followed.items())
        return {resource: one.verdict for resource, one in followed if one.verdict is not None}

    def drifted(self) -> dict[Resource, str]:
        """Resource -> model."""
        followed = list(self._followed.items())
        return {r: one.model for r, one in followed if one.verdict and one.verdict.drifted}

    def see(self, panel: Panel, model: str, raw: Forecast) -> None:
        """Learn what came of `model`'s forecasts. Raises StoreUnavailable, ModelNotFound, ..."""
        if model == BUILT_IN:  # it stands in, or no model serves: it was never validated
            if not self._registry.line(panel.resource):
                self._followed.pop(panel.resource, None)
            return
        followed = self._follow(panel.resource, model, raw)
        if followed is None:
            return
        n_before = len(followed.waiting)
        horizons = tuple(round(h / panel.step_s) for h in followed.validation.horizons_s)
        self._settle(followed, panel, horizons)
        if len(followed.waiting) < n_before and len(followed.hours) >= MIN_ORIGINS:
            self._judge(followed, panel)
        if not 0 <= raw.origin_s - followed.kept_s < HOUR_S:
            followed.kept_s = raw.origin_s
            columns = [raw.targets.horizons.index(h) for h in horizons]
            values = followed.placed(raw.values[:, columns], raw.ids)
            followed.waiting.append(_Said(raw.origin_s, values))

    def _follow(self, resource: Resource, model: str, raw: Forecast) -> _Followed | None:
        """None when nothing can be said of this model, which is told once."""
        known = self._followed.get(resource)
        if known is not None and known.model == model:
            return known
        self._followed.pop(resource, None)
        if model in self._silent:
            return None
        validation = self._registry.model(model).info.validation
        ahead_s = {h * raw.step_s for h in raw.targets.horizons}
        if validation is None or not ahead_s.issuperset(validation.horizons_s):
            self._silent.add(model)
            why = "it was kept without" if validation is None else "other times ahead were used at"
            self._log(
                resource,
                model,
                "drift_unknown",
                f"whether {model} drifts cannot be said: {why} its validation; train anew",
                Severity.INFO,
                raw.origin_s,
            )
            return None
        followed = self._followed[resource] = _Followed(model, validation)
        return followed

    def _settle(self, followed: _Followed, panel: Panel, horizons: tuple[int, ...]) -> None:
        waiting = []
        for said in followed.waiting:
            origin = round((said.origin_s - panel.start_s) / panel.step_s)
            if origin + max(horizons) > panel.n_slots:
                if said.origin_s <= panel.end_s:  # else the clock went back
                    waiting.append(said)
            elif origin >= 0:
                came = followed.placed(came_true(panel, origin, horizons), panel.ids)
                kind = kind_of_hour(said.origin_s, panel.calendar)
                if kind not in followed.known_kinds:
                    continue  # a day off, say, where the validation had none
                followed.hours.append(Outcome.of(kind, said.values, came))
        followed.waiting = waiting

    def _judge(self, followed: _Followed, panel: Panel) -> None:
        found = compare(followed.validation, followed.hours)
        before = followed.verdict
        verdict = followed.verdict = judge_drift(
            found.recent_loss,
            found.validation_loss,
            found.recent_coverage,
            found.validation_coverage,
            GRAIN_SHARDS * SPECS[panel.resource].shard,
            self._policy,
        )
        if verdict.drifted and not (before and before.drifted):
            self._log(
                panel.resource,
                followed.model,
                "model_drifted",
                f"{followed.model} is no longer as good as at its validation: {_words(verdict)}",
                Severity.WARNING,
                panel.end_s,
                loss_ratio=round(verdict.loss_ratio, 4),
                coverage_off=round(verdict.coverage_off, 4),
                coverage_level=verdict.coverage_level,
                n_vms=verdict.n_series,
            )

    def _log(
        self,
        resource: Resource,
        model: str,
        kind: str,
        message: str,
        severity: Severity,
        at_s: float,
        **more: float,
    ) -> None:
        detail: dict[str, str | int | float | bool | None] = {
            "resource": resource.value,
            "model": model,
            **more,
        }
        with self._store.write() as session:
            session.chronicle.add_events([Event(at_s, kind, message, severity, detail=detail)])


def _words(verdict: DriftVerdict) -> str:
    if verdict.kind is DriftKind.LOSS:
        more = 100 * (verdict.loss_ratio - 1)
        return f"of {verdict.n_series} VMs the typical one's loss is {more:.0f} % higher"
    level, off = 100 * verdict.coverage_level, 100 * verdict.coverage_off
    way = "more" if off > 0 else "less"
    return f"{abs(off):.0f} points {way} demand than then lies below the {level:.0f} % quantile"
