"""Our API over HTTP, asked as the peer is: one client, one VM after another; then as ours can be.

The controller runs as a process of its own, with the same hosts, on a new SQLite file.
"""

from __future__ import annotations

import http.client
import json
import multiprocessing
import socket
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np

from evenkeel.bench.placement import open_desk, open_store
from evenkeel.bench.placement_fleet import make_allocator, make_hosts
from evenkeel.domain.placement import Newcomer
from evenkeel.domain.resources import AXIS

CLIENTS: Final = 8
AT_ONCE: Final = 50
START_S: Final = 60.0


class Client:
    """One connection that is kept. The standard library's: a tenth of a millisecond a question, so
    that what is measured is the service."""

    def __init__(self, port: int, token: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def close(self) -> None:
        self._connection.close()

    def place(self, vms: Sequence[Newcomer]) -> None:
        body = json.dumps({"vms": [_body(vm) for vm in vms]})
        self._connection.request("POST", "/v1/placements", body, self._headers)
        answer = self._connection.getresponse()
        told = answer.read()
        assert answer.status == 200, told
        assert not json.loads(told)["n_refused"], told

    def place_all(self, vms: Sequence[Newcomer]) -> list[float]:
        """One by one; seconds that each took."""
        took = []
        for vm in vms:
            asked_s = time.perf_counter()
            self.place([vm])
            took.append(time.perf_counter() - asked_s)
        return took


def over_http(
    n_hosts: int, seed: int, newcomers: Sequence[Newcomer], n_alone: int
) -> dict[str, float]:
    """Placements a second: of one client one by one, of several, and in batches."""
    with served(n_hosts, seed) as (port, token), closing(Client(port, token)) as client:

        def place_all(vms: Sequence[Newcomer]) -> None:
            with closing(Client(port, token)) as one:
                one.place_all(vms)

        client.place(newcomers[:1])
        alone, rest = newcomers[1 : n_alone + 1], newcomers[n_alone + 1 :]
        ms = 1e3 * np.array(client.place_all(alone))
        many, batched = rest[: len(rest) // 2], rest[len(rest) // 2 :]
        start_s = time.perf_counter()
        with ThreadPoolExecutor(CLIENTS) as clients:
            list(clients.map(place_all, (many[k::CLIENTS] for k in range(CLIENTS))))
        many_s = time.perf_counter() - start_s
        start_s = time.perf_counter()
        for first in range(0, len(batched), AT_ONCE):
            client.place(batched[first : first + AT_ONCE])
        batched_s = time.perf_counter() - start_s
    return {
        "http_placements_per_s": 1e3 / float(ms.mean()),
        "http_p99_ms": float(np.percentile(ms, 99)),
        "http_clients_placements_per_s": len(many) / many_s,
        "http_batch_placements_per_s": len(batched) / batched_s,
    }


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
def served(n_hosts: int, seed: int) -> Iterator[tuple[int, str]]:
    """(port, administrator's token) of a controller of its own."""
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
            yield listener.getsockname()[1], token
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
