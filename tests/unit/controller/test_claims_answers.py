"""Answers to claims: durable when they are given, and not kept from anybody by who comes next."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from typing import Any

import pytest
from tests.batches import ManualClock
from tests.lots import CHANCE, H1
from tests.stored import host_record

from evenkeel.adapters.store.store import SqlStore
from evenkeel.controller.claims import Claims
from evenkeel.domain.claim import Ask, Claim, ClaimRequest
from evenkeel.domain.errors import StoreUnavailable
from evenkeel.domain.ids import TenantId, VmId
from evenkeel.domain.resources import Resource

PATIENCE_S = 5.0


class Gated:
    """A store in which every commit waits until it is let through, or fails."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store
        self._gate = threading.Semaphore(0)
        self.at_gate = threading.Semaphore(0)
        self.fails = False

    def read(self) -> Any:
        return self._store.read()

    def let_through(self) -> None:
        self._gate.release()

    @contextmanager
    def write(self) -> Iterator[Any]:
        with self._store.write() as session:
            yield session
            self.at_gate.release()
            assert self._gate.acquire(timeout=PATIENCE_S)
            if self.fails:
                raise StoreUnavailable("it broke before the commit")


@pytest.fixture
def gated(store: SqlStore) -> Gated:
    with store.write() as session:
        session.inventory.put_host(host_record("h1"))
    return Gated(store)


@pytest.fixture
def claims(gated: Gated, clock: ManualClock) -> Iterator[Claims]:
    claims = Claims(gated, clock, CHANCE, 86_400)  # type: ignore[arg-type]
    yield claims
    claims.close()


def asking(key: str, clock: ManualClock) -> ClaimRequest:
    now = int(clock.wall_s())
    asks = (Ask(H1, Resource.CPU, 1),)
    return ClaimRequest(key, TenantId("shop"), VmId("web1"), now, now + 1000, asks)


def is_stored(store: SqlStore, answer: Future[Claim]) -> bool:
    with store.read() as session:
        return answer.result().id in session.claims.claims_by_id([answer.result().id], 0)


def test_who_is_done_is_answered_while_the_next_ones_commit_waits(
    claims: Claims, gated: Gated, clock: ManualClock
) -> None:
    first = claims.submit(asking("a", clock))
    assert gated.at_gate.acquire(timeout=PATIENCE_S)
    second = claims.submit(asking("b", clock))
    assert not first.done()
    gated.let_through()
    assert first.result(PATIENCE_S).version == 1
    assert gated.at_gate.acquire(timeout=PATIENCE_S)
    assert not second.done()
    gated.let_through()
    assert second.result(PATIENCE_S).version == 1


def test_who_is_done_is_answered_although_the_next_one_fails(
    claims: Claims, gated: Gated, clock: ManualClock
) -> None:
    first = claims.submit(asking("a", clock))
    assert gated.at_gate.acquire(timeout=PATIENCE_S)
    second = claims.submit(asking("b", clock))
    gated.let_through()
    assert gated.at_gate.acquire(timeout=PATIENCE_S)
    gated.fails = True
    gated.let_through()
    assert first.result(PATIENCE_S).version == 1
    with pytest.raises(StoreUnavailable):
        second.result(PATIENCE_S)


def test_every_claim_is_in_the_store_at_the_moment_of_its_answer(
    store: SqlStore, clock: ManualClock
) -> None:
    with store.write() as session:
        session.inventory.put_host(host_record("h1"))
    claims = Claims(store, clock, CHANCE, 86_400)
    seen: list[bool] = []
    answers = []
    for k in range(30):
        answer = claims.submit(asking(f"k{k}", clock))
        answer.add_done_callback(lambda told: seen.append(is_stored(store, told)))
        answers.append(answer)
    wait(answers, PATIENCE_S)
    claims.close()
    assert seen == [True] * 30
