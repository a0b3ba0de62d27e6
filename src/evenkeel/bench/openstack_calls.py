"""How OpenStack Placement is asked, as Nova does it: candidates, then an allocation.

Also run as a script by the interpreter of its own environment, to ask it in process: so this
imports nothing but the standard library, and there its application.
"""

from __future__ import annotations

import io
import json
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypedDict
from urllib.parse import quote, urlencode

CPU_RATIO = 4.0
"""vCPUs that Nova sells for each CPU, so that theirs takes all the VMs that ours takes."""
HEADERS = {"X-Auth-Token": "admin", "OpenStack-API-Version": "placement 1.36"}
OVER_HTTP = "openstack-placement"
IN_PROCESS = "openstack-placement in process"
Ask = Callable[[str, str, object], tuple[int, bytes]]
"""Method, path and body (None: nothing); status and body of the answer."""


class Host(TypedDict):
    name: str
    cpus: int
    memory_mib: int


class Vm(TypedDict):
    name: str
    tenant: str
    vcpus: int
    memory_mib: int


class Refusal(Exception):
    """It answered something else than was expected."""


def add_host(ask: Ask, host: Host) -> None:
    name = str(uuid.uuid5(uuid.NAMESPACE_OID, host["name"]))
    _must(ask("POST", "/resource_providers", {"name": host["name"], "uuid": name}))
    inventories = {
        "VCPU": {"total": host["cpus"], "allocation_ratio": CPU_RATIO},
        "MEMORY_MB": {"total": host["memory_mib"], "allocation_ratio": 1.0},
    }
    body = {"resource_provider_generation": 0, "inventories": inventories}
    _must(ask("PUT", f"/resource_providers/{name}/inventories", body))


def place(ask: Ask, vm: Vm) -> bool:
    """False: no host takes it."""
    wanted = f"VCPU:{vm['vcpus']},MEMORY_MB:{vm['memory_mib']}"
    query = urlencode({"resources": wanted, "limit": 1})
    found = json.loads(_must(ask("GET", f"/allocation_candidates?{query}", None)))
    candidates = found["allocation_requests"]
    if not candidates:
        return False
    body = {
        "allocations": candidates[0]["allocations"],
        "consumer_generation": None,
        "project_id": vm["tenant"],
        "user_id": vm["tenant"],
    }
    _must(ask("PUT", f"/allocations/{uuid.uuid5(uuid.NAMESPACE_OID, vm['name'])}", body))
    return True


def timed(ask: Ask, vms: Sequence[Vm]) -> dict[str, float]:
    """Placements a second and their time, one VM after another: several clients at once make its
    SQLite answer "database is locked"."""
    took_s, placed = [], 0
    start_s = time.perf_counter()
    for vm in vms:
        asked_s = time.perf_counter()
        placed += place(ask, vm)
        took_s.append(time.perf_counter() - asked_s)
    wall_s = time.perf_counter() - start_s
    took_s.sort()
    return {
        "placements_per_s": placed / wall_s,
        "p50_ms": 1e3 * took_s[len(took_s) // 2],
        "p99_ms": 1e3 * took_s[int(0.99 * (len(took_s) - 1))],
        "vms": float(len(vms)),
        "refused": float(len(vms) - placed),
    }


def through(application: Callable[..., Iterable[bytes]]) -> Ask:
    """Calls a WSGI application itself."""

    def ask(method: str, path: str, body: object) -> tuple[int, bytes]:
        path, _, query = path.partition("?")
        sent = b"" if body is None else json.dumps(body).encode()
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": quote(path),
            "QUERY_STRING": query,
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "CONTENT_TYPE": "application/json",
            "CONTENT_LENGTH": str(len(sent)),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(sent),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": False,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        for name, value in HEADERS.items():
            environ["HTTP_" + name.upper().replace("-", "_")] = value
        statuses: list[int] = []

        def start(status: str, *_: object) -> Callable[[bytes], None]:
            statuses.append(int(status.split()[0]))
            return lambda _: None

        told = application(environ, start)
        answer = b"".join(told)
        close = getattr(told, "close", None)
        if close is not None:
            close()
        return statuses[-1], answer

    return ask


def _must(answer: tuple[int, bytes]) -> bytes:
    status, body = answer
    if status >= 300:
        raise Refusal(f"{status}: {body[:300].decode(errors='replace')}")
    return body


def main() -> None:
    """Hosts and VMs as JSON on stdin; the figures as JSON in the last line of stdout."""
    # Only its own environment has it.
    from placement.wsgi import init_application  # type: ignore[import-not-found]

    asked = json.load(sys.stdin)
    ask = through(init_application())
    for host in asked["hosts"]:
        add_host(ask, host)
    told = json.dumps(timed(ask, asked["vms"]))
    sys.stdout.write(f"\n{told}\n")


if __name__ == "__main__":
    main()
