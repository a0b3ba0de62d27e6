"""The machine's own clock. wiring hands it to the services; sim/clock.py stands in for it."""

from __future__ import annotations

import time


class SystemClock:
    """Implements `ports.Clock`. `monotonic_s` counts from boot and stands still in suspend."""

    def wall_s(self) -> float:
        return time.time()

    def monotonic_s(self) -> float:
        return time.monotonic()
