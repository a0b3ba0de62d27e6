"""How every VM behaves, looked at anew each hour from the last two weeks of history."""

from __future__ import annotations

from collections.abc import Iterable
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
PROFILE_VMS: Final = 16_384
"""Read at once: 260 MB of slots of five minutes."""


@dataclass(frozen=True, slots=True, eq=False)
class _Latest:
    """Of each VM the profiles that it is among, and its row there."""

    row_of: dict[str, tuple[Profiles, int]]
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

    def learn(self, resource: Resource, panels: Iterable[Panel]) -> None:
        """From a fleet in pieces: one is in memory at a time."""
        former = self._latest.get(resource)
        found: dict[str, tuple[Profiles, int]] = {}
        until_s = -np.inf
        for panel in panels:
            before = [former.row_of.get(vm) if former else None for vm in panel.ids]
            labels = [UNKNOWN if one is None else int(one[0].labels[one[1]]) for one in before]
            profiles = profile(panel, np.array(labels, dtype=np.intp))
            found |= {vm: (profiles, i) for i, vm in enumerate(panel.ids)}
            until_s = panel.end_s
        if found:  # the first VMs shall not wait for an hour
            self._latest[resource] = _Latest(found, until_s)

    def of(self, vm: str, name: str | None) -> dict[Resource, Profile]:
        """Profiles of a VM, by its id or by the name that the source of history knows it by."""
        found = {}
        for resource in AXIS:
            latest = self._latest.get(resource)
            if latest is None:
                continue
            at = latest.row_of.get(vm) or (latest.row_of.get(name) if name else None)
            if at is not None:
                profiles, row = at
                found[resource] = profiles[row]
        return found
