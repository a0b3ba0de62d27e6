"""The real OpenStack Placement beside ours: same hosts, same arrivals, durable on both sides.

Installed from PyPI into a virtual environment of its own, under the user's cache directory, at the
first use; it says so before. It runs as its own process with SQLite and without authentication:
once behind waitress, asked over HTTP as Nova does, once with its application called directly. It is
favoured where there is a choice: one candidate is asked for, of vCPUs and memory alone, and setting
up is not timed.
"""

from __future__ import annotations

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

import httpx2

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
            with running(python, report) as api:
                for host in hosts:
                    add_host(over(api), host)
                report(f"{OVER_HTTP}: {len(vms)} VMs")
                over_http = timed(over(api), vms)
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


def over(api: httpx2.Client) -> Ask:
    """Asks a service."""

    def ask(method: str, path: str, body: object) -> tuple[int, bytes]:
        answer = api.request(method, path, json=body)
        return answer.status_code, answer.content

    return ask


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
def running(python: Path, report: OnStep) -> Iterator[httpx2.Client]:
    """A client of a fresh service."""
    report("starting OpenStack Placement")
    with environment() as env:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            at = f"127.0.0.1:{free.getsockname()[1]}"
        log = (Path(env[CONFIG_DIR]) / "log").open("w+")
        process = subprocess.Popen(
            [python, "-c", _SERVE, at, str(THREADS)],
            env=env,
            stdout=log,
            stderr=log,
        )
        try:
            with httpx2.Client(
                base_url=f"http://{at}", headers=HEADERS, timeout=60.0, trust_env=False
            ) as api:
                _await(api, process, log)
                yield api
        finally:
            process.terminate()
            process.wait()
            log.close()


def _await(api: httpx2.Client, process: subprocess.Popen[bytes], log: Any) -> None:
    until_s = time.monotonic() + START_S
    while True:
        try:
            if api.get("/resource_classes").status_code == 200:
                return
        except httpx2.TransportError:
            pass
        if process.poll() is not None or time.monotonic() > until_s:
            log.seek(0)
            raise PeerUnavailable(f"OpenStack Placement did not start: {log.read()[-800:]}")
        time.sleep(0.2)
