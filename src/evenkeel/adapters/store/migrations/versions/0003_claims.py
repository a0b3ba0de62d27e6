"""Claims, their lots, and the generations of hosts that guard them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"

TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "reservation",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("owner", TEXT, nullable=False),
        sa.Column("vm", TEXT, nullable=False),
        sa.Column("key", TEXT, nullable=False),
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("start_s", sa.BigInteger, nullable=False),
        sa.Column("end_s", sa.BigInteger, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("created_at_s", sa.Double, nullable=False),
        sa.Column("released_at_s", sa.BigInteger),
        sa.Column("n_lots_made", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("owner", "key", name="reservation_once"),
    )
    op.create_index("reservation_by_vm", "reservation", ["vm"])
    op.create_index("reservation_by_end", "reservation", ["end_s"])
    op.create_table(
        "lot",
        sa.Column("reservation", TEXT, primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("host", TEXT, nullable=False),
        sa.Column("region", TEXT, nullable=False),
        sa.Column("provider", TEXT, nullable=False),
        sa.Column("resource", TEXT, nullable=False),
        sa.Column("n_shards", sa.BigInteger, nullable=False),
        sa.Column("start_s", sa.BigInteger, nullable=False),
        sa.Column("end_s", sa.BigInteger, nullable=False),
        sa.Column("performance", TEXT, nullable=False),
        sa.Column("demand", TEXT, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("lot_by_host", "lot", ["host", "end_s"])
    op.create_index("lot_by_end", "lot", ["end_s"])
    op.create_table(
        "host_generation",
        sa.Column("host", TEXT, primary_key=True),
        sa.Column("generation", sa.BigInteger, nullable=False),
    )
