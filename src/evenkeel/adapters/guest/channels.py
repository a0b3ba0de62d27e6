"""The GuestProfiles port over virtio-serial: the host's end of a VM's port is a unix socket.

QEMU listens on it; libvirt names its path in the domain's XML. Sockets never block here, and what
nobody reads stays in the kernel's buffer and then in the VM: no VM can make the agent wait or grow.
A VM that floods is hung up on and called again later.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from evenkeel.domain.ids import VmId
from evenkeel.domain.sample import GuestReading
from evenkeel.guest_wire import Inbox
from evenkeel.ports import Clock

RETRY_S: Final = 5.0
CHUNK: Final = 8192

Endpoint = tuple[int, str]
"""The VM's incarnation and the socket's path."""


@dataclass(slots=True)
class _Line:
    """One VM's channel: open, or to be tried again at `retry_at_s`."""

    endpoint: Endpoint
    inbox: Inbox = field(default_factory=Inbox)
    socket: socket.socket | None = None
    retry_at_s: float = float("-inf")

    def hang_up(self, retry_at_s: float) -> None:
        if self.socket is not None:
            self.socket.close()
        self.socket, self.retry_at_s = None, retry_at_s


class ChannelProfiles:
    """Reads every VM's profiler. `endpoints` says which VMs have a channel now, and where."""

    def __init__(self, endpoints: Callable[[], Mapping[VmId, Endpoint]], clock: Clock) -> None:
        self._endpoints = endpoints
        self._clock = clock
        self._lines: dict[VmId, _Line] = {}

    def read(self) -> Mapping[VmId, GuestReading]:
        """What came since the last call, by VM; VMs that said nothing are in it without a report.

        Never blocks, never raises. Retry: yes, but what was read is not read again.
        """
        wanted = self._endpoints()
        for vm in [vm for vm, line in self._lines.items() if wanted.get(vm) != line.endpoint]:
            self._lines.pop(vm).hang_up(0.0)
        now_s = self._clock.monotonic_s()
        found = {}
        for vm, endpoint in wanted.items():
            line = self._lines.setdefault(vm, _Line(endpoint))
            if line.socket is None and now_s >= line.retry_at_s:
                line.socket = _connect(endpoint[1])
                line.retry_at_s = now_s + RETRY_S
            if line.socket is not None:
                _drain(line, line.socket, now_s)
            found[vm] = line.inbox.take(now_s)
        return found

    def close(self) -> None:
        """Hang up on all."""
        for line in self._lines.values():
            line.hang_up(0.0)
        self._lines.clear()


def _drain(line: _Line, open_socket: socket.socket, now_s: float) -> None:
    """Move what waits in the socket to the inbox, up to its bound."""
    try:
        while line.inbox.room:
            chunk = open_socket.recv(min(CHUNK, line.inbox.room))
            if not chunk:
                line.hang_up(now_s + RETRY_S)  # QEMU closed it
                return
            line.inbox.feed(chunk)
    except BlockingIOError:
        return
    except OSError:
        line.hang_up(now_s + RETRY_S)
        return
    line.inbox.overflow()
    line.hang_up(now_s + RETRY_S)


def _connect(path: str) -> socket.socket | None:
    """A connected socket that does not block; None when nobody takes the call now.

    A unix socket's address holds 107 bytes: a longer path is reached through its open directory.
    """
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    found.setblocking(False)
    directory = -1
    try:
        if len(os.fsencode(path)) > 107:
            directory = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY)
            path = f"/proc/self/fd/{directory}/{os.path.basename(path)}"
        found.connect(path)
    except (OSError, ValueError):  # not there yet, refused, or its queue is full: later
        found.close()
        return None
    finally:
        if directory >= 0:
            os.close(directory)
    return found
