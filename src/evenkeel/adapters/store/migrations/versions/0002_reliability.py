"""Reliability of the scores by hour; pairs at several horizons beside one another."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"

TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
SUMS = (
    "n",
    "predicted",
    "measured",
    "squared",
    "n_reports",
    "error_error",
    "n_error",
    "n_n",
)
PAIR = (
    *("host", "victim", "aggressor", "resource", "horizon_s"),
    *("score", "probability", "severity", "confidence", "window_s", "n_samples", "at_s"),
)


def upgrade() -> None:
    op.create_table(
        "reliability",
        sa.Column("host", TEXT, primary_key=True),
        sa.Column("hour_s", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("resource", TEXT, primary_key=True),
        sa.Column("horizon_s", sa.Double, primary_key=True),
        sa.Column("bin", sa.Integer, primary_key=True, autoincrement=False),
        *(sa.Column(name, sa.Double, nullable=False) for name in SUMS),
    )
    op.create_index("reliability_by_age", "reliability", ["hour_s"])
    _key_pairs_by_horizon()


def _key_pairs_by_horizon() -> None:
    """SQLite cannot change a primary key, so the table is made anew and the pairs are carried over.

    Indices have names of their own and come last, when those of the old table are gone.
    """
    _create_pairs("pair_by_horizon")
    old, new = (sa.table(name, *map(sa.column, PAIR)) for name in ("pair", "pair_by_horizon"))
    op.execute(new.insert().from_select(PAIR, sa.select(*old.c)))
    op.drop_table("pair")
    op.rename_table("pair_by_horizon", "pair")
    op.create_index("pair_by_score", "pair", ["score"])
    op.create_index("pair_by_victim", "pair", ["victim"])
    op.create_index("pair_by_aggressor", "pair", ["aggressor"])


def _create_pairs(name: str) -> None:
    op.create_table(
        name,
        sa.Column("host", TEXT, primary_key=True),
        sa.Column("victim", TEXT, primary_key=True),
        sa.Column("aggressor", TEXT, primary_key=True),
        sa.Column("resource", TEXT, primary_key=True),
        sa.Column("horizon_s", sa.Double, primary_key=True),
        sa.Column("score", sa.Double, nullable=False),
        sa.Column("probability", sa.Double, nullable=False),
        sa.Column("severity", sa.Double, nullable=False),
        sa.Column("confidence", sa.Double, nullable=False),
        sa.Column("window_s", sa.Double, nullable=False),
        sa.Column("n_samples", sa.BigInteger, nullable=False),
        sa.Column("at_s", sa.Double, nullable=False),
    )
