"""What a guest's counters say, against a server that stands in for the guest."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from evenkeel.domain.errors import LabError
from evenkeel.lab import guests
from evenkeel.lab.guests import Guest
from evenkeel.lab.image import module_dependencies


class Handler(BaseHTTPRequestHandler):
    seen: list[str]

    def do_GET(self) -> None:
        self.seen.append(self.path)
        found = self.path.startswith(("/stats", "/set"))
        body = json.dumps({"ticks": 1000 * len(self.seen)}).encode()
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing: the tests look at `seen`."""


@pytest.fixture
def guest(monkeypatch: pytest.MonkeyPatch) -> Iterator[Guest]:
    Handler.seen = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        monkeypatch.setattr(guests, "HTTP_PORT", server.server_port)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Guest("g1", "h1", 1, "127.0.0.1", Path("/none"), lambda _: None, lambda _: None)
        server.shutdown()
        thread.join()


def test_the_rate_is_work_over_our_own_clock(guest: Guest) -> None:
    assert 0 < guest.rate(0.1) <= 1000 / 0.1


def test_a_page_that_is_not_there_is_an_error(guest: Guest) -> None:
    with pytest.raises(LabError, match="404"):
        guest.get("/nothing")


def test_knobs_go_into_the_query_and_unknown_ones_are_refused(guest: Guest) -> None:
    guest.set_load(cpu=100, thr=2)
    assert Handler.seen == ["/set?cpu=100&thr=2"]
    with pytest.raises(LabError, match="speed"):
        guest.set_load(speed=1)


def test_a_silent_guest_is_said_to_be_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guests, "HTTP_PORT", 1)
    gone = Guest("g1", "h1", 1, "127.0.0.1", Path("/none"), lambda _: None, lambda _: None)
    assert not gone.answers()
    with pytest.raises(LabError, match="does not answer after"):
        gone.wait_ready(timeout_s=0.1)


@pytest.mark.parametrize(
    ("module", "names"),
    [
        (b"\x7fELF\0license=GPL\0depends=virtio,virtio-ring\0name=x\0", ["virtio", "virtio_ring"]),
        (b"\x7fELF\0depends=\0", []),
        (b"\x7fELF", []),
    ],
)
def test_dependencies_are_read_from_the_module(module: bytes, names: list[str]) -> None:
    assert module_dependencies(module) == names
