"""The tables, for queries. Their making and changing is in migrations/; a test compares the two.

Two habits keep a tick cheap. A host's whole newest state is one document, so that a quiet host
costs one row written per batch; beside it stand only the columns that queries filter or sort by.
And a batch's history refers to a roster (which VMs, in which order) that is stored once, so that
its body is bare numbers.
"""

from __future__ import annotations

import dataclasses

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from evenkeel.domain.reliability import BinSums

TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
"""Ordered by bytes in both databases, so that pages of results are the same."""
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

SUMS = tuple(field.name for field in dataclasses.fields(BinSums))

metadata = sa.MetaData()

host = sa.Table(
    "host",
    metadata,
    sa.Column("id", TEXT, primary_key=True),
    sa.Column("last_seen_s", sa.Double, nullable=False),
    sa.Column("tick_at_s", sa.Double, nullable=False),
    sa.Column("problem", TEXT, nullable=False),
    sa.Column("document", sa.LargeBinary, nullable=False),
)

vm = sa.Table(
    "vm",
    metadata,
    sa.Column("id", TEXT, primary_key=True),
    sa.Column("name", TEXT, nullable=False),
    sa.Column("tenant", TEXT, nullable=False),
    sa.Column("home", TEXT),
    sa.Column("told", TEXT),
    sa.Column("last_home", TEXT, nullable=False),
    sa.Column("left_at_s", sa.Double),
    sa.Column("document", sa.LargeBinary, nullable=False),
    sa.Index("vm_by_home", "home"),
    sa.Index("vm_by_name", "name", "id"),
    sa.Index("vm_by_tenant", "tenant"),
)

claim = sa.Table(
    "claim",
    metadata,
    sa.Column("host", TEXT, primary_key=True),
    sa.Column("vm", TEXT, primary_key=True),
    sa.Column("running", sa.Boolean, nullable=False),
    sa.Index("claim_by_vm", "vm"),
)

pair = sa.Table(
    "pair",
    metadata,
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
    sa.Index("pair_by_score", "score"),
    sa.Index("pair_by_victim", "victim"),
    sa.Index("pair_by_aggressor", "aggressor"),
)

roster = sa.Table(
    "roster",
    metadata,
    sa.Column("id", SERIAL, primary_key=True, autoincrement=True),
    sa.Column("host", TEXT, nullable=False),
    sa.Column("digest", TEXT, nullable=False),
    sa.UniqueConstraint("host", "digest", name="roster_once"),
)

roster_member = sa.Table(
    "roster_member",
    metadata,
    sa.Column("roster", SERIAL, primary_key=True, autoincrement=False),
    sa.Column("vm", TEXT, primary_key=True),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Index("roster_member_by_vm", "vm"),
)

batch = sa.Table(
    "batch",
    metadata,
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
    sa.Index("batch_by_age", "received_at_s"),
    sa.Index("batch_by_roster", "roster", "taken_at_s"),
)

watermark = sa.Table(
    "watermark",
    metadata,
    sa.Column("host", TEXT, primary_key=True),
    sa.Column("epoch", TEXT, primary_key=True),
    sa.Column("pruned_seq", sa.BigInteger, nullable=False),
)

reliability = sa.Table(
    "reliability",
    metadata,
    sa.Column("host", TEXT, primary_key=True),
    sa.Column("hour_s", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("resource", TEXT, primary_key=True),
    sa.Column("horizon_s", sa.Double, primary_key=True),
    sa.Column("bin", sa.Integer, primary_key=True, autoincrement=False),
    *(sa.Column(name, sa.Double, nullable=False) for name in SUMS),
    sa.Index("reliability_by_age", "hour_s"),
)

reservation = sa.Table(
    "reservation",
    metadata,
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
    sa.Index("reservation_by_vm", "vm"),
    sa.Index("reservation_by_end", "end_s"),
)

lot = sa.Table(
    "lot",
    metadata,
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
    sa.Index("lot_by_host", "host", "end_s"),
    sa.Index("lot_by_end", "end_s"),
    sqlite_with_rowid=False,
)

terms = sa.Table(
    "terms",
    metadata,
    sa.Column("vm", TEXT, primary_key=True),
    sa.Column("at_s", sa.Double, nullable=False),
    sa.Column("document", sa.LargeBinary, nullable=False),
)

host_generation = sa.Table(
    "host_generation",
    metadata,
    sa.Column("host", TEXT, primary_key=True),
    sa.Column("generation", sa.BigInteger, nullable=False),
)

mitigation = sa.Table(
    "mitigation",
    metadata,
    sa.Column("host", TEXT, primary_key=True),
    sa.Column("id", TEXT, primary_key=True),
    sa.Column("created_at_s", sa.Double, nullable=False),
    sa.Column("state", TEXT, nullable=False),
    sa.Column("open", sa.Boolean, nullable=False),
    sa.Column("target", TEXT, nullable=False),
    sa.Column("victim", TEXT, nullable=False),
    sa.Column("aggressor", TEXT, nullable=False),
    sa.Column("document", sa.LargeBinary, nullable=False),
    sa.Index("mitigation_by_age", "created_at_s", "host", "id"),
    sa.Index("mitigation_open", "open", "host"),
    sa.Index("mitigation_by_target", "target", "state"),
)

event = sa.Table(
    "event",
    metadata,
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
    sa.UniqueConstraint("host", "source_epoch", "source_seq", "source_index", name="event_once"),
    sa.Index("event_by_host", "host", "id"),
    sa.Index("event_by_vm", "vm", "id"),
    sqlite_autoincrement=True,
)

mode = sa.Table(
    "mode",
    metadata,
    sa.Column("scope", TEXT, primary_key=True),
    sa.Column("name", TEXT, primary_key=True),
    sa.Column("mode", TEXT, nullable=False),
)

mode_version = sa.Table(
    "mode_version",
    metadata,
    sa.Column("one", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("version", sa.BigInteger, nullable=False),
)

maintenance = sa.Table(
    "maintenance",
    metadata,
    sa.Column("host", TEXT, primary_key=True),
    sa.Column("since_s", sa.Double, nullable=False),
    sa.Column("reason", TEXT, nullable=False),
)

token = sa.Table(
    "token",
    metadata,
    sa.Column("id", TEXT, primary_key=True),
    sa.Column("sha256", TEXT, nullable=False, unique=True),
    sa.Column("role", TEXT, nullable=False),
    sa.Column("subject", TEXT, nullable=False),
    sa.Column("created_at_s", sa.Double, nullable=False),
    sa.Column("revoked_at_s", sa.Double),
)
