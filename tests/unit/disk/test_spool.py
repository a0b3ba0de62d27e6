"""SqliteSpool beyond the contract: restarts, damage, a lost disk that comes back, threads."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.contract.spool_contract import take_all

from evenkeel.adapters.disk import spool as spool_module
from evenkeel.adapters.disk.spool import SqliteSpool

MAX_BYTES = 1 << 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "spool.db"


@pytest.fixture
def spool(path: Path) -> Iterator[SqliteSpool]:
    spool = SqliteSpool(path, MAX_BYTES)
    yield spool
    spool.close()


def test_batches_of_a_former_run_come_first(path: Path, spool: SqliteSpool) -> None:
    spool.put(b"old 1")
    spool.put(b"old 2")
    spool.close()
    again = SqliteSpool(path, MAX_BYTES)
    again.put(b"new 1")
    assert take_all(again) == [b"old 1", b"old 2", b"new 1"]
    again.close()
    once_more = SqliteSpool(path, MAX_BYTES)
    assert once_more.oldest() is None
    once_more.close()


def test_file_stays_near_its_bound(path: Path, spool: SqliteSpool) -> None:
    for size in (100, 1100, 5000, 40_000):
        for _ in range(3 * MAX_BYTES // size):
            spool.put(b"x" * size)
        assert path.stat().st_size <= MAX_BYTES * 1.1
    assert spool.n_dropped() > 0


def test_a_bound_lowered_in_the_config_holds_at_the_next_put(
    path: Path, spool: SqliteSpool
) -> None:
    for i in range(100):
        spool.put(b"%04d" % i * 1000)
    spool.close()
    smaller = SqliteSpool(path, 20_000)
    smaller.put(b"newest")
    assert smaller.n_dropped() >= 96
    assert take_all(smaller)[-2:] == [b"0099" * 1000, b"newest"]
    smaller.close()


@pytest.mark.parametrize("moment", ["at start", "while running"])
def test_a_damaged_file_is_moved_aside_and_counted(
    path: Path, spool: SqliteSpool, moment: str, caplog: pytest.LogCaptureFixture
) -> None:
    for i in range(200):
        spool.put(b"%04d" % i * 300)
    spool.close()
    content = bytearray(path.read_bytes())
    content[4096:40960] = b"\x5a" * 36864
    path.write_bytes(content)
    if moment == "at start":
        spool = SqliteSpool(path, MAX_BYTES)
        assert spool.n_dropped() == 1
    else:
        assert spool.oldest() is None  # it had been closed: it opens the file again
        assert spool.n_dropped() == 200
    spool.put(b"after")
    assert take_all(spool) == [b"after"]
    assert path.with_name("spool.db.damaged").read_bytes() == bytes(content)
    assert "spool.db.damaged" in caplog.text
    spool.close()


def test_a_disk_that_comes_back_takes_what_waited(path: Path) -> None:
    """Held by another process at first: the newest wait in memory, then follow the old ones."""
    SqliteSpool(path, MAX_BYTES).close()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA locking_mode=EXCLUSIVE")
    other.execute("INSERT INTO batch VALUES (7, x'6f6c64')")
    spool = SqliteSpool(path, MAX_BYTES)
    spool.put(b"new 1")
    waiting = spool.oldest()
    assert waiting is not None
    assert waiting[1] == b"new 1"
    other.close()
    spool.put(b"new 2")
    spool.drop(waiting[0])
    assert take_all(spool) == [b"old", b"new 2"]
    assert spool.n_dropped() == 0
    spool.close()


class _Disk:
    """Stands between the spool and SQLite, and can be full."""

    def __init__(self, connection: sqlite3.Connection, state: dict[str, bool]) -> None:
        self._connection = connection
        self._state = state

    def execute(self, statement: str, values: tuple[object, ...] = ()) -> sqlite3.Cursor:
        if self._state["full"] and not statement.startswith("SELECT"):
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        return self._connection.execute(statement, values)

    def close(self) -> None:
        self._connection.close()


def test_full_disk_in_every_order(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = {"full": False}
    real = spool_module.open_database
    monkeypatch.setattr(
        spool_module, "open_database", lambda *args, **kw: _Disk(real(*args, **kw), state)
    )
    monkeypatch.setattr(spool_module, "MAX_MEMORY_BYTES", 30)
    spool = SqliteSpool(path, MAX_BYTES)
    spool.put(b"disk 1 ...")
    spool.put(b"disk 2 ...")
    state["full"] = True
    for i in range(5):
        spool.put(b"memory %d .." % i)  # 11 bytes: two fit
    assert (spool.n_batches(), spool.n_dropped()) == (4, 3)
    first = spool.oldest()
    assert first is not None
    assert first[1] == b"disk 1 ..."
    spool.drop(first[0])  # the disk cannot forget it now, but it does not come again
    assert spool.n_batches() == 3
    state["full"] = False
    spool.put(b"last")
    assert take_all(spool) == [b"disk 2 ...", b"memory 3 ..", b"memory 4 ..", b"last"]
    spool.close()
    again = SqliteSpool(path, MAX_BYTES)
    assert again.oldest() is None
    again.close()


def test_a_sender_thread_drains_while_the_loop_puts(spool: SqliteSpool) -> None:
    n_batches = 500
    taken: list[bytes] = []

    def drain() -> None:
        while len(taken) < n_batches:
            found = spool.oldest()
            if found is not None:
                taken.append(found[1])
                spool.drop(found[0])

    sender = threading.Thread(target=drain)
    sender.start()
    for i in range(n_batches):
        spool.put(b"%d" % i)
    sender.join(20)
    assert taken == [b"%d" % i for i in range(n_batches)]
    assert spool.n_batches() == 0
