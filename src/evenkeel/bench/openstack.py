"""The real OpenStack Placement beside ours: same hosts, same arrivals, durable on both sides.

Installed from PyPI into a virtual environment of its own, under the user's cache directory, at the
first use; it says so before. It runs as its own process with SQLite and without authentication:
once behind waitress, asked over HTTP as Nova does, once with its application called directly. It is
favoured where there is a choice: one candidate is asked for, of vCPUs and memory alone, and setting
up is not timed.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import time
import venv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from evenkeel.bench import openstack_calls
from evenkeel.bench.openstack_calls import (
    HEADERS,
    IN_PROCESS,
    OVER_HTTP,
    Ask,
    Host,
    Refusal,
    Vm,
    add_host,
    timed,
)
from evenkeel.domain.errors import EvenkeelError
from evenkeel.domain.placement import Newcomer
from evenkeel.domain.resources import CPU_AXIS, MEMORY_AXIS
from evenkeel.placement.slices import Layout

PACKAGES: Final = ("openstack-placement==16.0.0", "waitress>=3")
CONFIG_DIR: Final = "OS_PLACEMENT_CONFIG_DIR"
START_S: Final = 60.0
THREADS: Final = 4
_SERVE: Final = """
import sys
from waitress import serve
from placement.wsgi import init_application
serve(init_application(), listen=sys.argv[1], threads=int(sys.argv[2]))
"""
_CONFIG: Final = """
[DEFAULT]
debug = false
[api]
auth_strategy = noauth2
[placement_database]
connection = sqlite:///{database}
sync_on_startup = true
"""


class PeerUnavailable(EvenkeelError):
    code = "peer_unavailable"
    exit_code = 3
    default_hint = "It needs PyPI once; leave --peer out to measure ours alone."


OnStep = Callable[[str], None]
Peer = Callable[[Layout, Sequence[Newcomer]], dict[str, dict[str, float]]]


def on_openstack(n_vms: int, report: OnStep) -> Peer:
    """Places the first `n_vms`, over HTTP and in process. Raises PeerUnavailable when called."""

    def place(layout: Layout, newcomers: Sequence[Newcomer]) -> dict[str, dict[str, float]]:
        python = installed(report)
        hosts, vms = hosts_of(layout), [vm_of(one) for one in newcomers[:n_vms]]
        try:
            with running(python, report) as ask:
                for host in hosts:
                    add_host(ask, host)
                report(f"{OVER_HTTP}: {len(vms)} VMs")
                over_http = timed(ask, vms)
        except Refusal as refusal:
            raise PeerUnavailable(f"OpenStack Placement answered {refusal}") from refusal
        report(f"{IN_PROCESS}: {len(vms)} VMs")
        return {OVER_HTTP: over_http, IN_PROCESS: inside(python, hosts, vms)}

    return place


def hosts_of(layout: Layout) -> list[Host]:
    return [
        {"name": name, "cpus": int(has[CPU_AXIS]), "memory_mib": int(has[MEMORY_AXIS])}
        for name, has in zip(layout.hosts.ids, layout.hosts.capacity, strict=True)
    ]


def vm_of(vm: Newcomer) -> Vm:
    memory_mib = int(vm.memory_mib)
    return {"name": vm.vm, "tenant": vm.tenant, "vcpus": vm.n_vcpus, "memory_mib": memory_mib}


@contextmanager
def over(port: int) -> Iterator[Ask]:
    """Asks a service on this machine, over one connection that is kept."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def ask(method: str, path: str, body: object) -> tuple[int, bytes]:
        headers = {**HEADERS, "Content-Type": "application/json"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, answer.read()

    try:
        yield ask
    finally:
        connection.close()


def inside(python: Path, hosts: Sequence[Host], vms: Sequence[Vm]) -> dict[str, float]:
    """The same in the peer's own process, without HTTP."""
    with environment() as env:
        done = subprocess.run(
            [python, "-I", openstack_calls.__file__],
            input=json.dumps({"hosts": hosts, "vms": vms}),
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise PeerUnavailable(f"OpenStack Placement failed in process: {done.stderr[-800:]}")
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return told


def installed(report: OnStep) -> Path:
    """The interpreter of its environment, which is made if need be."""
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    directory = home / "evenkeel" / "openstack-placement-16"
    python = directory / "bin" / "python"
    if (directory / "complete").exists():
        return python
    report(f"installing {PACKAGES[0]} into {directory}")
    venv.create(directory, with_pip=True, clear=True)
    done = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", *PACKAGES],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise PeerUnavailable(f"pip could not install {PACKAGES[0]}: {done.stderr[-400:]}")
    (directory / "complete").touch()
    return python


@contextmanager
def environment() -> Iterator[dict[str, str]]:
    """Variables of a process that has a new database."""
    with TemporaryDirectory(prefix="evenkeel-peer-") as directory:
        config = Path(directory) / "placement.conf"
        config.write_text(_CONFIG.format(database=Path(directory) / "placement.db"))
        yield {**os.environ, CONFIG_DIR: directory}


@contextmanager
def running(python: Path, report: OnStep) -> Iterator[Ask]:
    """Asks a fresh service."""
    report("starting OpenStack Placement")
    with environment() as env:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        log = (Path(env[CONFIG_DIR]) / "log").open("w+")
        process = subprocess.Popen(
            [python, "-c", _SERVE, f"127.0.0.1:{port}", str(THREADS)],
            env=env,
            stdout=log,
            stderr=log,
        )
        try:
            _await(port, process, log)
            with over(port) as ask:
                yield ask
        finally:
            process.terminate()
            process.wait()
            log.close()


def _await(port: int, process: subprocess.Popen[bytes], log: Any) -> None:
    until_s = time.monotonic() + START_S
    while True:
        try:
            with over(port) as ask:
                if ask("GET", "/resource_classes", None)[0] == 200:
                    return
        except (OSError, http.client.HTTPException):
            pass
        if process.poll() is not None or time.monotonic() > until_s:
            log.seek(0)
            raise PeerUnavailable(f"OpenStack Placement did not start: {log.read()[-800:]}")
        time.sleep(0.2)
