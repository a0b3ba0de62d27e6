"""Our API over HTTP, asked as the peer is: one client, one VM after another; then as ours can be.

The controller runs as a process of its own, with the same hosts, on a new SQLite file.
"""

from __future__ import annotations

import multiprocessing
import socket
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import httpx2
import numpy as np

from evenkeel.bench.placement import open_desk, open_store
from evenkeel.bench.placement_fleet import make_allocator, make_hosts
from evenkeel.domain.placement import Newcomer
from evenkeel.domain.resources import AXIS

CLIENTS: Final = 8
AT_ONCE: Final = 50
START_S: Final = 60.0


def over_http(
    n_hosts: int, seed: int, newcomers: Sequence[Newcomer], n_alone: int
) -> dict[str, float]:
    """Placements a second: of one client one by one, of several, and in batches."""
    with served(n_hosts, seed) as (url, token):
        headers = {"Authorization": f"Bearer {token}"}
        with httpx2.Client(base_url=url, headers=headers, timeout=60, trust_env=False) as api:
            _post(api, newcomers[:1])
            alone, rest = newcomers[1 : n_alone + 1], newcomers[n_alone + 1 :]
            took = []
            for vm in alone:
                asked_s = time.perf_counter()
                _post(api, [vm])
                took.append(time.perf_counter() - asked_s)
            many, batched = rest[: len(rest) // 2], rest[len(rest) // 2 :]
            start_s = time.perf_counter()
            with ThreadPoolExecutor(CLIENTS) as clients:
                list(clients.map(lambda vm: _post(api, [vm]), many))
            many_s = time.perf_counter() - start_s
            start_s = time.perf_counter()
            for first in range(0, len(batched), AT_ONCE):
                _post(api, batched[first : first + AT_ONCE])
            batched_s = time.perf_counter() - start_s
    ms = 1e3 * np.array(took)
    return {
        "http_placements_per_s": 1e3 / float(ms.mean()),
        "http_p99_ms": float(np.percentile(ms, 99)),
        "http_clients_placements_per_s": len(many) / many_s,
        "http_batch_placements_per_s": len(batched) / batched_s,
    }


def _post(api: httpx2.Client, vms: Sequence[Newcomer]) -> None:
    answer = api.post("/v1/placements", json={"vms": [_body(vm) for vm in vms]})
    answer.raise_for_status()
    told = answer.json()
    assert not told["n_refused"], told


def _body(vm: Newcomer) -> dict[str, Any]:
    return {
        "vm": vm.vm,
        "vcpus": vm.n_vcpus,
        "memory_mib": vm.memory_mib,
        "tenant": vm.tenant,
        "wants": {r.value: x for r, x in zip(AXIS, vm.mean, strict=True)},
        "deviation": {r.value: x for r, x in zip(AXIS, vm.deviation, strict=True)},
    }


@contextmanager
def served(n_hosts: int, seed: int) -> Iterator[tuple[str, str]]:
    """(URL, administrator's token) of a controller of its own."""
    with (
        TemporaryDirectory(prefix="evenkeel-placement-") as directory,
        socket.create_server(("127.0.0.1", 0), backlog=128) as listener,
    ):
        # As the controller does: connections inherit it, and asyncio would not set it.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        context = multiprocessing.get_context("fork")
        process = context.Process(
            target=_serve, args=(listener, directory, n_hosts, seed), daemon=True
        )
        process.start()
        try:
            token = _await(Path(directory) / "token")
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", token
        finally:
            process.terminate()
            process.join()


def _await(path: Path) -> str:
    until_s = time.monotonic() + START_S
    while not path.exists():
        if time.monotonic() > until_s:
            raise TimeoutError("the controller did not start")
        time.sleep(0.05)
    return path.read_text()


def _serve(listener: socket.socket, directory: str, n_hosts: int, seed: int) -> None:
    import uvicorn

    from evenkeel.adapters.clock import SystemClock
    from evenkeel.api.app import create_app
    from evenkeel.config import ControllerConfig
    from evenkeel.controller.placing import PlacementService
    from evenkeel.runtime.interpreter import settle
    from evenkeel.wiring.controller import assemble

    layout = make_hosts(n_hosts, np.random.default_rng(seed))
    with open_store(layout) as store, open_desk(store) as desk:
        allocator = make_allocator(layout)
        services = assemble(store, SystemClock(), b"k" * 32, ControllerConfig(state_dir=directory))
        placing = PlacementService(lambda: allocator, desk, SystemClock())
        services = replace(services, placements=placing, claims=desk)
        token = services.tokens.create("admin", "bench", who="bench").secret
        partial = Path(directory) / "token.partial"
        partial.write_text(token)
        partial.rename(Path(directory) / "token")
        config = uvicorn.Config(create_app(services), log_config=None, access_log=False)
        settle()
        uvicorn.Server(config).run(sockets=[listener])
