"""The `Store` port on SQLAlchemy: sessions are transactions, and there is one writer at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import sqlalchemy as sa

from evenkeel.adapters.store.access import SqlAccess
from evenkeel.adapters.store.checkpoints import Checkpoints
from evenkeel.adapters.store.chronicle import SqlChronicle
from evenkeel.adapters.store.claims import SqlClaims
from evenkeel.adapters.store.engine import (
    open_engine,
    read_transaction,
    translated_errors,
    write_transaction,
)
from evenkeel.adapters.store.history import SqlHistory
from evenkeel.adapters.store.inventory import SqlInventory
from evenkeel.adapters.store.migrate import migrate
from evenkeel.adapters.store.reliability import SqlReliability
from evenkeel.adapters.store.terms import SqlTerms


@dataclass(frozen=True, slots=True)
class SqlSession:
    """One transaction; see `evenkeel.ports_store.Session`."""

    connection: sa.Connection
    inventory: SqlInventory
    history: SqlHistory
    reliability: SqlReliability
    chronicle: SqlChronicle
    access: SqlAccess
    claims: SqlClaims
    terms: SqlTerms

    @classmethod
    def on(cls, connection: sa.Connection) -> SqlSession:
        return cls(
            connection,
            SqlInventory(connection),
            SqlHistory(connection),
            SqlReliability(connection),
            SqlChronicle(connection),
            SqlAccess(connection),
            SqlClaims(connection),
            SqlTerms(connection),
        )

    def savepoint(self) -> AbstractContextManager[object]:
        return self.connection.begin_nested()


class SqlStore:
    """See `evenkeel.ports_store.Store`. Opening it migrates the database.

    Parameters
    ----------
    url : SQLAlchemy URL, `sqlite:///PATH` or `postgresql+psycopg://...`

    Raises
    ------
    ConfigInvalid, StoreTooNew, StoreUnavailable
    """

    def __init__(self, url: str) -> None:
        self._engine = open_engine(url)
        self._writer = threading.Lock()
        self._checkpoints: Checkpoints | None = None
        if self._engine.name == "sqlite":
            self._checkpoints = Checkpoints(self._engine, self._writer)
        try:
            migrate(self._engine)
        except BaseException:
            self._engine.dispose()
            raise

    @contextmanager
    def read(self) -> Iterator[SqlSession]:
        with translated_errors(), read_transaction(self._engine) as connection:
            yield SqlSession.on(connection)

    @contextmanager
    def write(self) -> Iterator[SqlSession]:
        # The lock makes threads queue; the database's own lock keeps other processes out.
        with self._writer, translated_errors(), write_transaction(self._engine) as connection:
            yield SqlSession.on(connection)
        if self._checkpoints is not None:
            self._checkpoints.wrote()

    def close(self) -> None:
        if self._checkpoints is not None:
            self._checkpoints.close()
        self._engine.dispose()
