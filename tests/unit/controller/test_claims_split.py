"""A part of a claim becomes another claim, and claims become one: no instant's sum changes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.batches import ManualClock
from tests.lots import CHANCE, H1, H2, by_second
from tests.stored import host_record

from evenkeel.adapters.store.store import SqlStore
from evenkeel.bench.claims_audit import audit
from evenkeel.controller.claims import Claims
from evenkeel.domain.claim import (
    Ask,
    Claim,
    ClaimChange,
    ClaimEnded,
    ClaimId,
    ClaimInvalid,
    ClaimMerge,
    ClaimRefused,
    ClaimRequest,
    ClaimSplit,
    KeyReused,
)
from evenkeel.domain.errors import NotFound
from evenkeel.domain.ids import TenantId, VmId
from evenkeel.domain.resources import Resource
from evenkeel.domain.shard import Demand, PerformanceClass

CPU, MEMORY = Resource.CPU, Resource.MEMORY
SHOP, BANK = TenantId("shop"), TenantId("bank")


@pytest.fixture
def now(clock: ManualClock) -> int:
    return int(clock.wall_s())


@pytest.fixture
def claims(store: SqlStore, clock: ManualClock) -> Iterator[Claims]:
    with store.write() as session:
        for name in ("h1", "h2"):
            session.inventory.put_host(host_record(name))
    claims = Claims(store, clock, CHANCE, 10**7)
    yield claims
    claims.close()


def taken(claims: Claims, now: int, key: str = "k", *asks: Ask, span_s: int = 1000) -> Claim:
    asks = asks or (Ask(H1, CPU, 40), Ask(H1, MEMORY, 10))
    request = ClaimRequest(key, SHOP, VmId("web1"), now, now + span_s, asks)
    return claims.submit(request).result(5)


def part(claim: Claim, n: int, key: str = "p", **fields: object) -> ClaimSplit:
    split = ClaimSplit(claim.id, key, BANK, VmId("db1"), (Ask(H1, CPU, n),))
    return replace(split, **fields)  # type: ignore[arg-type]


def lots(claim: Claim) -> list[tuple[str, int, int, int]]:
    return [(lot.resource.value, lot.n_shards, lot.start_s, lot.end_s) for lot in claim.lots]


def stored(store: SqlStore, claim: ClaimId) -> Claim:
    with store.read() as session:
        return session.claims.claims_by_id([claim], 0)[claim]


def test_a_part_of_a_full_host_changes_hands(
    claims: Claims, store: SqlStore, clock: ManualClock, now: int
) -> None:
    whole = taken(claims, now)
    clock.now_s += 100
    at = now + 100
    new = claims.split(part(whole, 15)).result(5)
    assert (new.owner, new.vm, new.version) == (BANK, "db1", 1)
    assert (new.start_s, new.end_s) == (at, now + 1000)
    assert lots(new) == [("cpu", 15, at, now + 1000)]
    assert new.lots[0].owner == BANK
    assert stored(store, new.id) == new
    rest = stored(store, whole.id)
    assert rest.version == 2
    assert lots(rest) == [
        ("cpu", 40, now, at),
        ("memory", 10, now, now + 1000),
        ("cpu", 25, at, now + 1000),
    ]
    assert claims.split(part(whole, 15)).result(5) == new
    with pytest.raises(KeyReused):
        claims.split(part(whole, 16)).result(5)
    with pytest.raises(ClaimInvalid, match="25 of 26"):
        claims.split(part(whole, 26, "q")).result(5)


def test_a_whole_claim_changes_hands_and_ends(
    claims: Claims, store: SqlStore, clock: ManualClock, now: int
) -> None:
    whole = taken(claims, now, "k", Ask(H1, CPU, 40))
    clock.now_s += 10
    claims.split(part(whole, 40)).result(5)
    ended = stored(store, whole.id)
    assert (ended.end_s, ended.released_at_s) == (now + 10, now + 10)
    with pytest.raises(ClaimEnded):
        claims.split(part(whole, 1, "q")).result(5)


def test_a_part_can_change_hands_later(claims: Claims, store: SqlStore, now: int) -> None:
    whole = taken(claims, now)
    new = claims.split(part(whole, 40, from_s=now + 500)).result(5)
    assert lots(new) == [("cpu", 40, now + 500, now + 1000)]
    assert lots(stored(store, whole.id)) == [
        ("cpu", 40, now, now + 500),
        ("memory", 10, now, now + 1000),
    ]
    with pytest.raises(ClaimInvalid):
        claims.split(part(whole, 1, "q", from_s=now + 1000)).result(5)


def test_demand_goes_with_the_shards(claims: Claims, store: SqlStore, now: int) -> None:
    wants = (Demand.of(CPU, 1.01, 0.33),)
    ask = Ask(H1, CPU, 40, PerformanceClass.SHARED, wants)
    whole = taken(claims, now, "k", ask)
    new = claims.split(part(whole, 13)).result(5)
    rest = stored(store, whole.id)
    assert new.lots[0].demand[0] + rest.lots[0].demand[0] == wants[0]
    back = claims.split(part(new, 13, "back", owner=SHOP, vm=VmId("web1"))).result(5)
    one = claims.merge(ClaimMerge(whole.id, back.id)).result(5)
    again = claims.change(ClaimChange(whole.id, (ask,))).result(5)
    assert [lot.n_shards for lot in one.lots] == [27, 13]
    assert [(lot.n_shards, lot.demand) for lot in again.lots] == [(40, wants)]


def test_merging_ends_the_other(
    claims: Claims, store: SqlStore, clock: ManualClock, now: int
) -> None:
    one = taken(claims, now, "k", Ask(H1, CPU, 10))
    other = taken(claims, now, "l", Ask(H2, CPU, 10), span_s=2000)
    clock.now_s += 10
    both = claims.merge(ClaimMerge(one.id, other.id)).result(5)
    assert both.end_s == now + 2000
    assert lots(both) == [("cpu", 10, now, now + 1000), ("cpu", 10, now + 10, now + 2000)]
    assert stored(store, both.id) == both
    assert stored(store, other.id).released_at_s == now + 10
    assert claims.merge(ClaimMerge(one.id, other.id)).result(5) == both
    with pytest.raises(ClaimInvalid):
        claims.merge(ClaimMerge(one.id, one.id)).result(5)
    with pytest.raises(NotFound):
        claims.merge(ClaimMerge(one.id, ClaimId("none"))).result(5)


def test_at_random_no_instants_sum_changes(
    claims: Claims, store: SqlStore, clock: ManualClock, now: int, tmp_path: Path
) -> None:
    rng = random.Random(3)
    wants = (Demand.of(CPU, 0.9, 0.21), Demand.of(CPU, 0.5, 0.1, now + 30))
    live = [
        taken(claims, now, "a", Ask(H1, CPU, 8), Ask(H1, MEMORY, 50), span_s=60).id,
        taken(claims, now, "b", Ask(H1, CPU, 29, PerformanceClass.SHARED, wants), span_s=60).id,
    ]

    def sums() -> np.ndarray:
        with store.read() as session:
            held = session.claims.lots_of([H1], 0)[H1]
        shifted = [
            replace(
                lot,
                start_s=lot.start_s - now,
                end_s=lot.end_s - now,
                demand=tuple(replace(d, from_s=d.from_s - now) for d in lot.demand),
            )
            for lot in held
        ]
        return by_second(shifted, 60)

    before, n_done = sums(), 0
    for k in range(80):
        if k % 2:
            clock.now_s += 1
        claim = rng.choice(live)
        try:
            if rng.random() < 0.6:
                ask = Ask(H1, rng.choice((CPU, MEMORY)), rng.randint(1, 8))
                split = ClaimSplit(claim, f"s{k}", SHOP, VmId("x"), (ask,))
                live.append(claims.split(split).result(5).id)
            else:
                claims.merge(ClaimMerge(claim, rng.choice(live))).result(5)
        except ClaimRefused:
            continue
        n_done += 1
        assert (sums() == before).all()
    assert n_done > 20
    assert audit(f"sqlite:///{tmp_path}/controller.db").overcommitted == []


def test_the_end_of_a_claim_moves_though_none_of_its_lots_hold_to_it(
    claims: Claims, store: SqlStore, now: int
) -> None:
    short = taken(claims, now, "short", Ask(H1, CPU, 40), span_s=1000)
    long = taken(claims, now, "long", Ask(H1, MEMORY, 10), span_s=2000)
    claims.merge(ClaimMerge(short.id, long.id)).result(5)
    claims.split(part(short, 1, asks=(Ask(H1, MEMORY, 10),))).result(5)
    left = stored(store, short.id)
    assert (lots(left), left.end_s) == ([("cpu", 40, now, now + 1000)], now + 2000)
    moved = claims.change(ClaimChange(short.id, end_s=now + 1500)).result(5)
    assert (lots(moved), moved.end_s) == (lots(left), now + 1500)
    assert stored(store, short.id) == moved
