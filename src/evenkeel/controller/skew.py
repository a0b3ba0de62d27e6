"""Does a host's clock disagree with the controller's? Pure.

A batch that waited in the agent's spool looks old without any clock being wrong. Delay can only
make a batch look too old, so one from the future is proof enough; one from the past counts only
when the batch before it came at the host's own pace, which a spool being emptied does not.
"""

from __future__ import annotations

from typing import Final

from evenkeel.records import HostRecord
from evenkeel.wire import Batch

SKEWED_S: Final = 30.0
CALM_S: Final = 15.0
"""Below this a clock is trusted again."""


def is_skewed(before: HostRecord | None, batch: Batch, received_at_s: float) -> bool:
    """Whether the host's clock is off, seen from its newest batch and the one before it."""
    was = before is not None and before.skewed
    ahead_s = batch.sent_at_s - received_at_s
    if ahead_s > SKEWED_S:
        return True
    if ahead_s < -SKEWED_S:
        return was or _at_its_own_pace(before, batch, received_at_s)
    return was and abs(ahead_s) > CALM_S


def _at_its_own_pace(before: HostRecord | None, batch: Batch, received_at_s: float) -> bool:
    if before is None or before.epoch != batch.epoch or before.seq + 1 != batch.seq:
        return False
    sent_apart_s = batch.sent_at_s - before.sent_at_s
    return sent_apart_s > 0 and received_at_s - before.last_seen_s >= sent_apart_s / 2
