"""Opens the database and makes its two dialects behave alike: transactions, timeouts, errors."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import exc

from evenkeel.domain.errors import ConfigInvalid, StoreUnavailable

BUSY_TIMEOUT_MS: Final = 5000
STATEMENT_TIMEOUT_MS: Final = 30_000
LOCK_TIMEOUT_MS: Final = 10_000
WAL_RETRY_S: Final = 0.02
LOG_PAGES: Final = 40_000
"""Of 4 KiB, after which a commit copies the log itself: where `checkpoints` does not get to it."""
WRITER_LOCK: Final = 0x45_56_4B_4C  # "EVKL", the advisory lock of PostgreSQL's only writer
MIGRATION_LOCK: Final = WRITER_LOCK + 1


def open_engine(url: str) -> sa.Engine:
    """Make the engine; nothing is connected yet. Raises ConfigInvalid for a URL of neither kind."""
    try:
        parsed = sa.make_url(url)
    except exc.ArgumentError as error:
        raise ConfigInvalid(f"controller.database_url does not parse: {error}") from error
    if parsed.get_backend_name() == "sqlite":
        return _open_sqlite(parsed)
    if parsed.drivername == "postgresql+psycopg":
        return _open_postgresql(parsed)
    raise ConfigInvalid(
        f"controller.database_url begins with {parsed.drivername!r}",
        hint="Use sqlite:///PATH or postgresql+psycopg://USER:PASSWORD@HOST/DATABASE.",
    )


def _open_sqlite(url: sa.URL) -> sa.Engine:
    if not url.database or url.database == ":memory:":
        raise ConfigInvalid("controller.database_url names no file; use sqlite:///PATH")
    try:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigInvalid(f"controller.database_url cannot be used: {error}") from error
    engine = sa.create_engine(url, pool_size=8, max_overflow=40, pool_timeout=10)

    @sa.event.listens_for(engine, "connect")
    def configure(dbapi_connection: Any, _record: object) -> None:
        dbapi_connection.isolation_level = None  # SQLAlchemy says BEGIN, not the driver
        cursor = dbapi_connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        _use_wal(cursor)
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute(f"PRAGMA wal_autocheckpoint={LOG_PAGES}")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        writes = connection.get_execution_options().get("evenkeel_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _use_wal(cursor: sqlite3.Cursor) -> None:
    """The one statement that does not wait for a lock by itself: others may be opening the file."""
    until_s = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() >= until_s:
                raise
            time.sleep(WAL_RETRY_S)
        else:
            return


def _open_postgresql(url: sa.URL) -> sa.Engine:
    options = f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c lock_timeout={LOCK_TIMEOUT_MS}"
    return sa.create_engine(
        url,
        pool_size=8,
        max_overflow=40,
        pool_timeout=10,
        pool_pre_ping=True,
        connect_args={"connect_timeout": 5, "options": options},
    )


def is_sqlite(connection: sa.Connection) -> bool:
    return connection.dialect.name == "sqlite"


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turn what means "the database does not serve now" into StoreUnavailable.

    A broken constraint or a wrong statement is a bug of ours and stays what it is.
    """
    try:
        yield
    except (exc.IntegrityError, exc.DataError, exc.ProgrammingError):
        raise
    except (exc.DBAPIError, exc.TimeoutError, exc.PendingRollbackError) as error:
        raise StoreUnavailable(f"the database does not serve: {_first_line(error)}") from error


def _first_line(error: exc.SQLAlchemyError) -> str:
    cause = getattr(error, "orig", None) or error
    return str(cause).partition("\n")[0]


@contextmanager
def write_transaction(engine: sa.Engine) -> Iterator[sa.Connection]:
    """One transaction that excludes every other writer, of this process or another."""
    with engine.connect() as connection:
        if not is_sqlite(connection):
            with connection.begin():
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(WRITER_LOCK)))
                yield connection
            return
        with connection.execution_options(evenkeel_writes=True).begin():
            yield connection


@contextmanager
def read_transaction(engine: sa.Engine) -> Iterator[sa.Connection]:
    """One transaction that sees one state of the database."""
    with engine.connect() as connection:
        if not is_sqlite(connection):
            connection = connection.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
        with connection.begin():
            yield connection
