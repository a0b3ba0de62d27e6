"""A lab on this machine: hosts with a libvirtd each, and guests on them.

Called by `evenkeel lab`, the demo, the benchmarks and the integration tests. A lab keeps no record
of itself: every question is answered from cgroups, network names and libvirt, so that a crash
half-way or a deleted file cannot make it lie.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Final

from evenkeel.domain.errors import LabError
from evenkeel.lab import commands
from evenkeel.lab.domain_xml import GuestSpec
from evenkeel.lab.hosts import Host, listens
from evenkeel.lab.image import Report
from evenkeel.lab.lab_guests import LabGuests, quiet
from evenkeel.lab.status import DownReport, GuestStatus, HostStatus, LabStatus, UpReport

_STATES: Final = {
    1: "running",
    2: "blocked",
    3: "paused",
    4: "shutdown",
    5: "shutoff",
    6: "crashed",
}
"""libvirt's VIR_DOMAIN_* states."""


class Lab(LabGuests):
    """Lab `config.number`, whether it is up or not; as a context manager it is up inside."""

    def up(self, report: Report = quiet) -> UpReport:
        """Bring the lab up, or find that it is.

        Remains of an unfinished `up` are removed first. Raises LabMissingTools, ConfigInvalid or
        LabError; whatever it had started by then is taken down again.
        """
        commands.require_lab()
        start = time.monotonic()
        with self._alone():
            if self._network.is_complete():
                return UpReport(True, time.monotonic() - start, self.status())
            if self._is_anything_there():
                report("removing what an unfinished start left")
                self._take_down()
            try:
                self._bring_up(report)
            except BaseException:
                with contextlib.suppress(LabError):  # the first error is the one that matters
                    self._take_down()
                raise
        for guest in [
            self.start_guest(host.name, f"g{i}", GuestSpec(cpu_pct=20, number=i), wait=False)
            for i, host in enumerate(self.hosts * self.config.guests_per_host, start=1)
        ]:
            report(f"waiting for guest {guest.name} on {guest.host}")
            guest.wait_ready()
        return UpReport(False, time.monotonic() - start, self.status())

    def down(self, report: Report = quiet) -> DownReport:
        """Remove everything of this lab but the build cache. Raises LabError if some stays."""
        commands.require_root()
        start = time.monotonic()
        with self._alone():
            report("removing the lab")
            processes, namespaces = self._take_down()
        return DownReport(processes, namespaces, time.monotonic() - start)

    def __enter__(self) -> Lab:
        self.up()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.down()

    @contextlib.contextmanager
    def _alone(self, patience_s: float = 60.0) -> Iterator[None]:
        """One `up` or `down` of this lab at a time: an abstract socket, which dies with us."""
        deadline = time.monotonic() + patience_s
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as lock:
            while True:
                try:
                    lock.bind(f"\0{self.names.cgroup}")
                    break
                except OSError as error:
                    if time.monotonic() > deadline:
                        raise LabError(
                            f"another command is starting or stopping lab {self.config.number}"
                        ) from error
                    time.sleep(0.1)
            yield

    def _is_anything_there(self) -> bool:
        return (
            self._cgroups.exists()
            or self._network.exists()
            or self.names.link.is_symlink()
            or self.config.state_dir.exists()
        )

    def _bring_up(self, report: Report) -> None:
        self._boot_choice(report)
        planned = {
            self.names.host(i): self.config.cpus(i) for i in range(1, self.config.n_hosts + 1)
        }
        report(f"starting {len(planned)} hosts")
        self.names.link.symlink_to(self.config.state_dir)
        (self.config.state_dir / "img").mkdir(parents=True)
        self._cgroups.create(planned)
        self._network.create()
        for host in self.hosts:
            self._start_keeper(host)
        for host in self.hosts:
            self._wait_for_keeper(host)
            self._launch_libvirtd(host)
        for host in self.hosts:
            self._wait_for_libvirt(host)
        self._network.mark_complete()

    def _take_down(self) -> tuple[int, int]:
        state_dirs = {self.state_dir, self.config.state_dir}
        for connection in self._connections.values():
            with contextlib.suppress(Exception):  # its libvirtd may be gone, which is fine
                connection.close()
        self._connections.clear()
        processes = self._cgroups.remove()
        namespaces = self._network.remove()
        for directory in state_dirs:
            shutil.rmtree(directory, ignore_errors=True)
        self.names.link.unlink(missing_ok=True)
        return processes, namespaces

    def status(self) -> LabStatus:
        """What is there now; asks libvirt on every host and each guest."""
        state = "down"
        if self._network.is_complete():
            state = "up"
        elif self._is_anything_there():
            state = "unfinished"
        return LabStatus(
            self.config.number,
            state,
            str(self.state_dir),
            self.names.outside_address,
            tuple(self._host_status(host) for host in self.hosts),
        )

    def _host_status(self, host: Host) -> HostStatus:
        keeper = self._cgroups.keeper(host.name) or 0
        guests: tuple[GuestStatus, ...] = ()
        libvirt_state = "down"
        with contextlib.suppress(LabError):
            if listens(host.address):
                domains = self.connect(host.name).listAllDomains()
                guests = tuple(self._guest_status(domain, host.name) for domain in domains)
                libvirt_state = "up"
        return HostStatus(
            host.name, host.address, host.uri, host.cpus, libvirt_state, keeper, guests
        )

    def _guest_status(self, domain: Any, host: str) -> GuestStatus:
        import libvirt

        guest = self._guest_of(domain, host)
        try:
            state = _STATES.get(domain.state()[0], "unknown")
        except libvirt.libvirtError:
            state = "gone"
        answers = state == "running" and guest.answers()
        return GuestStatus(guest.name, guest.address, domain.UUIDString(), state, answers)
