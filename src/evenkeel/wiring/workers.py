"""Who does independent pieces of work: this process, or a Ray cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from evenkeel.adapters.cluster.workers import RayWorkers
from evenkeel.forecast.workers import IN_TURN, Workers


@contextmanager
def open_workers(ray_address: str, here: Workers = IN_TURN) -> Iterator[Workers]:
    """`here` without an address. Raises ConfigInvalid, ClusterUnavailable."""
    if not ray_address:
        yield here
        return
    with RayWorkers(ray_address) as workers:
        yield workers
