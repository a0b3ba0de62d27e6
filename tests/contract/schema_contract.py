"""What every database must do about its schema."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from tests.stored import host_record

from evenkeel.adapters.store.store import SqlStore
from evenkeel.adapters.store.tables import metadata
from evenkeel.domain.errors import StoreTooNew
from evenkeel.ports_store import Store


class SchemaContract:
    def test_the_migrations_make_exactly_the_tables_that_queries_use(self, store: Store) -> None:
        with store.read() as session:
            context = MigrationContext.configure(session.connection)  # type: ignore[attr-defined]
            assert compare_metadata(context, metadata) == []

    def test_opening_again_keeps_what_is_there(self, store: Store, url: str) -> None:
        with store.write() as session:
            session.inventory.put_host(host_record())
        again = SqlStore(url)
        with again.read() as session:
            assert len(session.inventory.hosts()) == 1
        again.close()

    def test_a_later_schema_is_refused_and_left_alone(self, store: Store, url: str) -> None:
        with store.write() as session:
            session.connection.execute(  # type: ignore[attr-defined]
                sa.text("UPDATE alembic_version SET version_num = '9999'")
            )
        with pytest.raises(StoreTooNew, match="9999"):
            SqlStore(url)
        with store.read() as session:
            version = session.connection.execute(  # type: ignore[attr-defined]
                sa.text("SELECT version_num FROM alembic_version")
            )
            assert version.scalar_one() == "9999"
