"""SQLite's log is copied into the database while writers go on, and not by their commits."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Queue

import pytest
from tests.stored import host_record

from evenkeel.adapters.store import checkpoints
from evenkeel.adapters.store.store import SqlStore

PATIENCE_S = 10.0


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqlStore]:
    monkeypatch.setattr(checkpoints, "EVERY_S", 0.01)
    store = SqlStore(f"sqlite:///{tmp_path}/controller.db")
    yield store
    store.close()


def in_the_database_itself(path: Path) -> bool:
    """Whether the host is there for somebody who does not see the log."""
    alone = sqlite3.connect(f"file:{path}?immutable=1", uri=True)
    try:
        return bool(alone.execute("SELECT count(*) FROM host").fetchone()[0])
    except sqlite3.DatabaseError:  # not even the table, or it is being copied
        return False
    finally:
        alone.close()


def is_copied_in_time(database: Path) -> bool:
    until_s = time.monotonic() + PATIENCE_S
    while not (found := in_the_database_itself(database)) and time.monotonic() < until_s:
        time.sleep(0.01)
    return found


def n_threads() -> int:
    return sum(thread.name == "checkpoints" for thread in threading.enumerate())


def test_what_is_written_reaches_the_database_by_itself(store: SqlStore, tmp_path: Path) -> None:
    with store.write() as session:
        session.inventory.put_host(host_record("h1"))
    assert is_copied_in_time(tmp_path / "controller.db")


def test_writers_are_held_up_for_the_last_of_a_long_log_and_for_no_other(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "LONG_PAGES", 20)
    copied: Queue[tuple[int, bool]] = Queue()
    real = checkpoints.Checkpoints._copy

    def watched(self: checkpoints.Checkpoints) -> int:
        held_up = self._writer.locked()
        n_pages = real(self)
        copied.put((n_pages, held_up))
        return n_pages

    monkeypatch.setattr(checkpoints.Checkpoints, "_copy", watched)
    with store.write() as session:
        for k in range(200):
            session.inventory.put_host(host_record(f"h{k:0500}"))
    n_pages, held_up = copied.get(timeout=PATIENCE_S)
    assert n_pages >= 20
    assert not held_up
    assert copied.get(timeout=PATIENCE_S)[1]
    with store.write() as session:
        session.inventory.put_host(host_record("one more"))
    n_pages, held_up = copied.get(timeout=PATIENCE_S)
    assert n_pages < 20, "the log began anew"
    assert not held_up


def test_a_store_that_is_only_read_has_no_thread_and_a_closed_one_neither(
    store: SqlStore, tmp_path: Path
) -> None:
    before = n_threads()
    with store.read() as session:
        assert session.inventory.hosts() == []
    assert n_threads() == before
    with store.write() as session:
        session.inventory.put_host(host_record("h1"))
    assert n_threads() == before + 1
    store.close()
    assert n_threads() == before


def test_a_database_that_does_not_serve_ends_nothing(
    store: SqlStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = threading.Event()

    def broken() -> None:
        tried.set()
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patched:
        patched.setattr(store._engine, "raw_connection", broken)
        store._checkpoints.wrote()
        assert tried.wait(PATIENCE_S)
    with store.write() as session:
        session.inventory.put_host(host_record("h1"))
    assert is_copied_in_time(tmp_path / "controller.db")


def test_a_close_is_heard_whenever_it_comes(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also between the end of a pause and the next wait, where a wake-up was once lost."""
    closing = threading.Event()
    watch = checkpoints.Checkpoints(store._engine, threading.Lock())

    class Late(threading.Event):
        """Its pause ends just before somebody closes."""

        def wait(self, timeout: float | None = None) -> bool:
            closer.start()
            assert closing.wait(PATIENCE_S)
            return False

    class Told(threading.Event):
        def set(self) -> None:
            super().set()
            if watch._closing.is_set():
                closing.set()

    watch._closing, watch._wanted = Late(), Told()
    closer = threading.Thread(target=watch.close)
    watch.wrote()
    assert closing.wait(PATIENCE_S)
    closer.join(PATIENCE_S)
    assert not closer.is_alive()
