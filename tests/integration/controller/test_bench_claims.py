"""A short `evenkeel bench claims` with two real controllers on one database, killed with -9."""

from __future__ import annotations

import pytest

from evenkeel.bench.claims import _lost, bench_claims
from evenkeel.bench.claims_audit import Audit
from evenkeel.bench.claims_clients import Noted

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_nothing_is_sold_twice_and_nothing_is_lost(database: str) -> None:
    result = bench_claims(
        minutes=0.2,
        clients=8,
        kills=2,
        controllers=2,
        database=database,
        seed=1,
        report=lambda _: None,
    )
    found = result.metrics
    assert found["kills"] == 2
    assert found["claims"] > 20
    assert found["changes"] > 0 < found["releases"]
    broken = {name: found[name] for name in ("overcommitted", "too_risky", "lost", "unknown")}
    assert broken == dict.fromkeys(broken, 0), result.detail


def test_what_is_lost_is_seen() -> None:
    lot = {"host": "h", "resource": "cpu", "performance": "pinned", "n_shards": 2}
    told = {
        "version": 1,
        "end_s": 9,
        "released_at_s": None,
        "lots": [lot | {"start_s": 1, "end_s": 9}],
    }
    kept = {"version": 1, "end_s": 9, "released_at_s": None, "start_s": 1}
    noted = Noted(
        claims={"a": told, "b": told, "c": told, "d": told, "e": told, "f": told},
        doubtful={"e": {"end_s": 5}, "f": {"end_s": 6}},
    )
    stored = {
        "a": kept | {"lots": [("h", "cpu", "pinned", 2, 1, 9)]},
        "b": kept | {"lots": [("h", "cpu", "pinned", 1, 1, 9)]},
        "c": kept | {"version": 2, "lots": [("h", "cpu", "pinned", 2, 1, 9)]},
        "e": kept | {"version": 2, "end_s": 5, "lots": [("h", "cpu", "pinned", 2, 1, 5)]},
        "f": kept | {"version": 2, "end_s": 5, "lots": [("h", "cpu", "pinned", 2, 1, 5)]},
    }
    lost = _lost(noted, Audit(3, 3, [], [], 0.0, stored))
    assert [one[:1] for one in lost] == ["b", "c", "d", "f"]
