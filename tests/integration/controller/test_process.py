"""The controller as a process: killed, filled up, started twice, stopped."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from tests.batches import a_batch, a_mitigation, an_event
from tests.controller_process import Controller, running

from evenkeel.domain.reliability import Tally
from evenkeel.domain.resources import Resource
from evenkeel.wire import Batch

pytestmark = pytest.mark.integration

N_HOSTS = 6
N_KILLS = 3
ACKNOWLEDGED_BEFORE_KILL = 60


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/controller.db"
    return str(request.getfixturevalue("postgresql_url"))


def batch_of(host: str, seq: int) -> Batch:
    return a_batch(
        seq,
        host,
        (f"vm-{host}",),
        events=(an_event(f"told_{host}_{seq}", vm=None),),
        mitigations=(a_mitigation(f"m{seq}", host=host),),
        reliability=(Tally(Resource.CPU, 5.0, (3,), (7,), (100_000,), (120_000,), (900,)),),
    )


class Stream:
    """One host that posts batch after batch until its controller is gone."""

    def __init__(self, host: str, token: str) -> None:
        self.host, self.token = host, token
        self.acknowledged = 0

    def run(self, url: str, progress: threading.Semaphore) -> None:
        with httpx2.Client(base_url=url, timeout=30.0) as client:
            link = Controller.__new__(Controller)
            link.client = client
            while True:
                try:
                    reply = link.deliver(batch_of(self.host, self.acknowledged + 1), self.token)
                except httpx2.TransportError:
                    return
                assert reply.accepted or reply.duplicate
                self.acknowledged += 1
                progress.release()


def test_nothing_acknowledged_is_lost_by_kill_9(tmp_path: Path, database_url: str) -> None:
    with running(tmp_path, database_url) as controller:
        hosts = [f"h{k}" for k in range(N_HOSTS)]
        streams = [Stream(host, controller.token("agent", host)) for host in hosts]
        controller.kill()
    for _ in range(N_KILLS):
        with running(tmp_path, database_url) as controller:
            progress = threading.Semaphore(0)
            threads = [
                threading.Thread(target=stream.run, args=(controller.url, progress))
                for stream in streams
            ]
            for thread in threads:
                thread.start()
            for _ in range(ACKNOWLEDGED_BEFORE_KILL):
                assert progress.acquire(timeout=60), f"ended: {controller.process.poll()}"
            controller.kill()
            for thread in threads:
                thread.join(timeout=60)
                assert not thread.is_alive()
    with running(tmp_path, database_url) as controller:
        total = sum(stream.acknowledged for stream in streams)
        assert total >= N_KILLS * ACKNOWLEDGED_BEFORE_KILL
        for stream in streams:
            vm = f"id-vm-{stream.host}"
            series = controller.get(f"/v1/vms/{vm}/series?since_s=0&until_s=4e9&max_points=5000")
            taken = series.json()["at_s"]
            assert len(taken) == len(set(taken)) >= stream.acknowledged
            counted = controller.get(f"/v1/reliability?host={stream.host}").json()["curves"]
            assert [curve["n"] for curve in counted] == [7 * len(taken)]
            for seq in (1, stream.acknowledged):
                assert controller.deliver(batch_of(stream.host, seq), stream.token).duplicate
            events = all_items(controller, f"/v1/events?host={stream.host}&limit=1000")
            told = [e["kind"] for e in events if e["kind"].startswith("told_")]
            assert len(told) == len(set(told))
            assert {f"told_{stream.host}_{s}" for s in range(1, stream.acknowledged + 1)} <= set(
                told
            )
            mitigations = all_items(controller, f"/v1/mitigations?host={stream.host}&limit=1000")
            assert len(mitigations) >= stream.acknowledged
        assert len(controller.get("/v1/hosts").json()["items"]) == N_HOSTS
        assert controller.stop()[0] == 0


def all_items(controller: Controller, path: str) -> list[dict[str, object]]:
    items: list[dict[str, object]] = []
    cursor = ""
    while True:
        page = controller.get(path + cursor).json()
        items += page["items"]
        if page["next"] is None:
            return items
        cursor = f"&cursor={page['next']}"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 3 MiB."""
    path = tmp_path / "disk"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", path], check=True)
    yield path
    subprocess.run(["umount", "-l", path], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a tmpfs, which takes root")
def test_a_full_disk_acknowledges_nothing_and_recovers(tmp_path: Path, disk: Path) -> None:
    with running(tmp_path, f"sqlite:///{disk}/controller.db") as controller:
        token = controller.token("agent", "h1")
        seq = 0
        while True:
            batch = a_batch(seq + 1, events=tuple(an_event("x" * 200, vm=None) for _ in range(100)))
            answer = controller.post(batch, token)
            if answer.status_code != 200:
                break
            seq += 1
            assert seq < 2000, "the disk never filled up"
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "store_unavailable")
        assert controller.get("/healthz").status_code == 200  # it still reads
        assert controller.get("/v1/hosts/h1").json()["n_vms"] == 2
        subprocess.run(["mount", "-o", "remount,size=32m", disk], check=True)
        for known in range(1, seq + 1):
            assert controller.deliver(a_batch(known), token).duplicate
        assert controller.deliver(batch, token).accepted
        code, log = controller.stop()
        assert code == 0
        assert "store_unavailable" in log
        assert token not in log
        assert controller.admin not in log


def test_two_that_start_at_once_both_serve(tmp_path: Path, database_url: str) -> None:
    started: list[Controller] = []

    def start() -> None:
        started.append(Controller(tmp_path, database_url))

    threads = [threading.Thread(target=start) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    try:
        assert len(started) == 2
        first, second = started
        token = first.token("agent", "h1")
        assert first.deliver(a_batch(1), token).accepted
        assert second.deliver(a_batch(1), token).duplicate
        (admin,) = [t for t in second.get("/v1/tokens").json()["items"] if t["role"] == "admin"]
        assert admin["subject"] == "bootstrap"
    finally:
        for controller in started:
            controller.kill()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_cleanly(tmp_path: Path, how: signal.Signals) -> None:
    with running(tmp_path, f"sqlite:///{tmp_path}/c.db") as controller:
        assert controller.get("/healthz").status_code == 200
        controller.process.send_signal(how)
        controller.process.communicate(timeout=30)
        assert controller.process.returncode == 0
    assert oct((tmp_path / "admin.token").stat().st_mode & 0o777) == "0o600"
    assert oct((tmp_path / "controller.key").stat().st_mode & 0o777) == "0o600"


def test_answers_do_not_wait_for_delayed_acknowledgements(tmp_path: Path) -> None:
    with running(tmp_path, f"sqlite:///{tmp_path}/c.db") as controller:
        token = controller.token("agent", "h1")
        took_s = []
        for seq in range(1, 31):
            began_s = time.monotonic()
            controller.deliver(a_batch(seq), token)
            took_s.append(time.monotonic() - began_s)
    assert min(took_s) < 0.03  # the kernel's delay is 0.04 s, every time


def test_a_restart_keeps_the_admin_token_and_a_new_database_takes_it_over(tmp_path: Path) -> None:
    with running(tmp_path, f"sqlite:///{tmp_path}/c.db") as controller:
        first = controller.admin
    for name in ("c.db", "other.db"):
        with running(tmp_path, f"sqlite:///{tmp_path}/{name}") as controller:
            assert controller.admin == first
            assert controller.get("/v1/status").status_code == 200


def test_it_speaks_tls(tmp_path: Path) -> None:
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    files = {"tls_cert_file": str(certificate), "tls_key_file": str(key)}
    with running(tmp_path, f"sqlite:///{tmp_path}/c.db", **files) as controller:
        assert controller.url.startswith("https://")
        context = ssl.create_default_context(cafile=str(certificate))
        with httpx2.Client(verify=context) as client:
            assert client.get(f"{controller.url}/healthz").json()["status"] == "ok"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"listen": "nowhere"}, "config_invalid"),
        ({"database_url": "mysql://x"}, "config_invalid"),
        ({"database_url": "sqlite:////proc/nope/c.db"}, "config_invalid"),
        ({"state_dir": "/proc/nope"}, "config_invalid"),
        ({"log_level": "loud"}, "config_invalid"),
        ({"tls_cert_file": "/nope.pem", "tls_key_file": "/nope.key"}, "config_invalid"),
    ],
)
def test_what_it_cannot_work_with_is_said_clearly(
    tmp_path: Path, settings: dict[str, str], words: str
) -> None:
    url = f"sqlite:///{tmp_path}/c.db"
    fields = {"listen": "127.0.0.1:0", "state_dir": str(tmp_path), "database_url": url} | settings
    environ = dict(os.environ) | {
        f"EVENKEEL_CONTROLLER__{name.upper()}": value for name, value in fields.items()
    }
    done = subprocess.run(
        [sys.executable, "-m", "evenkeel", "controller"],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_tokens_by_command_line(tmp_path: Path) -> None:
    with running(tmp_path, f"sqlite:///{tmp_path}/c.db") as controller:

        def evenkeel(*args: str, token: str = controller.admin) -> subprocess.CompletedProcess[str]:
            environ = dict(os.environ) | {"EVENKEEL_URL": controller.url, "EVENKEEL_TOKEN": token}
            return subprocess.run(
                [sys.executable, "-m", "evenkeel", "token", *args],
                env=environ,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )

        made = evenkeel("create", "agent", "h1")
        token = made.stdout.strip()
        assert controller.deliver(a_batch(1), token).accepted
        listed = evenkeel("list", "--json")
        (agent,) = [t for t in json.loads(listed.stdout)["items"] if t["role"] == "agent"]
        assert evenkeel("revoke", agent["id"]).returncode == 0
        assert controller.post(a_batch(2), token).json()["error"]["code"] == "token_revoked"
        refused = evenkeel("list", token="ek_wrong")
        assert refused.returncode == 4
        assert "unauthenticated" in refused.stderr
