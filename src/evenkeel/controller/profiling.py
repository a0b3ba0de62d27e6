"""How every VM behaves, looked at anew each hour from the last two weeks of history."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from evenkeel.domain.panel import DAY_S, Panel
from evenkeel.domain.profile import UNKNOWN, Profile
from evenkeel.domain.resources import AXIS, Resource
from evenkeel.forecast.profiles import Profiles, profile

PROFILE_EVERY_S: Final = 3600.0
PROFILE_DAYS: Final = 14.0
"""Weekdays need two weeks to be told apart."""


@dataclass(frozen=True, slots=True, eq=False)
class _Latest:
    ids: tuple[str, ...]
    row_of: dict[str, int]
    profiles: Profiles
    until_s: float


class Profiler:
    """Keeps the latest profiles of every resource; the former labels give them their memory."""

    def __init__(self) -> None:
        self._latest: dict[Resource, _Latest] = {}

    def due(self, resource: Resource, end_s: float) -> bool:
        latest = self._latest.get(resource)
        return latest is None or not latest.until_s <= end_s < latest.until_s + PROFILE_EVERY_S

    def span_s(self, end_s: float, step_s: int) -> int:
        """Where the history to look at begins."""
        return int(end_s - PROFILE_DAYS * DAY_S // step_s * step_s)

    def learn(self, panel: Panel) -> None:
        if not panel.n_series:  # the first VMs shall not wait for an hour
            return
        latest = self._latest.get(panel.resource)
        previous = None
        if latest is not None:
            at = np.array([latest.row_of.get(vm, -1) for vm in panel.ids], dtype=np.intp)
            previous = np.where(at >= 0, latest.profiles.labels[at], UNKNOWN)
        self._latest[panel.resource] = _Latest(
            panel.ids,
            {vm: i for i, vm in enumerate(panel.ids)},
            profile(panel, previous),
            panel.end_s,
        )

    def of(self, vm: str, name: str | None) -> dict[Resource, Profile]:
        """Profiles of a VM, by its id or by the name that the source of history knows it by."""
        found = {}
        for resource in AXIS:
            latest = self._latest.get(resource)
            if latest is None:
                continue
            row = latest.row_of.get(vm, latest.row_of.get(name) if name else None)
            if row is not None:
                found[resource] = latest.profiles[row]
        return found
