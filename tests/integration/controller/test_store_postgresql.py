"""PostgreSQL keeps the same contracts as SQLite: the very same tests."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from tests.contract.ingest_contract import IngestContract
from tests.contract.schema_contract import SchemaContract
from tests.contract.store_contract import StoreContract
from tests.postgresql import Server
from tests.stored import host_record

from evenkeel.adapters.store.store import SqlStore
from evenkeel.domain.errors import StoreUnavailable
from evenkeel.ports_store import Store

pytestmark = pytest.mark.integration


class OnPostgresql:
    @pytest.fixture
    def url(self, postgresql_url: str) -> str:
        return postgresql_url

    @pytest.fixture
    def store(self, url: str) -> Iterator[Store]:
        store = SqlStore(url)
        yield store
        store.close()


class TestPostgresqlStore(OnPostgresql, StoreContract):
    def test_connections_that_the_server_cut_are_replaced(
        self, store: Store, url: str, postgresql: Server
    ) -> None:
        with store.write() as session:
            session.inventory.put_host(host_record())
        database = url.rpartition("/")[2]
        with psycopg.connect(postgresql.dsn("postgres"), autocommit=True) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                [database],
            )
        with store.read() as session:
            assert len(session.inventory.hosts()) == 1

    def test_a_connection_cut_within_a_transaction_is_unavailable_and_undone(
        self, store: Store, url: str, postgresql: Server
    ) -> None:
        database = url.rpartition("/")[2]
        with pytest.raises(StoreUnavailable), store.write() as session:  # noqa: PT012
            session.inventory.put_host(host_record())
            with psycopg.connect(postgresql.dsn("postgres"), autocommit=True) as admin:
                admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                    [database],
                )
            session.inventory.put_host(host_record("h2"))
        with store.read() as session:
            assert session.inventory.hosts() == []


class TestPostgresqlIngest(OnPostgresql, IngestContract):
    def test_two_controllers_on_one_database_do_not_disturb_each_other(
        self, store: Store, url: str
    ) -> None:
        other = SqlStore(url)

        def write(k: int) -> None:
            with (store if k % 2 else other).write() as session:
                known = session.inventory.hosts(limit=1000)
                session.inventory.put_host(host_record(f"h{len(known):04}"))

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(write, range(40)))
        with store.read() as session:
            assert len(session.inventory.hosts(limit=1000)) == 40
        other.close()


class TestPostgresqlSchema(OnPostgresql, SchemaContract):
    pass


def test_starts_at_once_migrate_once(postgresql_url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        stores = list(pool.map(lambda _: SqlStore(postgresql_url), range(4)))
    for store in stores:
        with store.read() as session:
            assert session.inventory.hosts() == []
        store.close()


def test_a_server_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(StoreUnavailable):
        SqlStore("postgresql+psycopg://nobody@127.0.0.1:1/none")
