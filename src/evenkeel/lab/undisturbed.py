"""Measures again what was measured while the CPU was elsewhere.

The machine that a lab is on may be a VM itself, and share its cores: time that its own host takes
away (steal) is a loss that nobody in the lab has caused.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

from evenkeel.adapters.libvirt.procfs import cpu_stolen_ns

MOST: Final = 0.02
"""Share of the CPUs' time that may be taken away during a measurement."""
TRIES: Final = 3
Measurement = TypeVar("Measurement")


def undisturbed(
    measure: Callable[[], Measurement],
    cpus: frozenset[int],
    again: Callable[[float], None] = lambda _: None,
    stolen_ns: Callable[[frozenset[int]], int | None] = cpu_stolen_ns,
) -> tuple[Measurement, float]:
    """What `measure` returned while the least was taken away from `cpus`, and the share that was.

    It is repeated while that is more than `MOST`, `TRIES` times in all; `again` is told the share.
    """
    found: list[tuple[Measurement, float]] = []
    while len(found) < TRIES:
        since_s, before_ns = time.monotonic(), stolen_ns(cpus) or 0
        measured = measure()
        stolen_s = ((stolen_ns(cpus) or 0) - before_ns) / 1e9
        share = stolen_s / (len(cpus) * (time.monotonic() - since_s))
        found.append((measured, share))
        if share <= MOST:
            break
        if len(found) < TRIES:
            again(share)
    return min(found, key=lambda one: one[1])
