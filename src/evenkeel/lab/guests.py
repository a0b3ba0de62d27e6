"""A running lab guest: its workload and useful work over HTTP, its domain through libvirt."""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from evenkeel.domain.errors import LabError

HTTP_PORT: Final = 80
JOBS: Final = ("cpu", "read", "write", "send", "receive", "cached", "mixed", "pages")
"""What a guest can do all day, in the order of guest/jobs.c."""
KNOBS: Final = frozenset({"cpu", "thr", "ws", "job", "burst", "mem", "dirty"})


@dataclass(frozen=True, slots=True)
class Guest:
    """Guest `name` on host `host`, at http://`address`/.

    `console` is the log of its serial port. `connect` gives a libvirt connection to a host by
    name; `forget` is told when the guest is destroyed.
    """

    name: str
    host: str
    number: int
    address: str
    console: Path
    connect: Callable[[str], Any] = field(repr=False, compare=False)
    forget: Callable[[Guest], None] = field(repr=False, compare=False)

    def domain(self) -> Any:
        """The libvirt domain, looked up anew. Raises LabError when it is not on its host."""
        import libvirt

        try:
            return self.connect(self.host).lookupByName(self.name)
        except libvirt.libvirtError as error:
            raise LabError(f"guest {self.name} is not on {self.host}: {error}") from error

    @property
    def uuid(self) -> str:
        return str(self.domain().UUIDString())

    def get(self, path: str = "/", timeout_s: float = 5.0) -> bytes:
        """Body of a GET. Raises LabError when the guest does not answer in time."""
        connection = http.client.HTTPConnection(self.address, HTTP_PORT, timeout=timeout_s)
        try:
            connection.request("GET", path, headers={"Connection": "close"})
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise LabError(f"guest {self.name} does not answer: {error}") from error
        finally:
            connection.close()
        if response.status != 200:
            raise LabError(f"guest {self.name}: {path} gave {response.status}")
        return body

    def answers(self, timeout_s: float = 0.5) -> bool:
        """Whether it answers HTTP now."""
        with contextlib.suppress(LabError):
            self.get("/stats", timeout_s)
            return True
        return False

    def stats(self) -> dict[str, Any]:
        """The guest's own counters: `ticks` is its useful work since boot, `t` its uptime in s."""
        stats: dict[str, Any] = json.loads(self.get("/stats"))
        return stats

    def set_load(self, **knobs: int) -> dict[str, Any]:
        """Change the workload: cpu (%), thr, ws, mem (MiB), dirty (MiB/s), job (an index into
        JOBS), burst (mean spell in ms). Returns its stats."""
        unknown = knobs.keys() - KNOBS
        if unknown:
            raise LabError(f"a guest has no knob {', '.join(sorted(unknown))}")
        query = "&".join(f"{name}={value}" for name, value in knobs.items())
        stats: dict[str, Any] = json.loads(self.get(f"/set?{query}"))
        return stats

    def rate(self, seconds: float = 2.0) -> float:
        """Useful work per second over a window, by this machine's clock and not the guest's."""
        first, start = self.stats()["ticks"], time.monotonic()
        time.sleep(seconds)
        last, end = self.stats()["ticks"], time.monotonic()
        return float(last - first) / (end - start)

    def disk(self, mb: int = 4, block_kib: int = 64, *, write: bool = True) -> dict[str, Any]:
        """Direct requests on its disk: bytes, s, mb_s, iops, failed. Needs a disk."""
        path = f"/disk?mb={mb}&bs={block_kib}&rw={'w' if write else 'r'}"
        result: dict[str, Any] = json.loads(self.get(path, timeout_s=120))
        return result

    def disk_read_bytes(self) -> int:
        """What it has read from its disk since it started. Raises LabError."""
        import libvirt

        try:
            return int(self.domain().blockStats("vda")[1])
        except libvirt.libvirtError as error:
            raise LabError(f"guest {self.name} has no disk to read: {error}") from error

    def wait_ready(self, timeout_s: float = 60.0) -> float:
        """Wait until it answers HTTP; returns the seconds waited. Raises LabError."""
        start = time.monotonic()
        while not self.answers():
            if time.monotonic() - start > timeout_s:
                raise LabError(
                    f"guest {self.name} on {self.host} does not answer after {timeout_s:.0f} s",
                    hint=f"{self.console}: {self._console_end()}",
                )
            time.sleep(0.05)
        return time.monotonic() - start

    def _console_end(self) -> str:
        with contextlib.suppress(OSError):
            return self.console.read_text(errors="replace")[-300:].strip() or "(empty)"
        return "(missing)"

    def resume(self) -> None:
        self.domain().resume()

    def suspend(self) -> None:
        self.domain().suspend()

    def destroy(self) -> None:
        """Switch it off for good and remove its disk; nothing happens when it is gone already."""
        import libvirt

        with contextlib.suppress(LabError, libvirt.libvirtError):
            self.domain().destroy()
        self.forget(self)
