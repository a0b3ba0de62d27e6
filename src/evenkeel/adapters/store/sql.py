"""Small pieces of SQL that both dialects share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
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
    if rows:
        statement = _replacing(insert(connection, table), table, rows[0])
        connection.execute(statement, list(rows))


def insert_new(connection: sa.Connection, table: sa.Table, rows: Sequence[Row]) -> None:
    """Insert rows, leaving those alone that are there already by any unique key."""
    if rows:
        connection.execute(insert(connection, table).on_conflict_do_nothing(), list(rows))


def run(
    connection: sa.Connection, text: str, values: tuple[object, ...] | Sequence[tuple[object, ...]]
) -> sa.CursorResult[Any]:
    """Execute a constant text, with `?` where values go: once, or once for each row of a list.

    A statement that SQLAlchemy puts together costs ten times this, which tells where all of a
    transaction is as short as that of a few claims. `= ANY(?)` takes what `listed` makes.
    """
    return connection.exec_driver_sql(_in_words_of(connection.dialect.name, text), values)


@cache
def _in_words_of(dialect: str, text: str) -> str:
    if dialect == "sqlite":
        return text.replace("= ANY(?)", "IN (SELECT value FROM json_each(?))")
    return text.replace("?", "%s")


def listed(connection: sa.Connection, names: Iterable[str]) -> object:
    """Any number of names, each once, as one value."""
    once = unique(names)
    return msgspec.json.encode(once).decode() if is_sqlite(connection) else once


def insert_text(table: sa.Table, *, replace: bool = False) -> str:
    """For `run`: rows in the order of the columns; `replace` those with the same primary key."""
    statement: sa.Insert = sqlite.insert(table)
    if replace:
        statement = _replacing(sqlite.insert(table), table, table.columns.keys())
    return str(statement.compile(dialect=sqlite.dialect()))


def _replacing(
    statement: sqlite.Insert | postgresql.Insert, table: sa.Table, names: Iterable[str]
) -> sa.Insert:
    keys = [column.name for column in table.primary_key]
    rest = {name: statement.excluded[name] for name in names if name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=rest)


def vms_of(tenant: str) -> sa.Select[tuple[str]]:
    """Ids of a tenant's VMs, for `IN`."""
    return sa.select(vm.c.id).where(vm.c.tenant == tenant)


def unique(values: Iterable[str]) -> list[str]:
    """Each once, in an order that does not vary."""
    return sorted(set(values))
