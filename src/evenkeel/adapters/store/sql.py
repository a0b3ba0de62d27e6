"""Small pieces of SQL that both dialects share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from evenkeel.adapters.store.engine import is_sqlite
from evenkeel.adapters.store.tables import vm

Row = dict[str, Any]


def insert(connection: sa.Connection, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that knows ON CONFLICT."""
    return sqlite.insert(table) if is_sqlite(connection) else postgresql.insert(table)


def upsert(connection: sa.Connection, table: sa.Table, rows: Sequence[Row]) -> None:
    """Insert rows, or replace those with the same primary key."""
    if not rows:
        return
    statement = insert(connection, table)
    keys = [column.name for column in table.primary_key]
    rest = {name: statement.excluded[name] for name in rows[0] if name not in keys}
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=rest), list(rows))


def insert_new(connection: sa.Connection, table: sa.Table, rows: Sequence[Row]) -> None:
    """Insert rows, leaving those alone that are there already by any unique key."""
    if rows:
        connection.execute(insert(connection, table).on_conflict_do_nothing(), list(rows))


def vms_of(tenant: str) -> sa.Select[tuple[str]]:
    """Ids of a tenant's VMs, for `IN`."""
    return sa.select(vm.c.id).where(vm.c.tenant == tenant)


def unique(values: Iterable[str]) -> list[str]:
    """Each once, in an order that does not vary."""
    return sorted(set(values))
