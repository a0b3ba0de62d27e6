"""Keeps a libvirt call that hangs from hanging the agent.

libvirt's calls block and cannot be interrupted. So they run in a thread of their own; when one
takes too long its thread is abandoned, together with the connection it holds, and the next call
gets a fresh thread. The number of abandoned threads is bounded.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

from evenkeel.domain.errors import HypervisorTimeout, HypervisorUnavailable

MAX_ABANDONED: Final = 8
T = TypeVar("T")


class CallHung(HypervisorTimeout):
    """The call was abandoned: what it holds belongs to its thread from now on."""


class CallGuard:
    """Runs a call in a worker thread, no longer than `timeout_s`. Callers take turns."""

    def __init__(self, timeout_s: float, max_abandoned: int = MAX_ABANDONED) -> None:
        self._timeout_s = timeout_s
        self._max_abandoned = max_abandoned
        self._worker: _Worker | None = None
        self._abandoned: list[_Worker] = []

    def call(self, what: str, work: Callable[[], T], discard: Callable[[], None]) -> T:
        """Result of `work`, or what it raised.

        If the call is abandoned, `discard` runs in its thread when it returns after all.

        Raises CallHung when it takes too long, HypervisorUnavailable when too many earlier calls
        still hang.
        """
        worker = self._ready_worker()
        call = _Call(work, discard)
        worker.calls.put(call)
        if not call.done.wait(self._timeout_s) and call.abandon():
            self._abandoned.append(worker)
            self._worker = None
            worker.calls.put(None)
            raise CallHung(f"{what}: no answer within {self._timeout_s:g} s")
        if call.error is not None:
            raise call.error
        result: T = call.result
        return result

    def close(self) -> None:
        """Let the worker end; abandoned ones end by themselves when their call returns."""
        if self._worker is not None:
            self._worker.calls.put(None)
            self._worker.thread.join(self._timeout_s)
            self._worker = None

    @property
    def n_abandoned(self) -> int:
        """Calls that still hang."""
        self._abandoned = [w for w in self._abandoned if w.thread.is_alive()]
        return len(self._abandoned)

    def _ready_worker(self) -> _Worker:
        if self._worker is None:
            n_abandoned = self.n_abandoned
            if n_abandoned >= self._max_abandoned:
                raise HypervisorUnavailable(f"{n_abandoned} libvirt calls still hang")
            self._worker = _Worker()
        return self._worker


class _Call:
    """One piece of work on its way through a worker."""

    def __init__(self, work: Callable[[], Any], discard: Callable[[], None]) -> None:
        self._work = work
        self._discard = discard
        self._lock = threading.Lock()
        self._abandoned = False
        self.done = threading.Event()
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.result = self._work()
        except BaseException as error:  # handed to the caller, which raises it
            self.error = error
        with self._lock:
            self.done.set()
        if self._abandoned:
            self._discard()

    def abandon(self) -> bool:
        """Give up waiting; False if the call has come back in this very moment."""
        with self._lock:
            self._abandoned = not self.done.is_set()
            return self._abandoned


class _Worker:
    """A daemon thread, so that a hung call cannot keep the process from ending."""

    def __init__(self) -> None:
        self.calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._serve, name="libvirt-call", daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while (call := self.calls.get()) is not None:
            call.run()
            del call  # or the last result would live on while the thread waits
