"""Claims, lots and host generations (`ClaimStore`).

A claim is a row of `reservation` (a `claim` there is what a host says of a VM) and a row of `lot`
per lot; a lot's id is its claim's and a number. What every batch of claims does is constant text:
`claims_by_id`, `generations`, `advance`, `add` and `change`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from evenkeel.adapters.store.sql import insert_text, listed, run, unique
from evenkeel.adapters.store.tables import lot, reservation
from evenkeel.decoding import decoder
from evenkeel.domain.claim import Claim, ClaimId
from evenkeel.domain.ids import HostId, TenantId, VmId
from evenkeel.domain.resources import Resource
from evenkeel.domain.shard import Demand, Location, Lot, LotId, PerformanceClass

_steps = decoder(list[tuple[int, int, int, int]])
_DOT: Final = "."
_CHUNK: Final = 400
"""Names in one statement; databases have a limit."""
_LOTS: Final = sa.select(lot, reservation.c.owner).join(
    reservation, reservation.c.id == lot.c.reservation
)
_NAMED: Final = "SELECT * FROM reservation WHERE id = ANY(?)"
_GENERATIONS: Final = "SELECT host, generation FROM host_generation WHERE host = ANY(?)"
_SWAP: Final = """
INSERT INTO host_generation (host, generation) VALUES (?, ?)
ON CONFLICT (host) DO UPDATE SET generation = excluded.generation
WHERE host_generation.generation = excluded.generation - 1
"""
_ADD: Final = insert_text(reservation), insert_text(lot)
_PUT: Final = insert_text(reservation, replace=True), insert_text(lot, replace=True)
_Row = tuple[object, ...]


class SqlClaims:
    """See `evenkeel.ports_claims.ClaimStore`."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def claims_by_id(self, claims: Iterable[ClaimId], lots_since_s: int) -> dict[ClaimId, Claim]:
        rows = run(self._connection, _NAMED, (listed(self._connection, claims),)).all()
        return {claim.id: claim for claim in self._with_lots(rows, lots_since_s)}

    def claims(
        self,
        lots_since_s: int,
        owner: TenantId | None = None,
        vm: VmId | None = None,
        host: HostId | None = None,
        after: str = "",
        limit: int = 100,
    ) -> list[Claim]:
        query = sa.select(reservation).where(
            reservation.c.id > after, reservation.c.end_s > lots_since_s
        )
        if owner is not None:
            query = query.where(reservation.c.owner == owner)
        if vm is not None:
            query = query.where(reservation.c.vm == vm)
        if host is not None:
            here = sa.select(lot.c.reservation).where(
                lot.c.host == host, lot.c.end_s > lots_since_s
            )
            query = query.where(reservation.c.id.in_(here))
        rows = self._connection.execute(query.order_by(reservation.c.id).limit(limit)).all()
        return self._with_lots(rows, lots_since_s)

    def _with_lots(self, rows: Sequence[sa.Row[Any]], since_s: int) -> list[Claim]:
        lots: dict[str, list[Lot]] = defaultdict(list)
        for ids in _chunks([row.id for row in rows]):
            query = _LOTS.where(lot.c.reservation.in_(ids), lot.c.end_s > since_s)
            query = query.order_by(lot.c.start_s, lot.c.host, lot.c.resource, lot.c.number)
            for row in self._connection.execute(query):
                lots[row.reservation].append(_lot(row))
        return [_claim(row, lots[row.id]) for row in rows]

    def lots_of(self, hosts: Collection[HostId], since_s: int) -> dict[HostId, list[Lot]]:
        lots: dict[HostId, list[Lot]] = {host: [] for host in hosts}
        for ids in _chunks(unique(hosts)):
            query = _LOTS.where(lot.c.host.in_(ids), lot.c.end_s > since_s)
            for row in self._connection.execute(query):
                lots[HostId(row.host)].append(_lot(row))
        return lots

    def generations(self, hosts: Collection[HostId]) -> dict[HostId, int]:
        rows = run(self._connection, _GENERATIONS, (listed(self._connection, hosts),))
        return dict.fromkeys(hosts, 0) | {HostId(row.host): row.generation for row in rows}

    def advance(self, expected: Mapping[HostId, int]) -> bool:
        if not expected:  # a claim none of whose lots hold to its end, when that end moves
            return True
        # A host that has no row yet is inserted; a row in another generation is left alone.
        swap: list[_Row] = [(host, expected[HostId(host)] + 1) for host in unique(expected)]
        return run(self._connection, _SWAP, swap).rowcount == len(swap)

    def add(self, claims: Sequence[Claim]) -> None:
        self._put(claims, *_ADD)

    def change(self, claims: Sequence[Claim], gone: Collection[LotId]) -> None:
        for ids in _chunks(unique(gone)):
            pairs = [_parts(LotId(each)) for each in ids]
            here = sa.tuple_(lot.c.reservation, lot.c.number).in_(pairs)
            self._connection.execute(sa.delete(lot).where(here))
        self._put(claims, *_PUT)

    def _put(self, claims: Sequence[Claim], of_claims: str, of_lots: str) -> None:
        lots = [_lot_row(claim.id, each) for claim in claims for each in claim.lots]
        if claims:
            run(self._connection, of_claims, [_reservation_row(claim) for claim in claims])
        if lots:
            run(self._connection, of_lots, lots)

    def forget(self, before_s: int, limit: int) -> int:
        ended = sa.select(lot.c.reservation, lot.c.number).where(lot.c.end_s <= before_s)
        pairs = [tuple(row) for row in self._connection.execute(ended.limit(limit))]
        for some in _chunks(pairs):
            here = sa.tuple_(lot.c.reservation, lot.c.number).in_(some)
            self._connection.execute(sa.delete(lot).where(here))
        left = sa.exists().where(lot.c.reservation == reservation.c.id)
        over = sa.select(reservation.c.id).where(reservation.c.end_s <= before_s, ~left)
        ids = list(self._connection.scalars(over.limit(max(0, limit - len(pairs)))))
        for chunk in _chunks(ids):
            self._connection.execute(sa.delete(reservation).where(reservation.c.id.in_(chunk)))
        return len(pairs) + len(ids)


def _chunks(names: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (names[at : at + _CHUNK] for at in range(0, len(names), _CHUNK))


def _parts(lot_id: LotId) -> tuple[str, int]:
    claim, _, number = lot_id.rpartition(_DOT)
    return claim, int(number)


def _reservation_row(claim: Claim) -> _Row:
    return (
        claim.id,
        claim.owner,
        claim.vm,
        claim.key,
        claim.digest,
        claim.start_s,
        claim.end_s,
        claim.version,
        claim.created_at_s,
        claim.released_at_s,
        claim.n_lots_made,
    )


def _lot_row(claim: ClaimId, each: Lot) -> _Row:
    of, number = _parts(each.id)
    assert of == claim, "a lot's id is its claim's and a number"
    return (
        claim,
        number,
        each.location.host,
        each.location.region,
        each.location.provider,
        each.resource.value,
        each.n_shards,
        each.start_s,
        each.end_s,
        each.performance.value,
        _demand(each) if each.demand else "",
    )


def _demand(each: Lot) -> str:
    steps = [(step.from_s, step.mean, step.variance, step.deviation) for step in each.demand]
    return msgspec.json.encode(steps).decode()


def _lot(row: sa.Row[Any]) -> Lot:
    steps = _steps.decode(row.demand) if row.demand else []
    return Lot(
        id=LotId(f"{row.reservation}{_DOT}{row.number}"),
        location=Location(HostId(row.host), row.region, row.provider),
        resource=Resource(row.resource),
        n_shards=row.n_shards,
        start_s=row.start_s,
        end_s=row.end_s,
        performance=PerformanceClass(row.performance),
        owner=TenantId(row.owner),
        demand=tuple(Demand(*step) for step in steps),
    )


def _claim(row: sa.Row[Any], lots: Sequence[Lot]) -> Claim:
    return Claim(
        id=ClaimId(row.id),
        key=row.key,
        owner=TenantId(row.owner),
        vm=VmId(row.vm),
        start_s=row.start_s,
        end_s=row.end_s,
        lots=tuple(lots),
        version=row.version,
        digest=row.digest,
        created_at_s=row.created_at_s,
        released_at_s=row.released_at_s,
        n_lots_made=row.n_lots_made,
    )
