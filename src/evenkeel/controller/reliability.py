"""Adds up what agents counted: predicted against measured loss, once for each batch."""

from __future__ import annotations

from typing import Final

from evenkeel.domain.reliability import GRID, sums_of
from evenkeel.ports import Clock
from evenkeel.ports_store import Session, Store
from evenkeel.wire import Batch

HOUR_S: Final = 3600
DAY_S: Final = 86_400.0


def count_reliability(session: Session, batch: Batch, now_s: float) -> None:
    """Add the batch's tallies; the caller has seen that the batch is new.

    They are dated by the tick, so that what a spool held back counts where it belongs, but never in
    the future. Tallies of other bins cannot be added to these and are left out.
    """
    if batch.tick is None:
        return
    hour_s = int(min(batch.tick.taken_at_s, now_s)) // HOUR_S * HOUR_S
    for tally in batch.reliability:
        if tally.grid == GRID:
            session.reliability.add(
                batch.host.id, hour_s, tally.resource, tally.horizon_s, sums_of(tally)
            )


def prune_reliability(store: Store, clock: Clock, keep_days: float) -> int:
    """Forget hours that are too old; how many rows went. Raises StoreUnavailable. Retry: yes."""
    with store.write() as session:
        return session.reliability.prune(clock.wall_s() - keep_days * DAY_S)
