"""On what VMs were placed (`TermsStore`): a row for each that was placed on any terms at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
import sqlalchemy as sa

from evenkeel.adapters.store.sql import Row, unique, upsert
from evenkeel.adapters.store.tables import reservation, terms, vm
from evenkeel.decoding import decoder
from evenkeel.domain.ids import VmId
from evenkeel.domain.placement import Terms

_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = decoder(Terms)
_CHUNK: Final = 400
"""Names in one statement; databases have a limit."""


class SqlTerms:
    """See `evenkeel.ports_claims.TermsStore`."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def put(self, told: Mapping[VmId, Terms], at_s: float) -> None:
        plain = unique(name for name, of in told.items() if of.is_plain)
        for names in (plain[at : at + _CHUNK] for at in range(0, len(plain), _CHUNK)):
            self._connection.execute(sa.delete(terms).where(terms.c.vm.in_(names)))
        rows: list[Row] = [
            {"vm": name, "at_s": at_s, "document": _encoder.encode(of)}
            for name, of in told.items()
            if not of.is_plain
        ]
        upsert(self._connection, terms, rows)

    def of(self, vms: Iterable[VmId]) -> dict[VmId, Terms]:
        names, found = unique(vms), dict[VmId, Terms]()
        for some in (names[at : at + _CHUNK] for at in range(0, len(names), _CHUNK)):
            query = sa.select(terms).where(terms.c.vm.in_(some))
            found |= {VmId(row.vm): _read(row) for row in self._connection.execute(query)}
        return found

    def all(self, after: str = "", limit: int = 1000) -> dict[VmId, Terms]:
        query = sa.select(terms).where(terms.c.vm > after).order_by(terms.c.vm).limit(limit)
        return {VmId(row.vm): _read(row) for row in self._connection.execute(query)}

    def forget(self, before_s: float, limit: int) -> int:
        here = sa.exists().where(
            (vm.c.id == terms.c.vm) | (vm.c.name == terms.c.vm), vm.c.home.is_not(None)
        )
        held = sa.exists().where(reservation.c.vm == terms.c.vm, reservation.c.end_s > before_s)
        gone = sa.select(terms.c.vm).where(terms.c.at_s < before_s, ~here, ~held)
        names = list(self._connection.scalars(gone.limit(min(limit, _CHUNK))))
        if names:
            self._connection.execute(sa.delete(terms).where(terms.c.vm.in_(names)))
        return len(names)


def _read(row: sa.Row[tuple[str, float, bytes]]) -> Terms:
    return _decoder.decode(row.document)
