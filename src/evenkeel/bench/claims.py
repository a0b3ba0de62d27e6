"""Real controllers are killed with kill -9 while clients claim: is anything sold twice, or lost?

The clients speak to the API; what they were told is held at the end against what an audit reads
in the database that shares no code with the calendar. The audit also looks again and again during
the run, and after each kill before the controller is back.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from evenkeel.adapters.store.store import SqlStore
from evenkeel.bench.claims_audit import Audit, audit
from evenkeel.bench.claims_clients import Noted, Sizes, run_client
from evenkeel.bench.postgresql import free_port, postgresql, url_of
from evenkeel.domain.errors import ControllerUnavailable
from evenkeel.domain.host import Host, Mode
from evenkeel.domain.ids import HostId
from evenkeel.envelope import Result
from evenkeel.records import HostRecord

N_HOSTS: Final = 16
CPUS, MEMORY_MIB, NET_MBIT_S, IOPS = 16, 65_536.0, 10_000.0, 20_000.0
SHARDS: Final = {"cpu": 320, "memory": 1024, "net": 10_000, "iops": 2000}
AUDIT_EVERY_S: Final = 3.0
START_S: Final = 60.0
START_TRIES: Final = 3
OnStep = Callable[[str], None]


def bench_claims(
    minutes: float,
    clients: int,
    kills: int,
    controllers: int,
    database: str,
    seed: int,
    report: OnStep,
) -> Result:
    """`database`: sqlite, postgresql (a server of our own), or a URL whose database is empty.

    Raises ConfigInvalid, StoreUnavailable, ControllerUnavailable.
    """
    began_s = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="evenkeel-claims-") as directory, ExitStack() as stack:
        report("opening the database")
        url = database
        if database == "sqlite":
            url = f"sqlite:///{directory}/controller.db"
        elif database == "postgresql":
            url = url_of(stack.enter_context(postgresql()))
        _fill(url)
        fleet = stack.enter_context(_controllers(controllers, Path(directory), url, report))
        seen = asyncio.run(_run(fleet, url, minutes * 60, clients, kills, seed, report))
        report("auditing")
        last = audit(url)
    lost = _lost(seen.noted, last)
    seen.look(last)
    counts = seen.noted.counts
    took = np.array(seen.noted.took_ms or [float("nan")])
    metrics: dict[str, float] = {
        "overcommitted": len(seen.overcommitted),
        "too_risky": len(seen.too_risky),
        "lost": len(lost),
        "unknown": len(set(last.claims) - set(seen.noted.claims)),
        "claims": counts["claims"],
        "changes": counts["changes"],
        "releases": counts["releases"],
        "splits": counts["splits"],
        "merges": counts["merges"],
        "refused": sum(n for name, n in counts.items() if name.startswith("refused.")),
        "asked_again": counts["asked_again"],
        "in_doubt": len(seen.noted.doubtful),
        "kills": seen.n_kills,
        "failed_starts": seen.n_failed_starts,
        "audits": seen.n_audits,
        "fullest_pct": 100 * seen.fullest,
        "answers_per_s": len(took) / (minutes * 60),
        "p50_ms": float(np.median(took)),
        "p99_ms": float(np.quantile(took, 0.99)),
    }
    return Result(
        name="claims",
        seconds=time.perf_counter() - began_s,
        seed=seed,
        metrics=metrics,
        detail={
            "database": database.partition(":")[0],
            "clients": clients,
            "controllers": controllers,
            "hosts": N_HOSTS,
            "counts": dict(sorted(counts.items())),
            "lots": last.n_lots,
            "overcommitted": sorted(seen.overcommitted)[:20],
            "too_risky": sorted(seen.too_risky)[:20],
            "lost": lost[:20],
        },
    )


@dataclass(slots=True)
class _Seen:
    noted: Noted = field(default_factory=Noted)
    overcommitted: set[str] = field(default_factory=set)
    too_risky: set[str] = field(default_factory=set)
    n_audits: int = 0
    n_kills: int = 0
    n_failed_starts: int = 0
    fullest: float = 0.0
    stop: threading.Event = field(default_factory=threading.Event)

    def look(self, found: Audit) -> None:
        self.n_audits += 1
        self.overcommitted.update(found.overcommitted)
        self.too_risky.update(found.too_risky)
        self.fullest = max(self.fullest, found.fullest)


def _fill(url: str) -> None:
    store = SqlStore(url)
    now_s = time.time()
    with store.write() as session:
        for k in range(N_HOSTS):
            host = Host(HostId(f"h{k:02}"), tuple(range(CPUS)), MEMORY_MIB, NET_MBIT_S, IOPS)
            session.inventory.put_host(HostRecord(host, "bench", 1, now_s, now_s, Mode.OBSERVE))
    store.close()


class _Process:
    """A controller that is killed and started again on the same port."""

    def __init__(self, directory: Path, database_url: str) -> None:
        self._directory = directory
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        clean = {key: value for key, value in os.environ.items() if "EVENKEEL" not in key}
        self._environ = clean | {
            "EVENKEEL_CONTROLLER__LISTEN": f"127.0.0.1:{self._port}",
            "EVENKEEL_CONTROLLER__STATE_DIR": str(directory),
            "EVENKEEL_CONTROLLER__DATABASE_URL": database_url,
            "EVENKEEL_FORECAST__ENABLED": "false",
        }
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> int:
        """Returns when it listens: how often it would not. Raises ControllerUnavailable."""
        for failed in range(START_TRIES):
            if self._listens():
                return failed
            self.kill()
        log_text = (self._directory / f"log-{self._port}").read_text()
        raise ControllerUnavailable(f"the controller does not start: {log_text[-500:]}")

    def _listens(self) -> bool:
        with (self._directory / f"log-{self._port}").open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "evenkeel", "controller"],
                env=self._environ,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._process.stdout is not None
        return "://" in self._process.stdout.readline()

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            if self._process.stdout is not None:
                self._process.stdout.close()
            self._process = None

    def token(self) -> str:
        """Raises ControllerUnavailable."""
        path = self._directory / "admin.token"
        until_s = time.monotonic() + START_S
        while time.monotonic() < until_s:
            if path.exists() and path.read_text().strip():
                return path.read_text().strip()
            time.sleep(0.05)
        raise ControllerUnavailable("the controller wrote no token")


@contextmanager
def _controllers(
    n: int, directory: Path, database_url: str, report: OnStep
) -> Iterator[list[_Process]]:
    fleet: list[_Process] = []
    try:
        for k in range(n):
            report(f"starting controller {k + 1}")
            fleet.append(_Process(directory, database_url))
            fleet[-1].start()
        yield fleet
    finally:
        for one in fleet:
            one.kill()


async def _run(
    fleet: list[_Process],
    url: str,
    seconds: float,
    n_clients: int,
    n_kills: int,
    seed: int,
    report: OnStep,
) -> _Seen:
    seen = _Seen()
    sizes = Sizes([f"h{k:02}" for k in range(N_HOSTS)], SHARDS)
    token, urls = fleet[0].token(), [one.url for one in fleet]
    began_s = time.monotonic()
    until_s = began_s + seconds
    work = [run_client(k, urls, token, sizes, until_s, seen.noted, seed) for k in range(n_clients)]
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(2) as pool:
        others = [
            loop.run_in_executor(pool, _kill, fleet, url, began_s, seconds, n_kills, seed, seen),
            loop.run_in_executor(pool, _watch, url, until_s, seen, report),
        ]
        try:
            await asyncio.gather(*work, *others)
        finally:
            seen.stop.set()
    return seen


def _kill(
    fleet: list[_Process],
    url: str,
    began_s: float,
    seconds: float,
    n_kills: int,
    seed: int,
    seen: _Seen,
) -> None:
    """At random times; the database is looked at before the controller is back."""
    rng = random.Random(seed)  # noqa: S311
    for after in sorted(rng.uniform(0.02, 0.95) for _ in range(n_kills)):
        if seen.stop.wait(max(0.0, began_s + after * seconds - time.monotonic())):
            return
        one = rng.choice(fleet)
        one.kill()
        seen.n_kills += 1
        found = audit(url)
        seen.n_failed_starts += one.start()
        seen.look(found)


def _watch(url: str, until_s: float, seen: _Seen, report: OnStep) -> None:
    while time.monotonic() < until_s and not seen.stop.wait(AUDIT_EVERY_S):
        seen.look(audit(url))
        counts = seen.noted.counts
        report(
            f"{counts['claims']:,} claims, {counts['changes']:,} changes, {seen.n_kills} kills, "
            f"{len(seen.overcommitted)} overcommitted"
        )


def _lost(noted: Noted, last: Audit) -> list[str]:
    """Claims that are not in the database as they were answered last."""
    lost = []
    for claim_id, told in noted.claims.items():
        found = last.claims.get(claim_id)
        if found is None:
            lost.append(f"{claim_id}: not there")
            continue
        same = all(found[name] == told[name] for name in ("version", "end_s", "released_at_s"))
        # It was changed, the answer was lost, and by the new end it was too late to ask again.
        done = noted.doubtful.get(claim_id, {}).get("end_s") == found["end_s"]
        if done and found["version"] == told["version"] + 1:
            continue
        lots = {tuple(lot) for lot in found["lots"]}
        if not same or not {_as_stored(lot) for lot in told["lots"]} <= lots:
            lost.append(f"{claim_id}: {found} instead of {told}")
    return lost


def _as_stored(lot: dict[str, Any]) -> tuple[Any, ...]:
    names = ("host", "resource", "performance", "n_shards", "start_s", "end_s")
    return tuple(lot[name] for name in names)
