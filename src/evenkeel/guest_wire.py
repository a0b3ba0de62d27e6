"""What a profiler inside a VM says to the agent: one JSON object a line, one line a second.

    {"v":1,"t":12.003,"work":812,"ops":812,"op_ms":930.1,"cpu":0.02,"memory":0,"io":0,"psi":true}

`packaging/guest/evenkeel-guest.c` writes it and says what the fields mean. The VM is a stranger:
whatever it sends, an `Inbox` holds a bounded amount of it, accepts only what can be true, and
never raises.
"""

from __future__ import annotations

import functools
from typing import Final

import msgspec

from evenkeel.decoding import decoder
from evenkeel.domain.sample import Flaw, GuestReading, GuestReport

GUEST_WIRE_VERSION: Final = 1
PORT_NAME: Final = "evenkeel.profiler.0"
"""Of the virtio-serial port, in the domain's XML and inside the VM."""
MAX_LINE: Final = 1024
MAX_BYTES: Final = 32_768
"""Accepted a reading: a minute of reports, the longest time between two ticks, and some more."""
MIN_GAP_S: Final = 0.5
MAX_SPEED: Final = 1.5
SPEED_SLACK_S: Final = 3.0
"""A VM's clock may run this much faster than the host's, and be this far ahead of it at once."""
MAX_COUNT: Final = 1e18
MAX_UPTIME_S: Final = 1e10


class GuestLine(msgspec.Struct, frozen=True):
    """One line as it comes; unknown fields are ignored."""

    v: int
    t: float
    work: float | None = None
    ops: float | None = None
    op_ms: float | None = None
    cpu: float = 0.0
    memory: float = 0.0
    io: float = 0.0


_decoder = functools.cache(lambda: decoder(GuestLine))
"""Made when first used: hosts without profilers never need it."""


def parse(line: bytes) -> GuestReport | None:
    """The report in a line; None when it is none, or says what cannot be."""
    try:
        said = _decoder().decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    work, ops, op_ms = said.work, said.ops, said.op_ms
    credible = (  # spelled out: this runs for every VM every second
        said.v == GUEST_WIRE_VERSION
        and 0 <= said.t <= MAX_UPTIME_S
        and (work is None or 0 <= work <= MAX_COUNT)
        and (ops is None or 0 <= ops <= MAX_COUNT)
        and (op_ms is None or 0 <= op_ms <= MAX_COUNT)
        and (ops is None) == (op_ms is None)
        and 0 <= said.cpu <= 1
        and 0 <= said.memory <= 1
        and 0 <= said.io <= 1
    )
    if not credible:
        return None
    return GuestReport(said.t, work, ops, op_ms, (said.cpu, said.memory, said.io))


class Inbox:
    """What one VM in one incarnation sent. `feed` bytes as they come, `take` a reading a tick."""

    def __init__(self) -> None:
        self._tail = b""
        self._n_bytes = 0
        self._last: GuestReport | None = None
        self._newest: GuestReport | None = None
        self._taken: tuple[float, float] | None = None
        self._flaws: set[Flaw] = set()

    @property
    def room(self) -> int:
        """Bytes that it still takes before the next `take`."""
        return max(0, MAX_BYTES - self._n_bytes)

    def feed(self, chunk: bytes) -> None:
        """Take in what came; what is beyond the bound is thrown away, and that is marked."""
        if len(chunk) > self.room:
            self.overflow()
            chunk = chunk[: self.room]
        self._n_bytes += len(chunk)
        *lines, self._tail = (self._tail + chunk).split(b"\n")
        for line in lines:
            self._accept(line)
        if len(self._tail) > MAX_LINE:
            self._flaws.add(Flaw.PROFILER_NONSENSE)
            self._tail = b""

    def overflow(self) -> None:
        """More was sent than is read: mark it. What is left of a cut line is no report."""
        self._flaws.add(Flaw.PROFILER_FLOOD)
        self._tail = b""

    def take(self, monotonic_s: float) -> GuestReading:
        """The newest report since the last call, and what was refused meanwhile."""
        report = self._newest
        if report is not None:
            if self._taken is not None:
                host_s, guest_s = self._taken
                limit_s = (monotonic_s - host_s) * MAX_SPEED + SPEED_SLACK_S
                if report.guest_s - guest_s > limit_s:
                    self._flaws.add(Flaw.PROFILER_TIME)
            self._taken = (monotonic_s, report.guest_s)
            if Flaw.PROFILER_TIME in self._flaws:
                report = None  # a clock like this gives no rates
        reading = GuestReading(monotonic_s, report, frozenset(self._flaws))
        self._newest = None
        self._flaws.clear()
        self._n_bytes = 0
        return reading

    def _accept(self, line: bytes) -> None:
        if not line.strip():
            return
        report = parse(line) if len(line) <= MAX_LINE else None
        if report is None:
            self._flaws.add(Flaw.PROFILER_NONSENSE)
            return
        last = self._last
        if last is not None and report.guest_s < last.guest_s + MIN_GAP_S:
            self._flaws.add(Flaw.PROFILER_TIME)
            if report.guest_s < last.guest_s:
                self._last = report  # the VM restarted: what comes next is measured from here
            return
        self._last = self._newest = report
