"""Keeps SQLite's log short without making a commit wait for it.

A commit that finds the log long has to copy it into the database and to wait for the disk twice
more: one in thirty batches of claims took 10 to 50 ms for that. So a thread copies what there is
every now and then, while writers go on. The log begins anew only where all of it is copied, which
writers that go on prevent: once it is long they are held up for what came during the last copy. (A
log that grows is slower to sync than one that is written over.)
"""

from __future__ import annotations

import sqlite3
import threading
from typing import Final

import sqlalchemy as sa
import structlog

EVERY_S: Final = 0.2
LONG_PAGES: Final = 20_000
_log = structlog.get_logger("evenkeel.store")


class Checkpoints:
    """Of one engine, whose writers hold `writer`. Its thread starts when something is written."""

    def __init__(self, engine: sa.Engine, writer: threading.Lock) -> None:
        self._engine = engine
        self._writer = writer
        self._wanted = threading.Event()
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def wrote(self) -> None:
        """There is something in the log."""
        if self._wanted.is_set():
            return
        with self._lock:
            self._wanted.set()
            if self._thread is None and not self._closing.is_set():
                self._thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Before the engine is: whoever closes the database last copies the rest."""
        with self._lock:
            self._closing.set()
            self._wanted.set()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            if self._closing.wait(EVERY_S):
                return
            self._wanted.clear()
            if self._closing.is_set():  # meanwhile: it is not told again
                return
            try:
                if self._copy() >= LONG_PAGES:
                    with self._writer:
                        self._copy()
            except (sqlite3.Error, sa.exc.SQLAlchemyError) as error:
                # Nothing is lost: the log grows, and the next one copies it.
                _log.warning("checkpoint_failed", error=str(error))

    def _copy(self) -> int:
        """How many pages the log has."""
        connection = self._engine.raw_connection()
        try:
            told = connection.cursor().execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        finally:
            connection.close()
        return int(told[1])
