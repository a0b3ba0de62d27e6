"""Brings the database to this version's schema; safe when two controllers start at once."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from evenkeel.adapters.store.engine import MIGRATION_LOCK, is_sqlite, translated_errors
from evenkeel.domain.errors import StoreTooNew


def migrate(engine: sa.Engine) -> None:
    """Upgrade to the newest revision, whole or not at all.

    Raises StoreTooNew when the database was written by a later Evenkeel, StoreUnavailable.
    """
    with translated_errors(), engine.connect() as connection:
        if is_sqlite(connection):
            connection.execution_options(evenkeel_writes=True)
        with connection.begin():
            if not is_sqlite(connection):
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATION_LOCK)))
            config = alembic_config(connection)
            _refuse_newer(connection, ScriptDirectory.from_config(config))
            command.upgrade(config, "head")


def alembic_config(connection: sa.Connection) -> Config:
    """Alembic without an ini file, working on a transaction that is already open."""
    config = Config()
    config.set_main_option("script_location", "evenkeel.adapters.store:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def _refuse_newer(connection: sa.Connection, scripts: ScriptDirectory) -> None:
    known = {script.revision for script in scripts.walk_revisions()}
    unknown = set(MigrationContext.configure(connection).get_current_heads()) - known
    if unknown:
        raise StoreTooNew(f"the database has schema {', '.join(sorted(unknown))}, unknown here")
