"""On what VMs were placed: labels and rules."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"

TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "terms",
        sa.Column("vm", TEXT, primary_key=True),
        sa.Column("at_s", sa.Double, nullable=False),
        sa.Column("document", sa.LargeBinary, nullable=False),
    )
