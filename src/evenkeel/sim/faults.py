"""Faults, seeded: what goes wrong, when, and to whom.

The simulated hypervisor, link and journal ask `strikes` before they act. A fault strikes in a
window that a test laid down, or by chance at a rate per call. Every subject draws from a stream
of its own, so a new subject or kind does not shift the others' luck.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np


class FaultKind(StrEnum):
    HYPERVISOR_AWAY = "hypervisor_away"
    """Every call to it fails at once (subject: host)."""
    HYPERVISOR_HANGS = "hypervisor_hangs"
    """Every call to it times out (subject: host)."""
    APPLY_REFUSED = "apply_refused"
    """The instruction fails and changes nothing (subject: VM)."""
    APPLY_UNCERTAIN = "apply_uncertain"
    """The instruction takes effect, and the call fails all the same (subject: VM)."""
    COUNTER_NEGATIVE = "counter_negative"
    COUNTER_NAN = "counter_nan"
    BALLOON_STALE = "balloon_stale"
    """The guest's memory statistics stop being refreshed (subject: VM)."""
    PROFILER_NONSENSE = "profiler_nonsense"
    """The VM's profiler says what cannot be (subject of these two: VM)."""
    PROFILER_FLOOD = "profiler_flood"
    CONTROLLER_AWAY = "controller_away"
    REPLY_LOST = "reply_lost"
    """The batch arrives; the sender never learns it (subject of these four: host)."""
    DUPLICATED = "duplicated"
    """The network delivers the batch twice."""
    DELAYED = "delayed"
    """The sender gives up; the batch arrives after later ones."""
    JOURNAL_UNAVAILABLE = "journal_unavailable"


@dataclass(frozen=True, slots=True)
class FaultWindow:
    """A fault that strikes every call with start_s <= now < end_s; an empty subject is anybody."""

    kind: FaultKind
    start_s: float
    end_s: float
    subject: str = ""


class Faults:
    """Windows and per-call rates of faults; `struck` keeps (now_s, kind, subject) of each."""

    def __init__(
        self,
        now: Callable[[], float],
        *,
        seed: int = 0,
        rates: Mapping[FaultKind, float] | None = None,
        windows: tuple[FaultWindow, ...] = (),
    ) -> None:
        """`now` tells the seconds that windows are given in, normally `lambda: fleet.now_s`."""
        self._now = now
        self._seed = seed
        self.rates = dict(rates or {})
        self._windows = list(windows)
        self._streams: dict[tuple[FaultKind, str], np.random.Generator] = {}
        self.struck: list[tuple[float, FaultKind, str]] = []

    def add(self, window: FaultWindow) -> None:
        self._windows.append(window)

    def strikes(self, kind: FaultKind, subject: str = "") -> bool:
        """Whether this call meets the fault. Asking draws from the subject's stream."""
        now_s = self._now()
        hit = any(
            window.kind is kind
            and window.start_s <= now_s < window.end_s
            and window.subject in ("", subject)
            for window in self._windows
        )
        rate = self.rates.get(kind, 0.0)
        if rate > 0.0:
            hit |= bool(self._stream(kind, subject).random() < rate)
        if hit:
            self.struck.append((now_s, kind, subject))
        return hit

    def _stream(self, kind: FaultKind, subject: str) -> np.random.Generator:
        key = (kind, subject)
        if key not in self._streams:
            entropy = [self._seed, zlib.crc32(kind.encode()), zlib.crc32(subject.encode())]
            self._streams[key] = np.random.default_rng(entropy)
        return self._streams[key]
