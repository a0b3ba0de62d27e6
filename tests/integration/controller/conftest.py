"""One PostgreSQL server for all tests here; each test gets a database of its own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from tests.postgresql import Server, running_server

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    with running_server() as server:
        yield server


@pytest.fixture
def postgresql_url(postgresql: Server) -> str:
    return postgresql.create_database(f"evenkeel_{next(_numbers)}")
