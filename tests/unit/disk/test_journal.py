"""SqliteJournal beyond the contract: restarts, damage, a second owner, values JSON cannot hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.contract.journal_contract import mitigation

from evenkeel.adapters.disk.journal import SqliteJournal
from evenkeel.domain.errors import JournalUnavailable


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.db"


def test_a_restart_finds_everything_in_order(path: Path) -> None:
    journal = SqliteJournal(path)
    for name in ("b", "a", "b"):
        journal.record(mitigation(name))
    journal.close()
    again = SqliteJournal(path)
    assert again.open_mitigations() == (mitigation("a"), mitigation("b"))
    again.close()


def test_a_second_agent_is_refused(path: Path) -> None:
    journal = SqliteJournal(path)
    with pytest.raises(JournalUnavailable, match=r"journal\.db cannot be opened.*locked"):
        SqliteJournal(path)
    journal.record(mitigation())
    journal.close()


@pytest.mark.parametrize("content", [b"not a database at all, but long enough" * 300, b"short"])
def test_a_foreign_file_is_named_and_left_alone(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    for _ in range(2):
        with pytest.raises(JournalUnavailable, match=r"journal\.db is damaged") as caught:
            SqliteJournal(path)
        assert str(path) in caught.value.hint
    assert path.read_bytes() == content


def test_a_damaged_file_is_named_and_left_alone(path: Path) -> None:
    journal = SqliteJournal(path)
    for i in range(50):
        journal.record(mitigation(f"m{i}"))
    journal.close()
    content = bytearray(path.read_bytes())
    content[4096:12288] = b"\x5a" * 8192
    path.write_bytes(content)
    with pytest.raises(JournalUnavailable, match=r"journal\.db is damaged"):
        SqliteJournal(path)
    assert path.read_bytes() == bytes(content)


def test_an_unreadable_row_is_damage(path: Path) -> None:
    journal = SqliteJournal(path)
    journal.record(mitigation())
    journal._connection.execute("UPDATE mitigation SET body = '{\"id\": 3}'")
    with pytest.raises(JournalUnavailable, match="is damaged"):
        journal.open_mitigations()
    journal.close()


def test_a_closed_journal_is_unavailable(path: Path) -> None:
    journal = SqliteJournal(path)
    journal.close()
    with pytest.raises(JournalUnavailable, match=r"journal\.db"):
        journal.record(mitigation())


def test_what_would_not_read_back_is_not_recorded(path: Path) -> None:
    journal = SqliteJournal(path)
    with pytest.raises(ValueError, match="does not survive"):
        journal.record(replace(mitigation(), loss_before=float("nan")))
    assert journal.open_mitigations() == ()
    journal.close()
