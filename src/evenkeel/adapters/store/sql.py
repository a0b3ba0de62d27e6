"""Small pieces of SQL that both dialects share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
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


def run(
    connection: sa.Connection,
    text: str,
    rows: tuple[object, ...] | list[tuple[object, ...]] | None = None,
) -> sa.CursorResult[Any]:
    """Execute a constant text with `?` where values go, once or once a row of a list.

    A statement that SQLAlchemy puts together costs ten times this, which tells where a transaction
    is as short as a batch of claims.
    """
    return connection.exec_driver_sql(
        text if is_sqlite(connection) else text.replace("?", "%s"), rows
    )


def among(connection: sa.Connection, column: str, names: Sequence[str]) -> tuple[str, object]:
    """A condition with one `?`, and its value: the column is one of these. Always the same text,
    and no limit to how many they are."""
    if is_sqlite(connection):
        listed = msgspec.json.encode(names).decode()
        return f"{column} IN (SELECT value FROM json_each(?))", listed
    return f"{column} = ANY(?)", list(names)


def insert_text(table: sa.Table) -> str:
    """For `run`, with rows in the order of the table's columns."""
    names = ", ".join(f'"{column.name}"' for column in table.columns)
    marks = ", ".join("?" for _ in table.columns)
    return f'INSERT INTO "{table.name}" ({names}) VALUES ({marks})'


def upsert_text(table: sa.Table) -> str:
    """The same, replacing a row with the same primary key."""
    keys = ", ".join(f'"{column.name}"' for column in table.primary_key)
    rest = ", ".join(
        f'"{column.name}" = excluded."{column.name}"'
        for column in table.columns
        if not column.primary_key
    )
    return f"{insert_text(table)} ON CONFLICT ({keys}) DO UPDATE SET {rest}"


def vms_of(tenant: str) -> sa.Select[tuple[str]]:
    """Ids of a tenant's VMs, for `IN`."""
    return sa.select(vm.c.id).where(vm.c.tenant == tenant)


def unique(values: Iterable[str]) -> list[str]:
    """Each once, in an order that does not vary."""
    return sorted(set(values))
