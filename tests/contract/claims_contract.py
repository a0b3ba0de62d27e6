"""What every store must do with claims, lots and generations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from tests.lots import H1, H2, lot

from evenkeel.domain.claim import Claim, ClaimId
from evenkeel.domain.ids import TenantId, VmId
from evenkeel.domain.resources import Resource
from evenkeel.domain.shard import Demand, Lot, LotId, PerformanceClass
from evenkeel.ports_store import Store

WANTS = (Demand(0, 5000, 10**14, 10**7), Demand(150, 1, 2, 3))


def a_claim(name: str, lots: Sequence[Lot] = (), **fields: object) -> Claim:
    """Its lots get ids of its own."""
    owner = TenantId(str(fields.pop("owner", "shop")))
    mine = tuple(replace(each, id=LotId(f"{name}.{k}"), owner=owner) for k, each in enumerate(lots))
    claim = Claim(
        ClaimId(name), f"key-{name}", owner, VmId("web1"), 100, 200, mine, 1, "digest", 99.5
    )
    return replace(claim, n_lots_made=len(mine), **fields)  # type: ignore[arg-type]


class ClaimsContract:
    def test_a_claim_reads_back_as_it_was_written(self, store: Store) -> None:
        lots = (
            lot(2**40 % 10**8, 100, 200, performance=PerformanceClass.SHARED, demand=WANTS),
            lot(5, 100, 200, host=H2, resource=Resource.MEMORY),
        )
        claim = a_claim("c1", lots, released_at_s=150)
        with store.write() as session:
            session.claims.add([claim, a_claim("c2")])
        with store.read() as session:
            found = session.claims.claims_by_id([claim.id, ClaimId("none")], 0)
            assert session.claims.lots_of([H1, H2], 0) == {H1: [claim.lots[0]], H2: [claim.lots[1]]}
        assert found == {claim.id: claim}

    def test_lots_that_ended_are_left_out_on_request(self, store: Store) -> None:
        claim = a_claim("c1", (lot(1, 100, 150), lot(2, 150, 200)))
        with store.write() as session:
            session.claims.add([claim])
        with store.read() as session:
            (found,) = session.claims.claims_by_id([claim.id], 150).values()
            assert found == replace(claim, lots=claim.lots[1:])
            assert session.claims.lots_of([H1], 149)[H1] == list(claim.lots)
            assert session.claims.lots_of([H1], 200) == {H1: []}

    def test_a_change_puts_some_lots_removes_others_and_keeps_the_rest(self, store: Store) -> None:
        claim = a_claim("c1", (lot(1, 100, 120), lot(2, 120, 200), lot(3, 120, 200, host=H2)))
        kept, shorter, gone = claim.lots
        shorter = replace(shorter, end_s=140)
        new = replace(gone, id=LotId("c1.3"), n_shards=9)
        with store.write() as session:
            session.claims.add([claim, a_claim("c2", (lot(7, 100, 200),))])
            changed = replace(claim, version=2, end_s=300, lots=(shorter, new), n_lots_made=4)
            session.claims.change([changed], [gone.id])
        with store.read() as session:
            (found,) = session.claims.claims_by_id([claim.id], 0).values()
            assert found == replace(changed, lots=(kept, shorter, new))
            (other,) = session.claims.claims_by_id([ClaimId("c2")], 0).values()
            assert other.lots[0].n_shards == 7

    def test_an_owner_has_each_key_once(self, store: Store) -> None:
        with store.write() as session:
            session.claims.add([a_claim("c1")])
        with pytest.raises(Exception, match=r"(?i)unique"), store.write() as session:
            session.claims.add([replace(a_claim("c2"), key="key-c1")])
        with store.write() as session:
            session.claims.add([replace(a_claim("c3", owner="bank"), key="key-c1")])

    def test_lists_are_by_id_and_filtered(self, store: Store) -> None:
        with store.write() as session:
            session.claims.add(
                [
                    a_claim("c1", (lot(1, 100, 200),)),
                    a_claim("c2", (lot(1, 100, 200, host=H2),), owner="bank"),
                    a_claim("c3", (lot(1, 100, 150),), end_s=150),
                    replace(a_claim("c4"), vm=VmId("db1"), end_s=500),
                ]
            )

        def names(*args: object, **filters: object) -> list[str]:
            with store.read() as session:
                return [c.id for c in session.claims.claims(*args, **filters)]  # type: ignore[arg-type]

        assert names(0) == ["c1", "c2", "c3", "c4"]
        assert names(0, limit=2) == ["c1", "c2"]
        assert names(0, after="c2") == ["c3", "c4"]
        assert names(150) == ["c1", "c2", "c4"]
        assert names(0, owner="bank") == ["c2"]
        assert names(0, vm="db1") == ["c4"]
        assert names(0, host=H1) == ["c1", "c3"]
        assert names(150, host=H1) == ["c1"]

    def test_generations_are_swapped_all_or_not_at_all(self, store: Store) -> None:
        with store.write() as session:
            assert session.claims.generations([H1, H2]) == {H1: 0, H2: 0}
            assert session.claims.advance({H1: 0, H2: 0})
            assert session.claims.advance({H1: 1})
            assert session.claims.advance({})
        with store.write() as session:
            assert session.claims.generations([H1, H2]) == {H1: 2, H2: 1}
        with pytest.raises(ValueError), store.write() as session:  # noqa: PT012
            assert not session.claims.advance({H1: 2, H2: 0})
            raise ValueError("given up")
        with store.read() as session:
            assert session.claims.generations([H1, H2]) == {H1: 2, H2: 1}

    def test_many_at_once(self, store: Store) -> None:
        claims = [a_claim(f"c{k:04}", (lot(1, 100, 200),)) for k in range(1000)]
        with store.write() as session:
            session.claims.add(claims)
        with store.read() as session:
            assert len(session.claims.claims_by_id([c.id for c in claims], 0)) == 1000
            assert len(session.claims.lots_of([H1], 0)[H1]) == 1000

    def test_what_ended_long_ago_is_forgotten_a_piece_at_a_time(self, store: Store) -> None:
        with store.write() as session:
            session.claims.add(
                [
                    a_claim("c1", (lot(1, 100, 150), lot(2, 150, 200)), end_s=200),
                    a_claim("c2", (lot(1, 100, 150), lot(2, 150, 400)), end_s=400),
                ]
            )
        with store.write() as session:
            assert session.claims.forget(200, 2) == 2
            assert session.claims.forget(200, 9) == 2
            assert session.claims.forget(200, 9) == 0
        with store.read() as session:
            (left,) = session.claims.claims(0)
            assert (left.id, [each.n_shards for each in left.lots]) == ("c2", [2])
