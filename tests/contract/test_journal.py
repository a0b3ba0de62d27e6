"""Both journals keep the contract."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.contract.journal_contract import JournalContract

from evenkeel.adapters.disk.journal import SqliteJournal
from evenkeel.ports import Journal
from evenkeel.sim.memory import MemoryJournal


class TestMemoryJournal(JournalContract):
    @pytest.fixture
    def journal(self) -> Journal:
        return MemoryJournal()


class TestSqliteJournal(JournalContract):
    @pytest.fixture
    def journal(self, tmp_path: Path) -> Iterator[Journal]:
        journal = SqliteJournal(tmp_path / "journal.db")
        yield journal
        journal.close()
