"""The spool on disk: batches that the controller has not acknowledged yet.

The agent's loop puts, its sender thread takes. Telemetry is worth less than the loop: whatever
happens to the disk, nothing here raises. What the disk does not take stays in memory, newest
longest, and moves to the disk when that works again.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from evenkeel.adapters.disk.database import (
    DamagedFile,
    insist,
    is_full,
    open_database,
    side_files,
)

_log = logging.getLogger(__name__)

_SCHEMA = "CREATE TABLE IF NOT EXISTS batch (id INTEGER PRIMARY KEY, body BLOB NOT NULL)"

MAX_MEMORY_BYTES: Final = 4 << 20
"""Most that is kept in memory while the disk fails; the agent has 60 MB for everything."""

_PAGE_BYTES: Final = 4096


def _cost(n_bytes: int) -> int:
    """Disk bytes that a batch takes, its share of half-empty pages included."""
    return n_bytes + 64 if n_bytes <= _PAGE_BYTES // 4 else n_bytes + _PAGE_BYTES


@dataclass(frozen=True, slots=True)
class _Row:
    id: int
    cost: int


class SqliteSpool:
    """Implements `ports.Spool` in one SQLite file of about `max_bytes` (and a 1 MiB log).

    A batch that was put survives the death of the process; the last few may go in a power cut,
    because only a checkpoint syncs. A damaged file is moved aside (to `NAME.damaged`); how many
    batches it held is not known, so it counts as one dropped.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._rows: dict[int, _Row] = {}
        """On disk, by ticket, oldest first. Tickets are this process's own: never reused."""
        self._disk_bytes = 0
        self._undeleted: set[int] = set()
        """Ids of rows that were dropped, but the disk would not forget them yet."""
        self._memory: deque[tuple[int, bytes]] = deque()
        self._memory_bytes = 0
        self._n_tickets = 0
        self._next_id = 1
        self._n_dropped = 0
        self._trouble = ""
        self._connect()

    def put(self, body: bytes) -> int:
        with self._lock:
            put = self._new_ticket()
            self._memory.append((put, body))
            self._memory_bytes += len(body)
            self._move_to_disk()
            while self._memory_bytes > min(MAX_MEMORY_BYTES, self._max_bytes):
                self._memory_bytes -= len(self._memory.popleft()[1])
                self._n_dropped += 1
        return put

    def oldest(self) -> tuple[int, bytes] | None:
        with self._lock:
            while self._rows:
                ticket, row = next(iter(self._rows.items()))
                found = self._execute("SELECT body FROM batch WHERE id = ?", row.id)
                if found is None:
                    break
                if found:
                    return ticket, found[0][0]
                if ticket in self._rows:  # else the file was replaced, and all are counted
                    self._forget(ticket)
                    self._n_dropped += 1
            return self._memory[0] if self._memory else None

    def drop(self, ticket: int) -> None:
        with self._lock:
            if ticket in self._rows:
                self._forget(ticket)
                return
            for i, (other, body) in enumerate(self._memory):
                if other == ticket:
                    del self._memory[i]
                    self._memory_bytes -= len(body)
                    return

    def n_batches(self) -> int:
        with self._lock:
            return len(self._rows) + len(self._memory)

    def n_dropped(self) -> int:
        with self._lock:
            return self._n_dropped

    def close(self) -> None:
        with self._lock:
            self._disconnect()

    # --- the caller of everything below holds the lock ----------------------------------------

    def _new_ticket(self) -> int:
        self._n_tickets += 1
        return self._n_tickets

    def _move_to_disk(self) -> None:
        """Write what waits in memory, oldest first, making room at the old end."""
        if (self._connection or self._connect()) is None:
            return
        while self._memory:
            ticket, body = self._memory[0]
            row = _Row(self._next_id, _cost(len(body)))
            while self._rows and self._disk_bytes + row.cost > self._max_bytes:
                self._forget(next(iter(self._rows)))
                self._n_dropped += 1
            if row.cost > self._max_bytes:
                self._n_dropped += 1
            elif self._execute("INSERT INTO batch VALUES (?, ?)", row.id, body) is not None:
                self._next_id += 1
                self._rows[ticket] = row
                self._disk_bytes += row.cost
                self._trouble = ""
            else:
                return
            self._memory.popleft()
            self._memory_bytes -= len(body)

    def _forget(self, ticket: int) -> None:
        """Take a batch off the disk, now or as soon as the disk lets us."""
        row = self._rows.pop(ticket)
        self._disk_bytes -= row.cost
        self._undeleted.add(row.id)
        for row_id in sorted(self._undeleted):
            if self._execute("DELETE FROM batch WHERE id = ?", row_id) is None:
                return
            self._undeleted.discard(row_id)

    def _execute(self, statement: str, *values: Any) -> list[tuple[Any, ...]] | None:
        """Run one statement; None when the disk failed, which is noted and tried again later."""
        connection = self._connection or self._connect()
        if connection is None:
            return None
        try:
            return insist(connection, lambda: connection.execute(statement, values).fetchall())
        except sqlite3.Error as error:
            if not is_full(error):
                self._disconnect()  # opening it again finds out whether the file is damaged
            self._note(f"spool {self._path} failed, batches are kept in memory: {error}")
            return None

    def _connect(self) -> sqlite3.Connection | None:
        try:
            try:
                self._connection = open_database(self._path, _SCHEMA, synchronous="NORMAL")
            except DamagedFile as error:
                self._move_aside(error)
                self._connection = open_database(self._path, _SCHEMA, synchronous="NORMAL")
            self._index(self._connection)
        except (DamagedFile, sqlite3.Error, OSError) as error:
            self._disconnect()
            self._note(f"spool {self._path} cannot be opened, batches are kept in memory: {error}")
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _index(self, connection: sqlite3.Connection) -> None:
        """Learn what the file holds; rows known from before keep their tickets."""
        tickets = {row.id: ticket for ticket, row in self._rows.items()}
        rows: dict[int, _Row] = {}
        for row_id, n_bytes in connection.execute("SELECT id, length(body) FROM batch ORDER BY id"):
            self._next_id = max(self._next_id, row_id + 1)
            if row_id not in self._undeleted:
                ticket = tickets.pop(row_id, None) or self._new_ticket()
                rows[ticket] = _Row(row_id, _cost(n_bytes))
        self._rows = rows
        self._disk_bytes = sum(row.cost for row in rows.values())
        self._n_dropped += len(tickets)  # known once, gone now

    def _move_aside(self, error: Exception) -> None:
        """Keep the damaged file for whoever wants to look, and count what was known to be in it."""
        aside = self._path.with_name(self._path.name + ".damaged")
        self._path.replace(aside)
        for path in side_files(self._path):
            path.unlink(missing_ok=True)
        self._n_dropped += max(1, len(self._rows))
        self._rows.clear()
        self._disk_bytes = 0
        self._undeleted.clear()
        _log.error("spool %s is damaged and was moved to %s: %s", self._path, aside, error)

    def _note(self, trouble: str) -> None:
        """Log a new trouble once; put() comes every few seconds."""
        if trouble != self._trouble:
            self._trouble = trouble
            _log.warning("%s", trouble)
