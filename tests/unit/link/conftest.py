"""A server that answers, and a link to it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from evenkeel.adapters.http.link import HttpLink
from link_server import TOKEN, Server


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.http.shutdown()
    server.http.server_close()
    thread.join()


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "agent.token"
    path.write_text(TOKEN + "\n")
    return path


@pytest.fixture
def link(server: Server, token_file: Path) -> Iterator[HttpLink]:
    link = HttpLink(server.url, "rack 1/h1", token_file, None, timeout_s=2.0)
    yield link
    link.close()
