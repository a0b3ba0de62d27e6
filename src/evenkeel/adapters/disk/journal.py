"""The journal on disk: what this agent changed on its host, written before it is changed.

A killed agent finds here what to undo. Rows are JSON, so that an operator can read them with
`sqlite3` when all else fails. Every commit is synced: a call that returns is on disk.
"""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Any

import msgspec

from evenkeel.adapters.disk.database import DamagedFile, insist, is_damage, open_database
from evenkeel.decoding import decoder
from evenkeel.domain.errors import JournalUnavailable
from evenkeel.domain.plan import OPEN_STATES, Mitigation

_SCHEMA = """
CREATE TABLE IF NOT EXISTS mitigation (
  id TEXT PRIMARY KEY,
  open INTEGER NOT NULL,
  recorded INTEGER NOT NULL,
  body BLOB NOT NULL
) WITHOUT ROWID
"""


class SqliteJournal:
    """Implements `ports.Journal` in one SQLite file.

    Open mitigations stay; closed ones stay until an acknowledged batch has carried them. A damaged
    file is never replaced: it may name changes that are still in force, so every call raises
    JournalUnavailable (and the agent only watches) until an operator has looked.
    """

    def __init__(self, path: Path) -> None:
        """Open or create the journal. Raises JournalUnavailable naming the file."""
        self._path = path
        self._lock = threading.Lock()
        self._encoder = msgspec.json.Encoder()
        self._decoder = decoder(Mitigation)
        try:
            self._connection = open_database(path, _SCHEMA, synchronous="FULL")
        except DamagedFile as error:
            raise self._damaged(error) from error
        except (sqlite3.Error, OSError) as error:
            raise JournalUnavailable(f"journal {path} cannot be opened: {error}") from error

    def record(self, mitigation: Mitigation) -> None:
        body = self._encoder.encode(mitigation)
        self._check_survives(mitigation, body)
        self._run(
            "INSERT OR REPLACE INTO mitigation (id, open, recorded, body)"
            " VALUES (?, ?, (SELECT coalesce(max(recorded), 0) + 1 FROM mitigation), ?)",
            (mitigation.id, mitigation.state in OPEN_STATES, body),
        )

    def open_mitigations(self) -> tuple[Mitigation, ...]:
        return self._read(is_open=True)

    def unreported(self) -> tuple[Mitigation, ...]:
        return self._read(is_open=False)

    def mark_reported(self, mitigations: tuple[Mitigation, ...]) -> None:
        for carried in mitigations:
            self._run(
                "DELETE FROM mitigation WHERE id = ? AND body = ? AND NOT open",
                (carried.id, self._encoder.encode(carried)),
            )

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def _check_survives(self, mitigation: Mitigation, body: bytes) -> None:
        """A row that reads back otherwise (NaN has no JSON) is a bug; better none of it is done."""
        try:
            survives = self._decoder.decode(body) == mitigation
        except msgspec.DecodeError:
            survives = False
        if not survives:
            raise ValueError(f"mitigation {mitigation.id} does not survive the journal: {body!r}")

    def _read(self, *, is_open: bool) -> tuple[Mitigation, ...]:
        """Mitigations in the order they were last recorded."""
        rows = self._run("SELECT body FROM mitigation WHERE open = ? ORDER BY recorded", (is_open,))
        try:
            return tuple(self._decoder.decode(body) for (body,) in rows)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._damaged(error) from error

    def _run(self, statement: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """One statement is one transaction here, committed and synced when this returns."""
        connection = self._connection
        with self._lock:
            try:
                return insist(connection, lambda: connection.execute(statement, values).fetchall())
            except sqlite3.Error as error:
                if is_damage(error):
                    raise self._damaged(error) from error
                raise JournalUnavailable(f"journal {self._path} failed: {error}") from error

    def _damaged(self, error: Exception) -> JournalUnavailable:
        return JournalUnavailable(
            f"journal {self._path} is damaged: {error}",
            hint=f"It may name changes still in force: check the VMs' tuning, then move"
            f" {self._path} away and restart the agent.",
        )
