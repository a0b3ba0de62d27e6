"""Claims are durable, whole, idempotent, and never sold twice, whatever dies and whoever races."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.batches import ManualClock
from tests.lots import CHANCE, H1, H2
from tests.stored import host_record

from evenkeel.adapters.store.store import SqlStore
from evenkeel.bench.claims_audit import audit
from evenkeel.controller.claims import Claims
from evenkeel.domain.claim import (
    Ask,
    CapacityShort,
    CapacityUnknown,
    Claim,
    ClaimChange,
    ClaimChanged,
    ClaimContended,
    ClaimEnded,
    ClaimId,
    ClaimInvalid,
    ClaimRefused,
    ClaimRequest,
    HostUnknown,
    KeyReused,
)
from evenkeel.domain.errors import NotFound, StoreUnavailable
from evenkeel.domain.ids import HostId, TenantId, VmId
from evenkeel.domain.resources import Resource
from evenkeel.domain.shard import Demand, PerformanceClass

SPAN_S = 366 * 86_400
CPU, MEMORY = Resource.CPU, Resource.MEMORY


@pytest.fixture
def now(clock: ManualClock) -> int:
    return int(clock.wall_s())


@pytest.fixture
def claims(store: SqlStore, clock: ManualClock) -> Iterator[Claims]:
    """On h1 and h2, 40 shards of CPU and 64 of memory each."""
    with store.write() as session:
        for name in ("h1", "h2"):
            session.inventory.put_host(host_record(name))
    claims = Claims(store, clock, CHANCE, SPAN_S)
    yield claims
    claims.close()


def asking(key: str, now: int, *asks: Ask, span_s: int = 1000) -> ClaimRequest:
    return ClaimRequest(
        key, TenantId("shop"), VmId("web1"), now, now + span_s, asks or (Ask(H1, CPU, 10),)
    )


def lots(claim: Claim) -> list[tuple[str, str, int, int, int]]:
    return [
        (lot.location.host, lot.resource.value, lot.n_shards, lot.start_s, lot.end_s)
        for lot in claim.lots
    ]


def stored(store: SqlStore, claim: Claim, since_s: int = 0) -> Claim:
    with store.read() as session:
        return session.claims.claims_by_id([claim.id], since_s)[claim.id]


def free(store: SqlStore, clock: ManualClock, at_s: int) -> list[int]:
    """Shards of CPU that a newcomer finds left on h1 and h2."""
    fresh = Claims(store, clock, CHANCE, SPAN_S)
    fresh.warm()
    left = fresh._books.calendar.free([H1, H2], at_s, at_s + 1)
    fresh.close()
    return [int(row[0]) for row in left]


def test_what_is_answered_is_stored(claims: Claims, store: SqlStore, now: int) -> None:
    request = asking("k", now, Ask(H1, CPU, 10), Ask(H2, MEMORY, 5, PerformanceClass.PINNED))
    claim = claims.submit(request).result(5)
    assert claim == stored(store, claim)
    assert claim.version == 1
    assert lots(claim) == [("h1", "cpu", 10, now, now + 1000), ("h2", "memory", 5, now, now + 1000)]
    assert [str(lot.name).rpartition("/")[0] for lot in claim.lots] == [
        "shard://local/local/h1/cpu",
        "shard://local/local/h2/memory",
    ]


def test_the_same_request_again_is_the_same_claim(
    claims: Claims, store: SqlStore, clock: ManualClock, now: int
) -> None:
    first = claims.submit(asking("k", now)).result(5)
    clock.now_s += 500
    assert claims.submit(asking("k", now)).result(5) == first
    other = Claims(store, clock, CHANCE, SPAN_S)
    assert other.submit(asking("k", now)).result(5) == first
    other.close()
    assert free(store, clock, now + 600)[0] == 30
    with pytest.raises(KeyReused):
        claims.submit(asking("k", now, Ask(H1, CPU, 11))).result(5)
    elsewhere = replace(asking("k", now + 500), owner=TenantId("bank"))
    assert claims.submit(elsewhere).result(5).id != first.id


def test_a_claim_that_does_not_fit_takes_nothing_and_says_why(
    claims: Claims, store: SqlStore, clock: ManualClock, now: int
) -> None:
    claims.submit(asking("a", now + 100, Ask(H2, CPU, 35), span_s=50)).result(5)
    with pytest.raises(CapacityShort) as refused:
        claims.submit(asking("b", now, Ask(H1, CPU, 10), Ask(H2, CPU, 10))).result(5)
    obstacle = refused.value.obstacle
    assert obstacle is not None
    assert (obstacle.host, obstacle.resource) == (H2, CPU)
    assert (obstacle.slot_start_s, obstacle.slot_end_s) == (now + 100, now + 150)
    assert (obstacle.asked, obstacle.free, obstacle.fits) == (10, 5, 5)
    assert obstacle.from_s == now + 150
    assert free(store, clock, now + 10) == [40, 40]
    assert claims.submit(asking("b", now, Ask(H1, CPU, 40))).result(5).version == 1


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (lambda now: asking("k", now, Ask(HostId("h9"), CPU, 1)), HostUnknown),
        (lambda now: asking("k", now, Ask(H1, Resource.NET, 1)), CapacityUnknown),
        (lambda now: asking("k", now, Ask(H1, CPU, 41)), CapacityShort),
        (lambda now: asking("k", now, Ask(H1, CPU, 0)), ClaimInvalid),
        (lambda now: asking("k", now - 3600), ClaimInvalid),
        (lambda now: asking("k", now, span_s=0), ClaimInvalid),
        (lambda now: asking("k", now, span_s=3650 * 86_400), ClaimInvalid),
    ],
)
def test_refusals_have_codes_and_take_nothing(
    claims: Claims, store: SqlStore, clock: ManualClock, now: int, request_: Any, error: type
) -> None:
    with pytest.raises(error) as refused:
        claims.submit(request_(now)).result(5)
    assert refused.value.hint
    assert free(store, clock, now) == [40, 40]
    assert claims.submit(asking("k", now)).result(5).version == 1


def test_a_release_frees_the_rest_and_keeps_the_past(
    claims: Claims, store: SqlStore, clock: ManualClock, now: int
) -> None:
    claim = claims.submit(asking("k", now, Ask(H1, CPU, 40))).result(5)
    clock.now_s += 100
    gone = claims.release(claim.id).result(5)
    assert (gone.released_at_s, gone.end_s, gone.lots) == (now + 100, now + 100, ())
    assert claims.release(claim.id).result(5) == gone
    assert lots(stored(store, claim)) == [("h1", "cpu", 40, now, now + 100)]
    assert claims.submit(asking("l", now + 100, Ask(H1, CPU, 40))).result(5).version == 1
    with pytest.raises(NotFound):
        claims.release(ClaimId("nobody")).result(5)


def test_a_claim_runs_out_by_itself(claims: Claims, clock: ManualClock, now: int) -> None:
    claim = claims.submit(asking("k", now, Ask(H1, CPU, 40), span_s=100)).result(5)
    clock.now_s += 100
    assert claims.submit(asking("l", now + 100, Ask(H1, CPU, 40))).result(5).version == 1
    with pytest.raises(ClaimEnded):
        claims.change(ClaimChange(claim.id, end_s=now + 500)).result(5)


def test_resizing_cuts_the_lot_now(
    claims: Claims, store: SqlStore, clock: ManualClock, now: int
) -> None:
    claim = claims.submit(asking("k", now, Ask(H1, CPU, 10), Ask(H1, MEMORY, 8))).result(5)
    clock.now_s += 10
    more = ClaimChange(claim.id, (Ask(H1, CPU, 20), Ask(H1, MEMORY, 8)), if_version=1)
    grown = claims.change(more).result(5)
    assert grown.version == 2
    assert lots(stored(store, claim)) == [
        ("h1", "cpu", 10, now, now + 10),
        ("h1", "memory", 8, now, now + 1000),
        ("h1", "cpu", 20, now + 10, now + 1000),
    ]
    clock.now_s += 10
    assert claims.change(replace(more, if_version=None)).result(5).version == 2
    with pytest.raises(ClaimChanged):
        claims.change(replace(more, asks=(Ask(H1, CPU, 5),))).result(5)
    with pytest.raises(CapacityShort):
        claims.change(ClaimChange(claim.id, (Ask(H1, CPU, 41),))).result(5)
    assert stored(store, claim).version == 2


def test_extending_and_shortening(claims: Claims, store: SqlStore, now: int) -> None:
    claim = claims.submit(asking("k", now, Ask(H1, CPU, 30), span_s=100)).result(5)
    other = claims.submit(asking("l", now + 200, Ask(H1, CPU, 30), span_s=100)).result(5)
    assert claims.change(ClaimChange(claim.id, end_s=now + 200)).result(5).end_s == now + 200
    with pytest.raises(CapacityShort) as refused:
        claims.change(ClaimChange(claim.id, end_s=now + 201)).result(5)
    assert refused.value.obstacle is not None
    assert refused.value.obstacle.slot_start_s == now + 200
    assert lots(claims.change(ClaimChange(claim.id, end_s=now + 50)).result(5))[0][4] == now + 50
    assert claims.change(ClaimChange(other.id, end_s=now + 900)).result(5).end_s == now + 900
    with pytest.raises(ClaimInvalid):
        claims.change(ClaimChange(claim.id, end_s=now - 1)).result(5)


def test_a_later_change_and_a_move_to_another_host(
    claims: Claims, store: SqlStore, clock: ManualClock, now: int
) -> None:
    claim = claims.submit(asking("k", now, Ask(H1, CPU, 30))).result(5)
    moved = ClaimChange(claim.id, (Ask(H2, CPU, 30),), from_s=now + 500)
    assert lots(claims.change(moved).result(5)) == [
        ("h1", "cpu", 30, now, now + 500),
        ("h2", "cpu", 30, now + 500, now + 1000),
    ]
    assert free(store, clock, now + 499) == [10, 40]
    assert free(store, clock, now + 500) == [40, 10]


def test_overcommit_by_forecast_is_stored_with_it(
    claims: Claims, store: SqlStore, clock: ManualClock, now: int
) -> None:
    wants = (Demand.of(CPU, 0.2, 0.05),)
    taken = 0
    while taken < 100:
        ask = Ask(H1, CPU, 20, PerformanceClass.SHARED, wants)
        try:
            claims.submit(asking(f"k{taken}", now, ask)).result(5)
        except CapacityShort:
            break
        taken += 1
    assert taken > 4, "more than full sizes would allow"
    other = Claims(store, clock, CHANCE, SPAN_S)
    with pytest.raises(CapacityShort):
        other.submit(asking("one more", now, replace(ask))).result(5)
    other.close()


def test_a_host_that_grows_takes_more_after_a_while(
    claims: Claims, store: SqlStore, clock: ManualClock, now: int
) -> None:
    claims.submit(asking("k", now, Ask(H1, CPU, 40))).result(5)
    record = host_record("h1")
    with store.write() as session:
        host = replace(record.host, cpus=(0, 1, 2))
        session.inventory.put_host(replace(record, host=host))
    clock.now_s += 61
    assert claims.submit(asking("l", now + 61, Ask(H1, CPU, 20))).result(5).version == 1


class _Broken:
    """A store whose writes fail at the end: before they are durable, or after."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store
        self.fails = ""

    def read(self) -> Any:
        return self._store.read()

    @contextmanager
    def write(self) -> Iterator[Any]:
        if self.fails == "before":
            with pytest.raises(RuntimeError), self._store.write() as session:  # noqa: PT012
                yield session
                raise RuntimeError
            raise StoreUnavailable("it broke before the commit")
        with self._store.write() as session:
            yield session
        if self.fails == "after":
            raise StoreUnavailable("the answer to the commit was lost")


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_commit_in_doubt_is_settled_by_asking_again(
    store: SqlStore, clock: ManualClock, claims: Claims, now: int, when: str
) -> None:
    broken = _Broken(store)
    doubtful = Claims(broken, clock, CHANCE, SPAN_S)  # type: ignore[arg-type]
    doubtful.submit(asking("a", now)).result(5)
    broken.fails = when
    with pytest.raises(StoreUnavailable):
        doubtful.submit(asking("b", now)).result(5)
    broken.fails = ""
    assert doubtful.submit(asking("b", now)).result(5).version == 1
    with pytest.raises(CapacityShort) as refused:
        doubtful.submit(asking("c", now, Ask(H1, CPU, 40))).result(5)
    assert refused.value.obstacle is not None
    assert refused.value.obstacle.free == 20
    doubtful.close()


def test_a_swap_that_is_lost_again_and_again_is_an_error(
    store: SqlStore, claims: Claims, now: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "evenkeel.adapters.store.claims.SqlClaims.advance", lambda *_: False, raising=True
    )
    with pytest.raises(ClaimContended):
        claims.submit(asking("a", now)).result(5)
    monkeypatch.undo()
    assert claims.submit(asking("a", now)).result(5).version == 1


def test_what_crashes_one_does_not_stop_the_others(
    claims: Claims, now: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evenkeel.placement import claiming

    real = claiming.granted

    def sometimes(request: ClaimRequest, now_s: float) -> Any:
        if request.key == "poison":
            raise ZeroDivisionError
        return real(request, now_s)

    monkeypatch.setattr(claiming, "granted", sometimes)
    keys = ["a", "b", "poison", "c"]
    answers = [claims.submit(asking(key, now, Ask(H1, CPU, 1))) for key in keys]
    wait(answers, 5)
    assert [isinstance(a.exception(), ZeroDivisionError) for a in answers] == [
        key == "poison" for key in keys
    ]


def test_nothing_is_taken_after_the_end(claims: Claims, now: int) -> None:
    answers = [claims.submit(asking(f"k{k}", now, Ask(H1, CPU, 1))) for k in range(20)]
    claims.close()
    assert all(answer.result(0).version == 1 for answer in answers)
    with pytest.raises(StoreUnavailable):
        claims.submit(asking("late", now)).result(5)


def test_two_controllers_and_many_clients_at_random(
    store: SqlStore, claims: Claims, clock: ManualClock, now: int, tmp_path: Path
) -> None:
    other_store = SqlStore(f"sqlite:///{tmp_path}/controller.db")
    both = (claims, Claims(other_store, clock, CHANCE, SPAN_S))
    acknowledged: dict[ClaimId, Claim] = {}
    lock = threading.Lock()

    def client(seed: int) -> None:
        rng = random.Random(seed)
        mine: list[ClaimId] = []
        for k in range(25):
            at = now + rng.randrange(500)
            asks = tuple(
                Ask(host, CPU, rng.randint(1, 15)) for host in (H1, H2) if rng.random() < 0.7
            ) or (Ask(H1, CPU, 1),)
            service = rng.choice(both)
            try:
                if not mine or rng.random() < 0.5:
                    request = asking(f"{seed}-{k}", at, *asks, span_s=rng.randint(1, 500))
                    answer = service.submit(request).result(20)
                    mine.append(answer.id)
                elif rng.random() < 0.6:
                    answer = service.change(ClaimChange(rng.choice(mine), asks)).result(20)
                else:
                    answer = service.release(mine.pop()).result(20)
            except ClaimRefused:
                continue
            with lock:
                acknowledged[answer.id] = answer

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(client, range(8)))
    both[1].close()
    other_store.close()
    seen = audit(f"sqlite:///{tmp_path}/controller.db")
    assert seen.overcommitted == []
    assert seen.n_claims == len(acknowledged) > 20
    assert seen.fullest > 0.8, "they were in one another's way"
    for claim in acknowledged.values():
        assert stored(store, claim, now) == claim
        assert seen.claims[claim.id]["version"] == claim.version


def test_the_audit_sees_what_is_sold_twice(
    claims: Claims, store: SqlStore, now: int, tmp_path: Path
) -> None:
    claims.submit(asking("a", now, Ask(H1, CPU, 30))).result(5)
    with store.write() as session:
        session.connection.exec_driver_sql(
            "UPDATE lot SET n_shards = n_shards + 11 WHERE resource = 'cpu'"
        )
    seen = audit(f"sqlite:///{tmp_path}/controller.db")
    assert len(seen.overcommitted) == 1
    assert seen.overcommitted[0].startswith("h1/cpu")
