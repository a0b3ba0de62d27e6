"""A token that was good is remembered for a moment, and never beyond its revocation here."""

from __future__ import annotations

import pytest
from tests.batches import ManualClock

from evenkeel.adapters.store.store import SqlStore
from evenkeel.controller.tokens import REMEMBERED_S, TokenService
from evenkeel.domain.errors import TokenRevoked, Unauthenticated
from evenkeel.records import TokenRecord


@pytest.fixture
def tokens(store: SqlStore, clock: ManualClock) -> TokenService:
    tokens = TokenService(store, clock)
    tokens.create("admin", "first", who="test")
    return tokens


def test_a_verified_token_is_remembered_for_a_moment(
    tokens: TokenService, clock: ManualClock
) -> None:
    new = tokens.create("tenant", "shop", who="test")
    assert tokens.remembered(new.secret) is None
    tokens.verify(new.secret)
    assert tokens.remembered(new.secret) == new.record
    clock.now_s += REMEMBERED_S
    assert tokens.remembered(new.secret) is None


def test_a_token_that_is_not_known_is_not_remembered(tokens: TokenService) -> None:
    with pytest.raises(Unauthenticated):
        tokens.verify("ek_nobodys")
    assert tokens.remembered("ek_nobodys") is None


def test_what_is_revoked_here_ends_at_once(tokens: TokenService) -> None:
    new = tokens.create("tenant", "shop", who="test")
    tokens.verify(new.secret)
    tokens.revoke(new.record.id, who="test")
    assert tokens.remembered(new.secret) is None
    with pytest.raises(TokenRevoked):
        tokens.verify(new.secret)


def test_what_was_read_before_a_revocation_is_not_remembered_after_it(
    tokens: TokenService, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = tokens.create("tenant", "shop", who="test")

    def revoked_meanwhile(record: TokenRecord | None) -> TokenRecord:
        assert record is not None
        monkeypatch.undo()
        tokens.revoke(new.record.id, who="test")
        return record

    monkeypatch.setattr("evenkeel.controller.tokens._valid", revoked_meanwhile)
    tokens.verify(new.secret)
    assert tokens.remembered(new.secret) is None


def test_what_another_controller_revokes_ends_within_a_second(
    tokens: TokenService, store: SqlStore, clock: ManualClock
) -> None:
    new = tokens.create("tenant", "shop", who="test")
    tokens.verify(new.secret)
    TokenService(store, clock).revoke(new.record.id, who="test")
    clock.now_s += REMEMBERED_S
    assert tokens.remembered(new.secret) is None
