"""Names of shards read back as written; splits and merges change no sum."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenkeel.domain.ids import HostId, TenantId
from evenkeel.domain.resources import Resource
from evenkeel.domain.shard import (
    Demand,
    Location,
    Lot,
    LotId,
    LotState,
    PerformanceClass,
    ShardInvalid,
    ShardName,
    merge,
    move,
    split_shards,
    split_time,
)

NAMES = st.text(st.characters(categories=("L", "N", "P", "S", "Zs")), min_size=1, max_size=20)


def a_lot(n: int = 10, start_s: int = 100, end_s: int = 200) -> Lot:
    return Lot(
        LotId("a"),
        Location(HostId("h1")),
        Resource.CPU,
        n,
        start_s,
        end_s,
        PerformanceClass.SHARED,
        TenantId("shop"),
        (Demand.of(Resource.CPU, 0.13, 0.07), Demand.of(Resource.CPU, 0.4, 0.1, from_s=150)),
    )


def wanted(lots: tuple[Lot, ...]) -> list[tuple[int, int, int]]:
    steps = zip(*(lot.demand for lot in lots), strict=True)
    return [
        (sum(d.mean for d in s), sum(d.variance for d in s), sum(d.deviation for d in s))
        for s in steps
    ]


@given(host=NAMES, region=NAMES, provider=NAMES, lot=NAMES, resource=st.sampled_from(Resource))
def test_a_name_reads_back(
    host: str, region: str, provider: str, lot: str, resource: Resource
) -> None:
    name = ShardName(Location(HostId(host), region, provider), resource, LotId(lot))
    assert ShardName.parse(str(name)) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "http://a/b/c/cpu/d",
        "shard://a/b/c/cpu",
        "shard://a/b/c/disk/d",
        "shard://a//c/cpu/d",
        "shard://a/b/c/cpu/d/e",
        "shard://a/b/c/cpu/d?x=1",
        "shard://a/b/c/cpu/%00",
        "shard://[a/b/c/cpu/d",
    ],
)
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(ShardInvalid):
        ShardName.parse(text)


@given(n=st.integers(2, 500), data=st.data())
def test_splitting_shards_and_merging_is_nothing(n: int, data: st.DataObject) -> None:
    lot = a_lot(n)
    k = data.draw(st.integers(1, n - 1))
    parts = split_shards(lot, k, LotId("b"))
    assert [part.n_shards for part in parts] == [k, n - k]
    assert wanted(parts) == wanted((lot,))
    assert merge(*parts) == lot


@given(at_s=st.integers(101, 199))
def test_splitting_time_and_merging_is_nothing(at_s: int) -> None:
    early, late = split_time(a_lot(), at_s, LotId("b"))
    assert (early.end_s, late.start_s) == (at_s, at_s)
    assert merge(early, late) == a_lot()


@pytest.mark.parametrize("n", [0, 10, 11, -1])
def test_no_part_of_a_split_is_empty(n: int) -> None:
    with pytest.raises(ShardInvalid):
        split_shards(a_lot(), n, LotId("b"))


@pytest.mark.parametrize("at_s", [99, 100, 200])
def test_no_part_of_time_is_empty(at_s: int) -> None:
    with pytest.raises(ShardInvalid):
        split_time(a_lot(), at_s, LotId("b"))


def test_unlike_lots_do_not_merge() -> None:
    with pytest.raises(ShardInvalid):
        merge(a_lot(), move(a_lot(), Location(HostId("h2"))))
    with pytest.raises(ShardInvalid):
        merge(a_lot(), a_lot(start_s=300, end_s=400))
    with pytest.raises(ShardInvalid):
        merge(a_lot(), a_lot(n=9, start_s=200, end_s=300))


def test_a_moved_lot_keeps_its_id_and_gets_another_name() -> None:
    moved = move(a_lot(), Location(HostId("h2")))
    assert moved.id == a_lot().id
    assert str(moved.name) == "shard://local/local/h2/cpu/a"


@pytest.mark.parametrize(
    ("now_s", "state"),
    [
        (99, LotState.UPCOMING),
        (100, LotState.ACTIVE),
        (199.9, LotState.ACTIVE),
        (200, LotState.ENDED),
    ],
)
def test_a_lot_holds_its_start_and_not_its_end(now_s: float, state: LotState) -> None:
    assert a_lot().state(now_s) is state


@pytest.mark.parametrize(("n", "start_s", "end_s"), [(0, 1, 2), (-1, 1, 2), (1, 2, 2), (1, 3, 2)])
def test_lots_of_nothing_do_not_exist(n: int, start_s: int, end_s: int) -> None:
    with pytest.raises(ShardInvalid):
        a_lot(n, start_s, end_s)


@pytest.mark.parametrize(
    ("mean", "deviation"), [(-1.0, 0.0), (1.0, -1.0), (float("nan"), 0.0), (1.0, float("inf"))]
)
def test_demand_is_a_distribution(mean: float, deviation: float) -> None:
    with pytest.raises(ShardInvalid):
        Demand.of(Resource.CPU, mean, deviation)


def test_demand_is_counted_in_thousandths_of_a_shard() -> None:
    assert Demand.of(Resource.CPU, 0.05, 0.1) == Demand(0, 1000, 2000**2, 2000)
