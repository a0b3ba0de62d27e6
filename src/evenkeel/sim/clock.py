"""Simulated time: moved by hand, never by itself."""

from __future__ import annotations


class SimClock:
    """Implements `ports.Clock`. The wall clock can be set, as an operator or NTP does."""

    def __init__(self, wall_s: float = 1_700_000_000.0, monotonic_s: float = 1000.0) -> None:
        self._wall_s = wall_s
        self._monotonic_s = monotonic_s

    def wall_s(self) -> float:
        return self._wall_s

    def monotonic_s(self) -> float:
        return self._monotonic_s

    def advance(self, seconds: float) -> None:
        """Let time pass. Raises ValueError when it would pass backwards."""
        if not seconds >= 0:
            raise ValueError(f"time cannot advance by {seconds} s")
        self._wall_s += seconds
        self._monotonic_s += seconds

    def jump_wall(self, seconds: float) -> None:
        """Set the wall clock ahead (or back); monotonic time does not notice."""
        self._wall_s += seconds
