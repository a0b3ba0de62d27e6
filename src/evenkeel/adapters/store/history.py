"""What each batch measured (`HistoryStore`): compact rows, pruned by age, never forgotten by name.

A tick's body is a float32 array (4 matrices, VMs, resources), compressed; which VM is in which
row stands in its roster, which many ticks share.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence

import msgspec
import numpy as np
import sqlalchemy as sa

from evenkeel.adapters.store.engine import is_sqlite
from evenkeel.adapters.store.sql import Row, insert, insert_new
from evenkeel.adapters.store.tables import batch, roster, roster_member, watermark
from evenkeel.decoding import decoder
from evenkeel.domain.arrays import F64
from evenkeel.domain.ids import HostId, VmId
from evenkeel.domain.resources import N_RESOURCES
from evenkeel.domain.score import Deviation
from evenkeel.records import BatchSource, DeviationRecord, RosterTicks, VmSeries
from evenkeel.wire import TickBody

_N_MATRICES = 4
_encoder = msgspec.json.Encoder()
_deviations_decoder = decoder(tuple[Deviation, ...])


class SqlHistory:
    """See `evenkeel.ports_store.HistoryStore`."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def knows(self, source: BatchSource) -> bool:
        stored = sa.select(batch.c.id).where(
            batch.c.host == source.host,
            batch.c.epoch == source.epoch,
            batch.c.seq == source.seq,
        )
        pruned = sa.select(watermark.c.pruned_seq).where(
            watermark.c.host == source.host,
            watermark.c.epoch == source.epoch,
            watermark.c.pruned_seq >= source.seq,
        )
        query = sa.select(sa.exists(stored) | sa.exists(pruned))
        return bool(self._connection.scalar(query))

    def add(
        self,
        source: BatchSource,
        received_at_s: float,
        tick: TickBody | None,
        deviations: Sequence[Deviation],
    ) -> None:
        row: Row = {
            "host": source.host,
            "epoch": source.epoch,
            "seq": source.seq,
            "received_at_s": received_at_s,
            "taken_at_s": tick.taken_at_s if tick else None,
            "roster": self._roster(source, [vm.id for vm in tick.vms]) if tick else None,
            "readings": _pack(tick) if tick else None,
            "deviations": zlib.compress(_encoder.encode(deviations), 1) if deviations else None,
        }
        self._connection.execute(sa.insert(batch), [row])

    def _roster(self, source: BatchSource, vms: list[VmId]) -> int:
        """The id of the host's roster with these VMs in this order, made if it is new."""
        digest = hashlib.sha256(_encoder.encode(vms)).hexdigest()
        query = sa.select(roster.c.id).where(
            roster.c.host == source.host, roster.c.digest == digest
        )
        known = self._connection.scalar(query)
        if known is not None:
            return int(known)
        statement = insert(self._connection, roster).values(host=source.host, digest=digest)
        made = int(self._connection.execute(statement.returning(roster.c.id)).scalar_one())
        members: list[Row] = [
            {"roster": made, "vm": vm_id, "position": k} for k, vm_id in enumerate(vms)
        ]
        insert_new(self._connection, roster_member, members)
        return made

    def series(self, vm: VmId, since_s: float, until_s: float) -> VmSeries:
        query = (
            sa.select(batch.c.taken_at_s, batch.c.readings, roster_member.c.position)
            .join(roster_member, roster_member.c.roster == batch.c.roster)
            .where(
                roster_member.c.vm == vm,
                batch.c.taken_at_s >= since_s,
                batch.c.taken_at_s <= until_s,
            )
            .order_by(batch.c.taken_at_s, batch.c.id)
        )
        rows = self._connection.execute(query).all()
        values = [_unpack(row.readings)[:, row.position, :] for row in rows]
        return VmSeries(
            at_s=np.array([row.taken_at_s for row in rows], dtype=np.float64),
            values=np.array(values, dtype=np.float64).reshape(-1, _N_MATRICES, N_RESOURCES),
        )

    def deviations(self, vm: VmId, limit: int) -> list[DeviationRecord]:
        query = (
            sa.select(batch.c.taken_at_s, batch.c.deviations)
            .join(roster_member, roster_member.c.roster == batch.c.roster)
            .where(roster_member.c.vm == vm, batch.c.deviations.is_not(None))
            .order_by(batch.c.taken_at_s.desc(), batch.c.id.desc())
            .limit(limit)
        )
        found: list[DeviationRecord] = []
        for row in self._connection.execute(query):
            every = _deviations_decoder.decode(zlib.decompress(row.deviations))
            found += [DeviationRecord(row.taken_at_s, one) for one in every if one.vm == vm]
        return found[:limit]

    def arrivals(self, since_s: float, slot_s: int) -> dict[int, float]:
        ratio = batch.c.taken_at_s / float(slot_s)
        # SQLite may lack floor(), and its CAST cuts off; PostgreSQL's rounds.
        whole = ratio if is_sqlite(self._connection) else sa.func.floor(ratio)
        slot = sa.cast(whole, sa.BigInteger)
        query = (
            sa.select(slot.label("slot"), sa.func.max(batch.c.received_at_s).label("received_at_s"))
            .where(batch.c.received_at_s >= since_s, batch.c.roster.is_not(None))
            .group_by(slot)
        )
        rows = self._connection.execute(query)
        return {int(row.slot) * slot_s: float(row.received_at_s) for row in rows}

    def ticks(
        self, since_s: float, until_s: float, after: int = 0, limit: int = 200
    ) -> list[RosterTicks]:
        chosen = sa.select(roster.c.id, roster.c.host).where(roster.c.id > after)
        hosts = {
            row.id: HostId(row.host)
            for row in self._connection.execute(chosen.order_by(roster.c.id).limit(limit))
        }
        members = (
            sa.select(roster_member.c.roster, roster_member.c.vm)
            .where(roster_member.c.roster.in_(hosts))
            .order_by(roster_member.c.roster, roster_member.c.position)
        )
        vms: dict[int, list[VmId]] = {roster_id: [] for roster_id in hosts}
        for row in self._connection.execute(members):
            vms[row.roster].append(VmId(row.vm))
        taken = sa.select(batch.c.roster, batch.c.taken_at_s, batch.c.readings).where(
            batch.c.roster.in_(hosts), batch.c.taken_at_s >= since_s, batch.c.taken_at_s < until_s
        )
        at_s: dict[int, list[float]] = {roster_id: [] for roster_id in hosts}
        readings: dict[int, list[F64]] = {roster_id: [] for roster_id in hosts}
        for tick in self._connection.execute(taken.order_by(batch.c.taken_at_s, batch.c.id)):
            at_s[tick.roster].append(tick.taken_at_s)
            readings[tick.roster].append(_unpack(tick.readings))
        return [
            RosterTicks(
                id=roster_id,
                host=hosts[roster_id],
                vms=tuple(vms[roster_id]),
                at_s=np.array(at_s[roster_id], dtype=np.float64),
                values=np.array(readings[roster_id], dtype=np.float64).reshape(
                    -1, _N_MATRICES, len(vms[roster_id]), N_RESOURCES
                ),
            )
            for roster_id in sorted(hosts)
        ]

    def prune(self, before_s: float, limit: int) -> int:
        old = sa.select(batch.c.id, batch.c.host, batch.c.epoch, batch.c.seq).where(
            batch.c.received_at_s < before_s
        )
        rows = self._connection.execute(old.order_by(batch.c.received_at_s).limit(limit)).all()
        if rows:
            self._raise_watermarks([(row.host, row.epoch, row.seq) for row in rows])
            ids = [row.id for row in rows]
            self._connection.execute(sa.delete(batch).where(batch.c.id.in_(ids)))
            self._drop_unused_rosters()
        return len(rows)

    def _raise_watermarks(self, pruned: list[tuple[str, str, int]]) -> None:
        highest: dict[tuple[str, str], int] = {}
        for host, epoch, seq in pruned:
            highest[host, epoch] = max(seq, highest.get((host, epoch), 0))
        statement = insert(self._connection, watermark)
        known, new = watermark.c.pruned_seq, statement.excluded.pruned_seq
        statement = statement.on_conflict_do_update(
            index_elements=["host", "epoch"],
            set_={"pruned_seq": sa.case((new > known, new), else_=known)},
        )
        rows: list[Row] = [
            {"host": host, "epoch": epoch, "pruned_seq": seq}
            for (host, epoch), seq in sorted(highest.items())
        ]
        self._connection.execute(statement, rows)

    def _drop_unused_rosters(self) -> None:
        used = sa.exists().where(batch.c.roster == roster.c.id)
        self._connection.execute(sa.delete(roster).where(~used))
        kept = sa.exists().where(roster.c.id == roster_member.c.roster)
        self._connection.execute(sa.delete(roster_member).where(~kept))


def _pack(tick: TickBody) -> bytes:
    matrices = (tick.demand, tick.usage, tick.loss, tick.self_limited)
    array = np.array(matrices, dtype="<f4")  # None becomes NaN
    return zlib.compress(array.tobytes(), 1)


def _unpack(readings: bytes) -> F64:
    array = np.frombuffer(zlib.decompress(readings), dtype="<f4")
    return array.reshape(_N_MATRICES, -1, N_RESOURCES).astype(np.float64)
