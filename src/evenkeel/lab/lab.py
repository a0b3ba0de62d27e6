"""A lab on this machine: hosts with a libvirtd each, and guests on them.

Called by `evenkeel lab`, the demo, the benchmarks and the integration tests. A lab keeps no record
of itself: every question is answered from cgroups, network names and libvirt, so that a crash
half-way or a deleted file cannot make it lie.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from evenkeel.config import parse_cpu_list
from evenkeel.domain.errors import LabError
from evenkeel.lab import accel, commands
from evenkeel.lab.cgroups import LabCgroups, argv0, kill
from evenkeel.lab.config import Accel, LabConfig
from evenkeel.lab.domain_xml import GuestSpec, check_name, disk_path, domain_xml
from evenkeel.lab.guests import Guest
from evenkeel.lab.hosts import LIBVIRT_PORT, Host, enter_argv, join_argv
from evenkeel.lab.image import RESOURCES, GuestImage, Report, ensure_image
from evenkeel.lab.names import MAX_GUESTS, host_number
from evenkeel.lab.network import LabNetwork
from evenkeel.lab.status import DownReport, GuestStatus, HostStatus, LabStatus, UpReport

_STATES = {1: "running", 2: "blocked", 3: "paused", 4: "shutdown", 5: "shutoff", 6: "crashed"}


def _quiet(_: str) -> None:
    return None


class Lab:
    """Lab `config.number`, whether it is up or not; as a context manager it is up inside."""

    def __init__(self, config: LabConfig | None = None) -> None:
        self.config = config or LabConfig()
        self.names = self.config.names
        self._cgroups = LabCgroups(self.names.cgroup)
        self._network = LabNetwork(self.names)
        self._connections: dict[str, Any] = {}
        self._guest_numbers: set[int] = set()
        self._guard = threading.Lock()

    # --- up and down ---------------------------------------------------------------------------

    def up(self, report: Report = _quiet) -> UpReport:
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

    def down(self, report: Report = _quiet) -> DownReport:
        """Remove everything of this lab but the build cache. Raises LabError when some will not go."""
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
        state_dir = self.state_dir
        for connection in self._connections.values():
            with contextlib.suppress(Exception):  # its libvirtd may be gone, which is fine
                connection.close()
        self._connections.clear()
        self._guest_numbers.clear()
        processes = self._cgroups.remove()
        namespaces = self._network.remove()
        shutil.rmtree(state_dir, ignore_errors=True)
        self.names.link.unlink(missing_ok=True)
        return processes, namespaces

    # --- hosts ---------------------------------------------------------------------------------

    @property
    def state_dir(self) -> Path:
        """Where this lab's files are: where it was started, when it is up."""
        link = self.names.link
        return Path(os.readlink(link)) if link.is_symlink() else self.config.state_dir

    @property
    def hosts(self) -> tuple[Host, ...]:
        """The hosts that are there now; none when the lab is down."""
        return tuple(
            Host(name, i, self.names.host_address(i), parse_cpu_list(self._cgroups.cpus(name)))
            for name in self._cgroups.hosts()
            if (i := host_number(name)) is not None
        )

    def host(self, name: str) -> Host:
        """The host of this name. Raises LabError."""
        for host in self.hosts:
            if host.name == name:
                return host
        raise LabError(
            f"lab {self.config.number} has no host {name!r}", hint="See `evenkeel lab status`."
        )

    def host_argv(self, host: str, argv: Sequence[str], cwd: Path | None = None) -> list[str]:
        """A command line that runs `argv` in the host's namespaces and cgroup. Raises LabError."""
        self.host(host)
        keeper = self._cgroups.keeper(host)
        if keeper is None:
            raise LabError(
                f"host {host} has lost its namespaces", hint="`evenkeel lab down`, then up."
            )
        inside = enter_argv(keeper, argv, cwd or Path.cwd())
        return join_argv(self._cgroups.join_files(host), inside)

    def spawn_on(
        self,
        host: str,
        argv: Sequence[str],
        env: Mapping[str, str] | None = None,
        stdout_path: Path | None = None,
        cwd: Path | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a long-lived process on a host; its pid is the Popen's. Raises LabError.

        `env` is added to this process's environment. Output (both streams) goes to `stdout_path`,
        appended, or nowhere. It has a session of its own; the lab's `down` kills it at the latest.
        """
        with open(stdout_path or os.devnull, "ab") as output:
            return subprocess.Popen(
                self.host_argv(host, argv, cwd),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=commands.environment(dict(env or {})),
                start_new_session=True,
            )

    def run_on(
        self, host: str, argv: Sequence[str], timeout_s: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on a host to its end and return what it printed and its exit status."""
        return subprocess.run(
            self.host_argv(host, argv),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env=commands.environment(),
            check=False,
        )

    def host_pids(self, host: str) -> set[int]:
        """Every process of a host, its guests' QEMUs included."""
        return self._cgroups.pids(self.host(host).name)

    def crash_libvirtd(self, host: str) -> None:
        """SIGKILL the host's libvirtd alone; its guests live on."""
        daemons = {pid for pid in self.host_pids(host) if Path(argv0(pid)).name == "libvirtd"}
        kill(daemons)
        _wait_until(lambda: not any(map(_is_alive, daemons)), 10, f"libvirtd of {host} to die")

    def start_libvirtd(self, host: str) -> None:
        """Start libvirtd on a host again after a crash or a power-off. Raises LabError."""
        found = self.host(host)
        if not _listens(found.address):
            self._launch_libvirtd(found)
        self._wait_for_libvirt(found)

    def poweroff(self, host: str) -> None:
        """SIGKILL everything on a host, guests too; `start_libvirtd` brings it back, empty."""
        doomed = self.host_pids(host) - {self._cgroups.keeper(host) or 0}
        kill(doomed)
        _wait_until(lambda: not any(map(_is_alive, doomed)), 10, f"{host} to go off")

    def connect(self, host: str) -> Any:
        """A libvirt connection to the host, kept and renewed when it broke. Raises LabError."""
        import libvirt

        with self._guard:
            kept = self._connections.get(host)
            with contextlib.suppress(libvirt.libvirtError):
                if kept is not None and kept.numOfDomains() >= 0:  # isAlive() sees a crash late
                    return kept
            libvirt.registerErrorHandler(_ignore_libvirt_message, None)
            try:
                self._connections[host] = libvirt.open(self.host(host).uri)
            except libvirt.libvirtError as error:
                raise LabError(f"libvirt on {host} does not answer: {error}") from error
            return self._connections[host]

    def _start_keeper(self, host: Host) -> None:
        self._network.create_host(host.name)
        state = self.config.state_dir / host.name
        for part in ("etc", "lib", "log"):
            (state / part).mkdir(parents=True)
        cache = self.config.build_dir / "qemu-cache"
        cache.mkdir(parents=True, exist_ok=True)
        table = self.config.state_dir / "hosts"
        table.write_text(
            "127.0.0.1 localhost\n"
            + f"{self.names.outside_address} outside\n"
            + "".join(f"{h.address} {h.name}\n" for h in self.hosts)
        )
        inside = ["ip", "netns", "exec", self.names.host_namespace(host.name)]
        inside += ["unshare", "-m", "-u", "-C", "/bin/bash", str(RESOURCES / "host" / "init")]
        setting = {
            "HOST_NAME": host.name,
            "HOST_UUID": self.names.host_uuid(host.number),
            "ADDRESS": host.address,
            "GATEWAY": self.names.outside_address,
            "STATE": str(state),
            "CACHE": str(cache),
            "HOSTS_FILE": str(table),
            "CGROUP_MOUNTS": self._cgroups.mounts,
        }
        argv = join_argv(self._cgroups.join_files(host.name, first=True), inside)
        _spawn_detached(argv, setting, state / "log" / "host.log")

    def _wait_for_keeper(self, host: Host) -> None:
        log = self.config.state_dir / host.name / "log" / "host.log"
        _wait_until(
            lambda: self._cgroups.keeper(host.name) is not None,
            10,
            f"host {host.name} to start",
            log,
        )

    def _launch_libvirtd(self, host: Host) -> None:
        argv = self.host_argv(host.name, ["libvirtd", "--listen"], cwd=Path("/"))
        _spawn_detached(argv, {}, self.state_dir / host.name / "log" / "libvirtd.log")

    def _wait_for_libvirt(self, host: Host) -> None:
        log = self.state_dir / host.name / "log" / "libvirtd.log"
        _wait_until(lambda: _listens(host.address), 60, f"libvirtd of {host.name}", log)
        self.connect(host.name)

    # --- guests --------------------------------------------------------------------------------

    def start_guest(
        self, host: str, name: str, spec: GuestSpec | None = None, wait: bool = True
    ) -> Guest:
        """Start a transient guest; with `wait` it answers HTTP when this returns.

        Raises ConfigInvalid for a bad name, LabError when libvirt refuses or it does not boot.
        """
        import libvirt

        check_name(name)
        spec = spec or GuestSpec()
        boot = self._boot_choice(_quiet)
        connection = self.connect(host)
        number = self._take_number(spec.number)
        guest = self._guest(name, host, number)
        if spec.disk_mib:
            with disk_path(self.state_dir, name).open("wb") as disk:
                disk.truncate(spec.disk_mib << 20)
        xml = domain_xml(name, number, spec, self.names, self.state_dir, boot)
        try:
            connection.createXML(xml, libvirt.VIR_DOMAIN_START_PAUSED if spec.paused else 0)
        except libvirt.libvirtError as error:
            self._forget(guest)
            raise LabError(f"guest {name} does not start on {host}: {error}") from error
        if wait and not spec.paused:
            guest.wait_ready()
        return guest

    def guests(self) -> tuple[Guest, ...]:
        """The guests that are on any host now, wherever they were started from."""
        found = []
        for host in self.hosts:
            if _listens(host.address):
                for domain in self.connect(host.name).listAllDomains():
                    with contextlib.suppress(LabError):
                        found.append(self._guest_of(domain, host.name))
        return tuple(sorted(found, key=lambda guest: guest.number))

    def guest(self, name: str) -> Guest:
        """The guest of this name. Raises LabError."""
        for guest in self.guests():
            if guest.name == name:
                return guest
        raise LabError(f"lab {self.config.number} has no guest {name!r}")

    def _boot_choice(self, report: Report) -> tuple[GuestImage, Accel]:
        build = self.config.build_dir
        image = ensure_image(build, report)
        return image, accel.choose(self.config.accel, image, build, report)

    def _take_number(self, wanted: int | None) -> int:
        present = {guest.number for guest in self.guests()} if not self._guest_numbers else set()
        with self._guard:
            self._guest_numbers |= present
            free = (n for n in range(1, MAX_GUESTS + 1) if n not in self._guest_numbers)
            number = wanted or next(free, None)
            if number is None or number in self._guest_numbers or number > MAX_GUESTS:
                raise LabError(f"no guest number is free, or {wanted} is taken")
            self._guest_numbers.add(number)
            return number

    def _forget(self, guest: Guest) -> None:
        disk_path(self.state_dir, guest.name).unlink(missing_ok=True)
        with self._guard:
            self._guest_numbers.discard(guest.number)

    def _guest(self, name: str, host: str, number: int) -> Guest:
        address = self.names.guest_address(number)
        console = self.state_dir / host / "log" / f"{name}.serial"
        return Guest(name, host, number, address, console, self.connect, self._forget)

    def _guest_of(self, domain: Any, host: str) -> Guest:
        """Raises LabError for a domain that is gone, or none of the lab's making."""
        import libvirt

        try:
            macs = domain.XMLDesc().split("<mac address='")[1:]
            name = domain.name()
        except libvirt.libvirtError as error:
            raise LabError(f"a guest of {host} went away: {error}") from error
        numbers = [self.names.guest_number(mac[:17]) for mac in macs]
        if not numbers or numbers[0] is None:
            raise LabError(f"domain {name} on {host} has no address of the lab's")
        return self._guest(name, host, numbers[0])

    # --- status --------------------------------------------------------------------------------

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
            if _listens(host.address):
                domains = self.connect(host.name).listAllDomains()
                guests = tuple(self._guest_status(domain, host.name) for domain in domains)
                libvirt_state = "up"
        return HostStatus(
            host.name, host.address, host.uri, host.cpus, libvirt_state, keeper, guests
        )

    def _guest_status(self, domain: Any, host: str) -> GuestStatus:
        guest = self._guest_of(domain, host)
        state = _STATES.get(domain.state()[0], "unknown")
        answers = state == "running" and guest.answers()
        return GuestStatus(guest.name, guest.address, domain.UUIDString(), state, answers)


def _listens(address: str) -> bool:
    try:
        socket.create_connection((address, LIBVIRT_PORT), timeout=2).close()
    except OSError:
        return False
    return True


def _spawn_detached(argv: Sequence[str], env: Mapping[str, str], log: Path) -> None:
    """Start a process that outlives us and is nobody's child to wait for."""
    with log.open("ab") as output:
        subprocess.run(
            ["setsid", "--fork", *argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=commands.environment(dict(env)),
            cwd="/",
            check=True,
        )


def _is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists() and bool(argv0(pid))


def _wait_until(holds: Any, timeout_s: float, what: str, log: Path | None = None) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            said = log.read_text(errors="replace")[-500:].strip() if log and log.exists() else ""
            raise LabError(f"waited {timeout_s:.0f} s for {what}" + (f": {said}" if said else ""))
        time.sleep(0.02)


def _ignore_libvirt_message(*_: Any) -> None:
    """libvirt prints every error on stderr; they come as exceptions as well."""
