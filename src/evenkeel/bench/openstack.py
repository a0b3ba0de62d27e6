"""The real OpenStack Placement beside ours: same hosts, same arrivals, durable on both sides.

Installed from PyPI into a virtual environment of its own, under the user's cache directory, at the
first use; it says so before. It runs as its own process (waitress, SQLite, no authentication) and
is asked over HTTP as Nova does: candidates, then an allocation. It is favoured where there is a
choice: one candidate is asked for, of vCPUs and memory alone, and setting up is not timed.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
import uuid
import venv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import httpx2
import numpy as np

from evenkeel.domain.errors import EvenkeelError
from evenkeel.domain.placement import Newcomer
from evenkeel.domain.resources import CPU_AXIS, MEMORY_AXIS
from evenkeel.placement.slices import Layout

PACKAGES: Final = ("openstack-placement==16.0.0", "waitress>=3")
CPU_RATIO: Final = 4.0
"""vCPUs that Nova sells for each CPU, so that theirs takes all the VMs that ours takes."""
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
Peer = Callable[[Layout, Sequence[Newcomer]], dict[str, float]]


def on_openstack(n_vms: int, report: OnStep) -> Peer:
    """Places the first `n_vms`. Raises PeerUnavailable when called."""

    def place(layout: Layout, newcomers: Sequence[Newcomer]) -> dict[str, float]:
        python = installed(report)
        with running(python, report) as api:
            _add_hosts(api, layout, report)
            return _timed(api, newcomers[:n_vms], report)

    return place


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
def running(python: Path, report: OnStep) -> Iterator[httpx2.Client]:
    """A client of a fresh service."""
    report("starting OpenStack Placement")
    with TemporaryDirectory(prefix="evenkeel-peer-") as directory:
        config = Path(directory) / "placement.conf"
        config.write_text(_CONFIG.format(database=Path(directory) / "placement.db"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            at = f"127.0.0.1:{free.getsockname()[1]}"
        log = (Path(directory) / "log").open("w+")
        process = subprocess.Popen(
            [python, "-c", _SERVE, at, str(THREADS)],
            env={**os.environ, "OS_PLACEMENT_CONFIG_DIR": directory},
            stdout=log,
            stderr=log,
        )
        headers = {"X-Auth-Token": "admin", "OpenStack-API-Version": "placement 1.36"}
        try:
            with httpx2.Client(
                base_url=f"http://{at}", headers=headers, timeout=60.0, trust_env=False
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


def _add_hosts(api: httpx2.Client, layout: Layout, report: OnStep) -> None:
    for h, (host, capacity) in enumerate(
        zip(layout.hosts.ids, layout.hosts.capacity.tolist(), strict=True)
    ):
        if h % 100 == 0:
            report(f"OpenStack Placement: {h:,} hosts added")
        name = str(uuid.uuid5(uuid.NAMESPACE_OID, host))
        _must(api.post("/resource_providers", json={"name": host, "uuid": name}))
        inventories = {
            "VCPU": {"total": int(capacity[CPU_AXIS]), "allocation_ratio": CPU_RATIO},
            "MEMORY_MB": {"total": int(capacity[MEMORY_AXIS]), "allocation_ratio": 1.0},
        }
        body = {"resource_provider_generation": 0, "inventories": inventories}
        _must(api.put(f"/resource_providers/{name}/inventories", json=body))


def _timed(api: httpx2.Client, newcomers: Sequence[Newcomer], report: OnStep) -> dict[str, float]:
    took, placed = [], 0
    start_s = time.perf_counter()
    for i, vm in enumerate(newcomers):
        if i % 50 == 0:
            report(f"OpenStack Placement: {i:,} VMs placed")
        asked_s = time.perf_counter()
        placed += _place(api, vm)
        took.append(time.perf_counter() - asked_s)
    wall_s = time.perf_counter() - start_s
    return {
        "placements_per_s": placed / wall_s,
        "p50_ms": 1e3 * float(np.percentile(took, 50)),
        "p99_ms": 1e3 * float(np.percentile(took, 99)),
        "vms": float(len(newcomers)),
        "refused": float(len(newcomers) - placed),
    }


def _place(api: httpx2.Client, vm: Newcomer) -> bool:
    wanted = {"VCPU": vm.n_vcpus, "MEMORY_MB": int(vm.memory_mib)}
    query = ",".join(f"{name}:{amount}" for name, amount in wanted.items())
    found = _must(api.get("/allocation_candidates", params={"resources": query, "limit": 1}))
    candidates = found.json()["allocation_requests"]
    if not candidates:
        return False
    allocations = candidates[0]["allocations"]
    body = {
        "allocations": allocations,
        "consumer_generation": None,
        "project_id": vm.tenant,
        "user_id": vm.tenant,
    }
    _must(api.put(f"/allocations/{uuid.uuid5(uuid.NAMESPACE_OID, vm.vm)}", json=body))
    return True


def _must(answer: httpx2.Response) -> httpx2.Response:
    if answer.status_code >= 300:
        raise PeerUnavailable(
            f"OpenStack Placement answered {answer.status_code}: {answer.text[:300]}"
        )
    return answer
