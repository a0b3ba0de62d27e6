"""The first schema: inventory, history, chronicle, access."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None

TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _create_inventory()
    _create_history()
    _create_chronicle()
    _create_access()


def _create_inventory() -> None:
    op.create_table(
        "host",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("last_seen_s", sa.Double, nullable=False),
        sa.Column("tick_at_s", sa.Double, nullable=False),
        sa.Column("problem", TEXT, nullable=False),
        sa.Column("document", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "vm",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("tenant", TEXT, nullable=False),
        sa.Column("home", TEXT),
        sa.Column("told", TEXT),
        sa.Column("last_home", TEXT, nullable=False),
        sa.Column("left_at_s", sa.Double),
        sa.Column("document", sa.LargeBinary, nullable=False),
    )
    op.create_index("vm_by_home", "vm", ["home"])
    op.create_index("vm_by_name", "vm", ["name", "id"])
    op.create_index("vm_by_tenant", "vm", ["tenant"])
    op.create_table(
        "claim",
        sa.Column("host", TEXT, primary_key=True),
        sa.Column("vm", TEXT, primary_key=True),
        sa.Column("running", sa.Boolean, nullable=False),
    )
    op.create_index("claim_by_vm", "claim", ["vm"])
    op.create_table(
        "pair",
        sa.Column("host", TEXT, primary_key=True),
        sa.Column("victim", TEXT, primary_key=True),
        sa.Column("aggressor", TEXT, primary_key=True),
        sa.Column("resource", TEXT, primary_key=True),
        sa.Column("score", sa.Double, nullable=False),
        sa.Column("probability", sa.Double, nullable=False),
        sa.Column("severity", sa.Double, nullable=False),
        sa.Column("confidence", sa.Double, nullable=False),
        sa.Column("window_s", sa.Double, nullable=False),
        sa.Column("n_samples", sa.BigInteger, nullable=False),
        sa.Column("horizon_s", sa.Double, nullable=False),
        sa.Column("at_s", sa.Double, nullable=False),
    )
    op.create_index("pair_by_score", "pair", ["score"])
    op.create_index("pair_by_victim", "pair", ["victim"])
    op.create_index("pair_by_aggressor", "pair", ["aggressor"])


def _create_history() -> None:
    op.create_table(
        "roster",
        sa.Column("id", SERIAL, primary_key=True, autoincrement=True),
        sa.Column("host", TEXT, nullable=False),
        sa.Column("digest", TEXT, nullable=False),
        sa.UniqueConstraint("host", "digest", name="roster_once"),
    )
    op.create_table(
        "roster_member",
        sa.Column("roster", SERIAL, primary_key=True, autoincrement=False),
        sa.Column("vm", TEXT, primary_key=True),
        sa.Column("position", sa.Integer, nullable=False),
    )
    op.create_index("roster_member_by_vm", "roster_member", ["vm"])
    op.create_table(
        "batch",
        sa.Column("id", SERIAL, primary_key=True, autoincrement=True),
        sa.Column("host", TEXT, nullable=False),
        sa.Column("epoch", TEXT, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("received_at_s", sa.Double, nullable=False),
        sa.Column("taken_at_s", sa.Double),
        sa.Column("roster", SERIAL),
        sa.Column("readings", sa.LargeBinary),
        sa.Column("deviations", sa.LargeBinary),
        sa.UniqueConstraint("host", "epoch", "seq", name="batch_once"),
    )
    op.create_index("batch_by_age", "batch", ["received_at_s"])
    op.create_index("batch_by_roster", "batch", ["roster", "taken_at_s"])
    op.create_table(
        "watermark",
        sa.Column("host", TEXT, primary_key=True),
        sa.Column("epoch", TEXT, primary_key=True),
        sa.Column("pruned_seq", sa.BigInteger, nullable=False),
    )


def _create_chronicle() -> None:
    op.create_table(
        "mitigation",
        sa.Column("host", TEXT, primary_key=True),
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("created_at_s", sa.Double, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("open", sa.Boolean, nullable=False),
        sa.Column("target", TEXT, nullable=False),
        sa.Column("victim", TEXT, nullable=False),
        sa.Column("aggressor", TEXT, nullable=False),
        sa.Column("document", sa.LargeBinary, nullable=False),
    )
    op.create_index("mitigation_by_age", "mitigation", ["created_at_s", "host", "id"])
    op.create_index("mitigation_open", "mitigation", ["open", "host"])
    op.create_index("mitigation_by_target", "mitigation", ["target", "state"])
    op.create_table(
        "event",
        sa.Column("id", SERIAL, primary_key=True, autoincrement=True),
        sa.Column("at_s", sa.Double, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("severity", TEXT, nullable=False),
        sa.Column("message", TEXT, nullable=False),
        sa.Column("host", TEXT),
        sa.Column("vm", TEXT),
        sa.Column("detail", TEXT, nullable=False),
        sa.Column("source_epoch", TEXT),
        sa.Column("source_seq", sa.BigInteger),
        sa.Column("source_index", sa.Integer),
        sa.UniqueConstraint(
            "host", "source_epoch", "source_seq", "source_index", name="event_once"
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("event_by_host", "event", ["host", "id"])
    op.create_index("event_by_vm", "event", ["vm", "id"])


def _create_access() -> None:
    op.create_table(
        "mode",
        sa.Column("scope", TEXT, primary_key=True),
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("mode", TEXT, nullable=False),
    )
    op.create_table(
        "mode_version",
        sa.Column("one", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("version", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "token",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("sha256", TEXT, nullable=False, unique=True),
        sa.Column("role", TEXT, nullable=False),
        sa.Column("subject", TEXT, nullable=False),
        sa.Column("created_at_s", sa.Double, nullable=False),
        sa.Column("revoked_at_s", sa.Double),
    )
