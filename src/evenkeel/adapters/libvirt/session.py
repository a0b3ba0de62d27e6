"""One open connection to libvirt, with its events; `hypervisor` replaces it when it breaks.

Events only tell which VMs to look at again: one that gets lost costs a delay, never correctness.
"""

from __future__ import annotations

import contextlib
import functools
import operator
import threading
from typing import Any, Final

import libvirt

from evenkeel.adapters.libvirt import faults
from evenkeel.domain.errors import HypervisorUriInvalid

KEEPALIVE_INTERVAL_S: Final = 5
KEEPALIVE_COUNT: Final = 3
_EVENTS: Final = (
    libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE,
    libvirt.VIR_DOMAIN_EVENT_ID_REBOOT,
    libvirt.VIR_DOMAIN_EVENT_ID_TUNABLE,
    libvirt.VIR_DOMAIN_EVENT_ID_METADATA_CHANGE,
)


def keep_errors_off_stderr() -> None:
    """They reach us as exceptions; libvirt prints them as well unless somebody takes them.

    The taker is a function in C: in one in Python a Ctrl-C that waits would be raised, and come out
    of libvirt as a SystemError.
    """
    libvirt.registerErrorHandler(operator.is_, None)


@functools.cache
def start_event_loop() -> threading.Thread:
    """Once per process and before any connection is opened, as libvirt demands."""
    keep_errors_off_stderr()
    libvirt.virEventRegisterDefaultImpl()
    thread = threading.Thread(target=_run_events, name="libvirt-events", daemon=True)
    thread.start()
    return thread


def _run_events() -> None:
    while True:
        with contextlib.suppress(libvirt.libvirtError):
            libvirt.virEventRunDefaultImpl()


class Session:
    """An open connection; `touched` collects the UUIDs of VMs that events spoke of."""

    def __init__(self, uri: str) -> None:
        """Open `uri`. Raises HypervisorUriInvalid, HypervisorDenied, HypervisorUnavailable."""
        if not uri:
            raise HypervisorUriInvalid("no libvirt URI is set")
        start_event_loop()
        try:
            self.connection: Any = libvirt.open(uri)
        except libvirt.libvirtError as error:
            raise faults.on_open(error, uri) from error
        self.touched: set[str] = set()
        self._callbacks: list[int] = []
        with contextlib.suppress(libvirt.libvirtError):  # a driver within this process has none
            self.connection.setKeepAlive(KEEPALIVE_INTERVAL_S, KEEPALIVE_COUNT)
        for event in _EVENTS:
            with contextlib.suppress(libvirt.libvirtError):  # then the slow rotation finds changes
                self._callbacks.append(
                    self.connection.domainEventRegisterAny(None, event, _on_event, self.touched)
                )

    def close(self) -> None:
        """Give the connection back. Blocks while libvirt hangs: call it in the guarded thread."""
        connection, self.connection = self.connection, None
        if connection is None:
            return
        for callback in self._callbacks:
            with contextlib.suppress(libvirt.libvirtError):
                connection.domainEventDeregisterAny(callback)
        with contextlib.suppress(libvirt.libvirtError):
            connection.close()


def _on_event(_connection: Any, domain: Any, *details: Any) -> None:
    touched: set[str] = details[-1]
    touched.add(domain.UUIDString())
