"""The hosts of a lab: their processes, their libvirtd, and accidents that may happen to them."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from evenkeel.domain.cpu_list import parse_cpu_list
from evenkeel.domain.errors import LabError
from evenkeel.lab import commands
from evenkeel.lab.cgroups import LabCgroups, argv0, has_ended, kill
from evenkeel.lab.config import LabConfig
from evenkeel.lab.entering import enter_argv, join_argv, spawn_detached
from evenkeel.lab.image import RESOURCES
from evenkeel.lab.names import host_number
from evenkeel.lab.network import LabNetwork

LIBVIRT_PORT: Final = 16509


@dataclass(frozen=True, slots=True)
class Host:
    """One pretended hypervisor. `uri` reaches its libvirt from anywhere on this machine."""

    name: str
    number: int
    address: str
    cpus: tuple[int, ...]

    @property
    def uri(self) -> str:
        return f"qemu+tcp://{self.address}/system"


class LabHosts:
    """What can be done with the hosts of lab `config.number`; they are found by their cgroups."""

    def __init__(self, config: LabConfig | None = None) -> None:
        self.config = config or LabConfig()
        self.names = self.config.names
        self._cgroups = LabCgroups(self.names.cgroup)
        self._network = LabNetwork(self.names)
        self._connections: dict[str, Any] = {}
        self._guard = threading.Lock()
        self._starting = threading.Lock()

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

    def outweigh(self) -> None:
        """Let nothing else on this machine disturb the lab's CPUs, as far as weights go."""
        self._cgroups.outweigh()

    def host_root(self, host: str) -> Path:
        """The host's own file system as it is seen from outside. Raises LabError."""
        keeper = self._cgroups.keeper(self.host(host).name)
        if keeper is None:
            raise LabError(f"host {host} has lost its namespaces")
        return Path(f"/proc/{keeper}/root")

    def host_pids(self, host: str) -> set[int]:
        """Every process of a host, its guests' QEMUs included."""
        return self._cgroups.pids(self.host(host).name)

    def crash_libvirtd(self, host: str) -> None:
        """SIGKILL the host's libvirtd alone; its guests live on."""
        daemons = {pid for pid in self.host_pids(host) if Path(argv0(pid)).name == "libvirtd"}
        kill(daemons)
        _wait_until(lambda: all(map(has_ended, daemons)), 10, f"libvirtd of {host} to die")

    def start_libvirtd(self, host: str) -> None:
        """Start libvirtd on a host again after a crash or a power-off. Raises LabError."""
        found = self.host(host)
        if not listens(found.address):
            self._launch_libvirtd(found)
        self._wait_for_libvirt(found)

    def poweroff(self, host: str) -> None:
        """SIGKILL everything on a host, guests too; `start_libvirtd` brings it back, empty."""
        doomed = self.host_pids(host) - {self._cgroups.keeper(host) or 0}
        kill(doomed)
        _wait_until(lambda: all(map(has_ended, doomed)), 10, f"{host} to go off")

    def connect(self, host: str) -> Any:
        """A libvirt connection to the host, kept and renewed when it broke. Raises LabError."""
        import libvirt

        from evenkeel.adapters.libvirt.session import keep_errors_off_stderr

        with self._guard:
            kept = self._connections.get(host)
            with contextlib.suppress(libvirt.libvirtError):
                if kept is not None and kept.numOfDomains() >= 0:  # isAlive() sees a crash late
                    return kept
            keep_errors_off_stderr()
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
        spawn_detached(argv, setting, state / "log" / "host.log")

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
        spawn_detached(argv, {}, self.state_dir / host.name / "log" / "libvirtd.log")

    def _wait_for_libvirt(self, host: Host) -> None:
        log = self.state_dir / host.name / "log" / "libvirtd.log"
        _wait_until(lambda: listens(host.address), 60, f"libvirtd of {host.name}", log)
        self.connect(host.name)


def listens(address: str) -> bool:
    try:
        socket.create_connection((address, LIBVIRT_PORT), timeout=2).close()
    except OSError:
        return False
    return True


def _wait_until(
    holds: Callable[[], bool], timeout_s: float, what: str, log: Path | None = None
) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            said = log.read_text(errors="replace")[-500:].strip() if log and log.exists() else ""
            raise LabError(f"waited {timeout_s:.0f} s for {what}" + (f": {said}" if said else ""))
        time.sleep(0.02)
