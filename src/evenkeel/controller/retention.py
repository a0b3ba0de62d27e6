"""Forgets per-tick history and claims that are older than the operator wants to keep."""

from __future__ import annotations

from typing import Final

from evenkeel.ports import Clock
from evenkeel.ports_store import Store

CHUNK: Final = 2000
"""Batches forgotten per transaction, so that agents never wait long for it."""


def prune_history(store: Store, clock: Clock, history_hours: float) -> int:
    """Prune all that is too old; how many batches went. Raises StoreUnavailable. Retry: yes."""
    before_s = clock.wall_s() - history_hours * 3600
    total = 0
    while True:
        with store.write() as session:
            n = session.history.prune(before_s, CHUNK)
        total += n
        if n < CHUNK:
            return total


def prune_claims(store: Store, clock: Clock, days: float) -> int:
    """Forget lots and claims that ended so long ago, and the terms of VMs that are gone since; how
    many. Raises StoreUnavailable. Retry: yes."""
    before_s = int(clock.wall_s() - days * 86_400)
    total = 0
    while True:
        with store.write() as session:
            n = session.claims.forget(before_s, CHUNK) + session.terms.forget(before_s, CHUNK)
        total += n
        if not n:
            return total
