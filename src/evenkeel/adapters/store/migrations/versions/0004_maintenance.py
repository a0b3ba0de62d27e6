"""Hosts in maintenance."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"

TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "maintenance",
        sa.Column("host", TEXT, primary_key=True),
        sa.Column("since_s", sa.Double, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
    )
