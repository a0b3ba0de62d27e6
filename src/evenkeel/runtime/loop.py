"""The one loop: a fixed tick that events can only wake early, and no failure ends silently."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from evenkeel.ports import Clock

log = logging.getLogger(__name__)


class Loop:
    """Calls `step` every `tick_s` until stopped. A late tick is skipped, never made up for."""

    def __init__(
        self,
        step: Callable[[], None],
        tick_s: float,
        clock: Clock,
        on_failure: Callable[[Exception], None],
    ) -> None:
        self._step = step
        self._on_failure = on_failure
        self._tick_s = tick_s
        self._clock = clock
        self._wake = threading.Event()
        self._stopped = threading.Event()

    def run(self) -> None:
        """Block until `stop`. An exception in a step is a bug: it is logged and handed on."""
        due_s = self._clock.monotonic_s()
        while not self._stopped.is_set():
            try:
                self._step()
            except Exception as error:
                log.exception("tick failed; the loop goes on")
                self._on_failure(error)
            now_s = self._clock.monotonic_s()
            due_s += self._tick_s
            if due_s <= now_s:
                due_s = now_s + self._tick_s - (now_s - due_s) % self._tick_s
            self._wake.wait(timeout=max(0.0, due_s - now_s))
            if self._wake.is_set():
                self._wake.clear()
                due_s = self._clock.monotonic_s()

    def wake(self) -> None:
        """Run the next step now."""
        self._wake.set()

    def stop(self) -> None:
        """End after the step that is running; safe from a signal handler."""
        self._stopped.set()
        self._wake.set()
