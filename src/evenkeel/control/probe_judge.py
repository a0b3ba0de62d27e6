"""What an experiment says: the victim's loss in throttled ticks against that in free ones."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64, Bools
from evenkeel.domain.ids import VmId
from evenkeel.domain.probe import Finding, Verdict
from evenkeel.domain.resources import CPU_AXIS
from evenkeel.interference.window import Window

MIN_THROTTLED, MIN_FREE = 2, 2
SCATTER_FLOOR: Final = 0.01
DECISIVE: Final = 2.3
"""Log Bayes factor from which on a verdict is given: ten to one."""
MOST: Final = 3.5
"""No experiment counts for more: what it cannot know of is a chance of 3 %."""
MIN_T: Final = 2.0
SPREAD: Final = 0.3
"""Least spread of the true effect around the one expected, as a share of it."""
EDGE: Final = 0.25
"""A tick may begin this share of its length before a throttle and still count as throttled."""


def judge(
    window: Window,
    victim: VmId,
    suspect: VmId,
    begun_s: float,
    throttled: tuple[tuple[float, float], ...],
    drop: tuple[float, float],
) -> Finding:
    """Compare ticks inside `throttled` spans of wall time with the free ones around them.

    Free ticks are those between the spans, after them, and as long before `begun_s` as the first
    span. The Bayes factor sets "the loss drops by between what physics expects and all that can
    have been set free" (the two of `drop`) against "it does not", both seen through the scatter of
    the ticks.
    """
    column = window.index_of(victim)
    nothing = Finding(victim, suspect, Verdict.INCONCLUSIVE, _now(window), round(drop[0], 4))
    if column is None:
        return nothing
    loss = window.loss[:, column, CPU_AXIS]
    inside, outside = _split(window, begun_s, throttled)
    on, off = loss[inside & ~np.isnan(loss)], loss[outside & ~np.isnan(loss)]
    if len(on) < MIN_THROTTLED or len(off) < MIN_FREE:
        return nothing
    dropped = float(off.mean() - on.mean())
    error = _standard_error(on, off)
    log_odds = _log_odds(dropped, error, drop)
    verdict = Verdict.INCONCLUSIVE
    if log_odds >= DECISIVE and dropped >= MIN_T * error:
        verdict = Verdict.CONFIRMED
    elif log_odds <= -DECISIVE:
        verdict = Verdict.CLEARED
    return Finding(
        victim=victim,
        suspect=suspect,
        verdict=verdict,
        at_s=_now(window),
        expected_drop=round(drop[0], 4),
        loss_free=round(float(off.mean()), 4),
        loss_throttled=round(float(on.mean()), 4),
        n_free=len(off),
        n_throttled=len(on),
        log_odds=round(log_odds, 3),
    )


def _now(window: Window) -> float:
    return float(window.at_s[-1]) if len(window.at_s) else 0.0


def _split(
    window: Window, begun_s: float, throttled: tuple[tuple[float, float], ...]
) -> tuple[Bools, Bools]:
    """Ticks wholly throttled, and ticks wholly free, as masks over the window's rows."""
    start, end = window.at_s - window.interval_s, window.at_s
    slack = EDGE * window.interval_s
    inside = np.zeros(len(end), dtype=bool)
    touched = np.zeros(len(end), dtype=bool)
    for since_s, until_s in throttled:
        inside |= (start >= since_s - slack) & (end <= until_s + slack)
        touched |= (end > since_s + slack) & (start < until_s - slack)
    span_s = max((until_s - since_s for since_s, until_s in throttled[:1]), default=0.0)
    outside = ~touched & (start >= begun_s - span_s - slack)
    return inside, outside


def _standard_error(on: F64, off: F64) -> float:
    """Of the difference of the means, wider where so few ticks say little of their scatter."""
    dof = len(on) + len(off) - 2
    squares = float(((on - on.mean()) ** 2).sum() + ((off - off.mean()) ** 2).sum())
    variance = max(squares / dof, SCATTER_FLOOR**2)
    widen = dof / (dof - 2) if dof > 2 else 3.0
    return math.sqrt(variance * widen * (1 / len(on) + 1 / len(off)))


def _log_odds(dropped: float, error: float, drop: tuple[float, float]) -> float:
    """Log Bayes factor of a true drop within about `drop` (normal, both ends one deviation off)
    against none. A rise speaks no louder than no change: it is somebody else's."""
    dropped = max(dropped, 0.0)
    expected = (drop[0] + drop[1]) / 2
    spread = math.hypot(error, max((drop[1] - drop[0]) / 2, SPREAD * expected))
    log_is = -0.5 * ((dropped - expected) / spread) ** 2 - math.log(spread)
    log_not = -0.5 * (dropped / error) ** 2 - math.log(error)
    return min(max(log_is - log_not, -MOST), MOST)
