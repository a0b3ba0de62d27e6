"""Opening the agent's SQLite files: one owner each, write-ahead log, damage found at once.

Journal and spool share this and nothing else: they differ in what they do about trouble.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal, TypeVar

T = TypeVar("T")

LOCK_WAIT_S: Final = 0.2
"""Long enough for a predecessor that is just being killed, short enough not to stall a tick."""

CACHE_KIB: Final = 256
"""SQLite's own default is 2 MiB a file, which the agent has a better use for."""
LOG_PAGES: Final = 256
"""The log is folded into the database at this length (1 MiB), and keeps its blocks on the disk:
where the disk is full, those are the room left to write in."""

_DAMAGE_CODES: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class DamagedFile(Exception):
    """The file exists and is no sound database."""


def open_database(
    path: Path, schema: str, *, synchronous: Literal["FULL", "NORMAL"]
) -> sqlite3.Connection:
    """Open or create `path`, hold it alone, check it and create its tables.

    The lock is exclusive, so a second agent on the same state directory finds out instead of
    undoing the first one's work, and so that no shared-memory file is mapped (a full tmpfs would
    kill the process through such a mapping). Raises DamagedFile, sqlite3.Error, OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(
        path, timeout=LOCK_WAIT_S, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={synchronous}")
        connection.execute(f"PRAGMA wal_autocheckpoint={LOG_PAGES}")
        connection.execute("BEGIN EXCLUSIVE")  # takes and, in exclusive mode, keeps the lock
        connection.execute(schema)
        connection.execute("COMMIT")
        verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            raise DamagedFile(f"{path}: {verdict}")
    except BaseException as error:
        connection.close()
        if isinstance(error, sqlite3.Error) and is_damage(error):
            raise DamagedFile(f"{path}: {error}") from error
        raise
    return connection


def insist(connection: sqlite3.Connection, action: Callable[[], T]) -> T:
    """Run `action`; when the disk is full, once more in the room that folding the log gives."""
    try:
        return action()
    except sqlite3.OperationalError as error:
        if not is_full(error):
            raise
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
    return action()


def is_full(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the error says that the file's content is bad (not merely out of reach)."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _DAMAGE_CODES


def side_files(path: Path) -> tuple[Path, ...]:
    """The files SQLite keeps beside `path`; they belong to its content."""
    return tuple(path.with_name(path.name + suffix) for suffix in ("-wal", "-shm"))
