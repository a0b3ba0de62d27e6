"""SQLite keeps the store's and the ingest's contract, and says clearly what it refuses."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.contract.ingest_contract import IngestContract
from tests.contract.schema_contract import SchemaContract
from tests.contract.store_contract import StoreContract
from tests.stored import host_record

from evenkeel.adapters.store.store import SqlStore
from evenkeel.domain.errors import ConfigInvalid, StoreUnavailable
from evenkeel.ports_store import Store


class OnSqlite:
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path}/controller.db"

    @pytest.fixture
    def store(self, url: str) -> Iterator[Store]:
        store = SqlStore(url)
        yield store
        store.close()


class TestSqliteStore(OnSqlite, StoreContract):
    def test_it_is_durable_and_does_not_block_readers(self, store: Store, tmp_path: Path) -> None:
        with store.read() as session:
            ask = session.connection.exec_driver_sql  # type: ignore[attr-defined]
            assert ask("PRAGMA journal_mode").scalar() == "wal"
            assert ask("PRAGMA synchronous").scalar() == 2

    def test_a_database_that_another_process_holds_is_unavailable(
        self, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("evenkeel.adapters.store.engine.BUSY_TIMEOUT_MS", 50)
        impatient = SqlStore(f"sqlite:///{tmp_path}/controller.db")
        other = sqlite3.connect(tmp_path / "controller.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked"), impatient.write():
            pass
        other.execute("ROLLBACK")
        other.close()
        with impatient.write() as session:
            session.inventory.put_host(host_record())
        impatient.close()

    def test_a_full_database_refuses_whole_transactions_and_recovers(self, store: Store) -> None:
        engine: sa.Engine = store._engine  # type: ignore[attr-defined]
        with engine.connect() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()

        @sa.event.listens_for(engine, "checkout")
        def limit(dbapi_connection: sqlite3.Connection, *_: object) -> None:
            dbapi_connection.execute(f"PRAGMA max_page_count={pages + 8}")

        stored = 0
        with pytest.raises(StoreUnavailable, match="full"):  # noqa: PT012
            for k in range(1000):
                with store.write() as session:
                    session.inventory.put_host(host_record(f"h{k:04}"))
                    session.inventory.put_host(host_record(f"z{k:04}"))
                stored += 1
        assert stored > 0
        sa.event.remove(engine, "checkout", limit)
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count=100000")
        with store.write() as session:
            session.inventory.put_host(host_record("after"))
        with store.read() as session:
            assert len(session.inventory.hosts(limit=5000)) == 2 * stored + 1


class TestSqliteIngest(OnSqlite, IngestContract):
    pass


class TestSqliteSchema(OnSqlite, SchemaContract):
    pass


def test_threads_that_open_at_once_migrate_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        stores = list(pool.map(lambda _: SqlStore(f"sqlite:///{tmp_path}/c.db"), range(4)))
    for store in stores:
        with store.read() as session:
            assert session.inventory.hosts() == []
        store.close()


@pytest.mark.parametrize(
    "url", ["", "mysql://x/y", "sqlite://", "postgresql://x/y", "sqlite:///:memory:"]
)
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ConfigInvalid):
        SqlStore(url)


def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "c.db").write_bytes(b"not a database, but long enough to be looked at" * 100)
    with pytest.raises(StoreUnavailable):
        SqlStore(f"sqlite:///{tmp_path}/c.db")
