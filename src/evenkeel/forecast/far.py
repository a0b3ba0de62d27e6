"""Far targets: a learnt model has to win on days it never saw, not only on VMs it never saw.

A month has thousands of independent hours but thirty days, and what one of them was like is common
to many VMs: a network remembers them, and so do its forecasts for VMs kept apart. So for targets
from `FAR_S` on the cheapest learner is fitted once more, on the first part of the time, and held
against the simple forecasts on the rest; where it does not win there, the best of those serves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from evenkeel.domain.arrays import Bools
from evenkeel.domain.panel import Panel
from evenkeel.forecast.base import Targets
from evenkeel.forecast.rows import FIRST_ORIGIN, Rows, draw

FAR_S: Final = 6 * 3600.0
EARLIER_SHARE: Final = 0.75


def far(targets: Targets, step_s: float) -> Bools:
    """(K,) which targets, horizons then windows, lie so far ahead."""
    return np.array([n * step_s >= FAR_S for n in targets.horizons + targets.windows])


def earlier(panels: Sequence[Panel]) -> list[Panel]:
    """The first part of every panel."""
    return [panel.until(_cut(panel)) for panel in panels]


def later_rows(
    panels: Sequence[Panel], targets: Targets, floor: float, n_rows: int, rng: np.random.Generator
) -> Rows:
    """Rows with origins in the rest, what came before known. Raises NothingKnown."""
    firsts = [max(FIRST_ORIGIN, _cut(panel)) for panel in panels]
    return draw(panels, targets, floor, n_rows, rng, firsts=firsts)


def _cut(panel: Panel) -> int:
    return int(panel.n_slots * EARLIER_SHARE)
