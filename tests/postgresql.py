"""A real PostgreSQL of our own, and databases on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg

from evenkeel.bench.postgresql import postgresql, url_of


@dataclass(frozen=True)
class Server:
    port: int

    def create_database(self, name: str) -> str:
        """A new empty database; its SQLAlchemy URL."""
        with psycopg.connect(self.dsn("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')  # type: ignore[call-overload]
        return url_of(self.port, name)

    def dsn(self, database: str) -> str:
        return f"host=127.0.0.1 port={self.port} user=postgres dbname={database}"


@contextmanager
def running_server() -> Iterator[Server]:
    """Fails, and does not skip, where PostgreSQL is missing: `make setup` installs it."""
    with postgresql(durable=False) as port:
        yield Server(port)
