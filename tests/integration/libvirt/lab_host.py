"""The lab host of these tests: its processes, and waiting on conditions."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from evenkeel.adapters.libvirt.hypervisor import LibvirtHypervisor
from evenkeel.domain.sample import VmCounters
from evenkeel.lab.guests import Guest
from evenkeel.lab.lab import Lab

HOST: Final = "h1"
T = TypeVar("T")


class LabHost:
    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.uri = lab.host(HOST).uri

    def pid_of(self, *words: str) -> int:
        """The process on the host whose command line holds all `words`."""
        for pid in self.lab.host_pids(HOST):
            line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            if all(word in line for word in words):
                return pid
        raise AssertionError(f"no process {words} on {HOST}")

    @contextmanager
    def stopped(self, pid: int) -> Iterator[None]:
        """Inside, the process does not run: it hangs for whoever asks it something."""
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)


def eventually(holds: Callable[[], T], timeout_s: float = 10.0, every_s: float = 0.1) -> T:
    """First true value of `holds`; the last one, whatever it is, after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not (value := holds()) and time.monotonic() < deadline:
        time.sleep(every_s)
    return value


def seen(hypervisor: LibvirtHypervisor, guest: Guest) -> VmCounters:
    """The guest in a fresh observation."""
    return next(one for one in hypervisor.observe().vms if one.vm.name == guest.name)
