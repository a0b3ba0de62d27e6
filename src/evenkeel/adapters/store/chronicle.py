"""Mitigations and the append-only event log (`ChronicleStore`)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import msgspec
import sqlalchemy as sa

from evenkeel.adapters.store.sql import Row, insert_new, unique, upsert, vms_of
from evenkeel.adapters.store.tables import event, mitigation
from evenkeel.decoding import decoder
from evenkeel.domain.events import Event, Severity
from evenkeel.domain.ids import HostId, MitigationId, TenantId, VmId
from evenkeel.domain.plan import OPEN_STATES, Mitigation, MitigationState
from evenkeel.records import BatchSource, EventRecord, MitigationRecord

_encoder = msgspec.json.Encoder()
_decoder = decoder(MitigationRecord)


class SqlChronicle:
    """See `evenkeel.ports_store.ChronicleStore`."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def mitigations_by_id(
        self, host: HostId, ids: Iterable[MitigationId]
    ) -> dict[MitigationId, MitigationRecord]:
        query = sa.select(mitigation.c.document).where(
            mitigation.c.host == host, mitigation.c.id.in_(unique(ids))
        )
        records = [_decoder.decode(row.document) for row in self._connection.execute(query)]
        return {record.mitigation.id: record for record in records}

    def put_mitigations(self, records: Sequence[MitigationRecord]) -> None:
        rows: list[Row] = [
            {
                "host": record.mitigation.host,
                "id": record.mitigation.id,
                "created_at_s": record.mitigation.created_at_s,
                "state": record.mitigation.state.value,
                "open": record.mitigation.state in OPEN_STATES,
                "target": record.mitigation.target,
                "victim": record.mitigation.victim,
                "aggressor": record.mitigation.aggressor,
                "document": _encoder.encode(record),
            }
            for record in records
        ]
        upsert(self._connection, mitigation, rows)

    def mitigations(
        self,
        host: HostId | None = None,
        vm: VmId | None = None,
        tenant: TenantId | None = None,
        open_only: bool = False,
        before: tuple[float, str, str] | None = None,
        limit: int = 100,
    ) -> list[Mitigation]:
        columns = mitigation.c
        query = sa.select(columns.document)
        if host is not None:
            query = query.where(columns.host == host)
        if vm is not None:
            query = query.where(
                (columns.target == vm) | (columns.victim == vm) | (columns.aggressor == vm)
            )
        if tenant is not None:
            own = vms_of(tenant)
            query = query.where(columns.target.in_(own) | columns.victim.in_(own))
        if open_only:
            query = query.where(columns.open)
        order = (columns.created_at_s, columns.host, columns.id)
        if before is not None:
            query = query.where(sa.tuple_(*order) < sa.tuple_(*(sa.literal(x) for x in before)))
        query = query.order_by(*(column.desc() for column in order)).limit(limit)
        return [_decoder.decode(r.document).mitigation for r in self._connection.execute(query)]

    def abandoned(self, targets: Iterable[VmId]) -> list[Mitigation]:
        query = sa.select(mitigation.c.document).where(
            mitigation.c.target.in_(unique(targets)),
            mitigation.c.state == MitigationState.ABANDONED.value,
        )
        return [_decoder.decode(r.document).mitigation for r in self._connection.execute(query)]

    def add_events(self, events: Sequence[Event], source: BatchSource | None = None) -> None:
        rows: list[Row] = [
            {
                "at_s": one.at_s,
                "kind": one.kind,
                "severity": one.severity.value,
                "message": one.message,
                "host": one.host,
                "vm": one.vm,
                "detail": json.dumps(one.detail, sort_keys=True),
                "source_epoch": source.epoch if source else None,
                "source_seq": source.seq if source else None,
                "source_index": index if source else None,
            }
            for index, one in enumerate(events)
        ]
        insert_new(self._connection, event, rows)

    def events(
        self,
        host: HostId | None = None,
        vm: VmId | None = None,
        tenant: TenantId | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[EventRecord]:
        query = sa.select(event)
        if host is not None:
            query = query.where(event.c.host == host)
        if vm is not None:
            query = query.where(event.c.vm == vm)
        if tenant is not None:
            query = query.where(event.c.vm.in_(vms_of(tenant)))
        if before is not None:
            query = query.where(event.c.id < before)
        rows = self._connection.execute(query.order_by(event.c.id.desc()).limit(limit))
        return [_event_record(row) for row in rows]


def _event_record(row: sa.Row[tuple[object, ...]]) -> EventRecord:
    return EventRecord(
        id=row.id,
        event=Event(
            at_s=row.at_s,
            kind=row.kind,
            message=row.message,
            severity=Severity(row.severity),
            host=row.host,
            vm=row.vm,
            detail=json.loads(row.detail),
        ),
    )
