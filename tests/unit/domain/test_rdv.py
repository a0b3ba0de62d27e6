"""Demand vectors: odds of shards, one sentence, JSON and Arrow and back."""

from __future__ import annotations

import json
import math

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenkeel.adapters.history.arrow import from_table, to_table
from evenkeel.adapters.history.shelf import ParquetShelf
from evenkeel.domain.ids import VmId
from evenkeel.domain.quantiles import QUANTILES, row_quantiles
from evenkeel.domain.rdv import (
    DemandVector,
    FleetDemand,
    ResourceDemand,
    from_json,
    headline,
    shards_for,
    to_json,
)
from evenkeel.domain.resources import Resource

LEVELS = np.array(QUANTILES, np.float32)


def demand(now: float = 1.0, resource: Resource = Resource.CPU, **fields: object) -> ResourceDemand:
    """The peak within the hour is uniform over [1, 2] cores, within six over [1.5, 2.5]."""
    told = {
        "resource": resource,
        "origin_s": 1_800_000_000.0,
        "step_s": 300.0,
        "horizons_s": (300.0, 3600.0),
        "windows_s": (3600.0, 21_600.0),
        "values": np.stack([LEVELS, LEVELS + 0.5]),
        "peaks": np.stack([1 + LEVELS, 1.5 + LEVELS]),
        "now": now,
        "capacity": 4.0,
        "model": "m",
    }
    return ResourceDemand(**{**told, **fields})  # type: ignore[arg-type]


def test_the_odds_of_more_shards_come_from_the_peak() -> None:
    told = demand()
    assert told.held_shards() == 20
    assert told.need(1, 3600) == pytest.approx(1.0, abs=0.06)
    assert told.need(11, 3600) == pytest.approx(0.5, abs=1e-4)
    assert told.need(11, 21_600) > 0.95
    assert told.need(11, 12_600) == pytest.approx((0.5 + told.need(11, 21_600)) / 2, abs=1e-3)
    assert told.need(11, 60) == told.need(11, 3600)
    assert told.need(1, 3600, held_shards=40) < 0.011
    assert told.need(-30, 3600) == 1.0
    with pytest.raises(ValueError, match="no peak"):
        told.need(1, 86_400)


def test_a_demand_that_just_fills_its_shards_needs_no_more() -> None:
    for amount in (0.15, 0.3, 0.35, 1.1, 17.65):
        steady = np.full((2, 9), amount, np.float32)
        told = demand(now=float(np.float32(amount)), values=steady, peaks=steady)
        assert told.held_shards() == round(amount / 0.05)
        assert told.need(1, 3600) < 0.02
        assert told.need(0, 3600) > 0.9


@given(
    st.lists(st.floats(0, 100, width=32), min_size=9, max_size=9),
    st.integers(0, 50),
    st.integers(1, 60),
)
def test_odds_are_odds_and_fall_with_the_shards(raw: list[float], held: int, k: int) -> None:
    peaks = np.sort(np.array([raw, raw], np.float32))
    told = demand(peaks=peaks)
    odds = [told.need(n, 3600, held) for n in range(k, k + 4)]
    assert all(0 <= p <= 1 for p in odds)
    assert odds == sorted(odds, reverse=True)
    wanted = told.shards_wanted(0.5, 3600, held)
    assert wanted == 0 or told.need(wanted, 3600, held) >= 0.4999
    assert told.need(wanted + 1, 3600, held) < 0.5


def test_the_sentence_says_what_to_expect() -> None:
    assert headline(demand(), 3600) == "80 % chance that it needs 5 more CPU shards within the hour"
    quiet = demand(peaks=np.stack([LEVELS, LEVELS]))
    assert headline(quiet, 21_600) == ("99 % chance that it needs no more CPU shards within 6 h")
    one = demand(now=1.42)
    assert headline(one, 3600) == "50 % chance that it needs 2 more CPU shards within the hour"


def test_shards_are_whole() -> None:
    assert [shards_for(Resource.CPU, x) for x in (0, 0.01, 0.05, 0.0501, 1)] == [0, 1, 1, 2, 20]
    assert shards_for(Resource.MEMORY, 65) == 2


def test_json_and_back() -> None:
    vector = DemandVector(
        VmId("id-1"),
        {
            Resource.CPU: demand(now=math.nan, capacity=math.nan),
            Resource.NET: demand(resource=Resource.NET, windows_s=(), peaks=np.empty((0, 9))),
        },
    )
    text = json.dumps(to_json(vector), allow_nan=False)
    back = from_json(json.loads(text))
    assert back.vm == "id-1"
    assert list(back.demands) == [Resource.CPU, Resource.NET]
    np.testing.assert_allclose(
        back.demands[Resource.CPU].values, np.stack([LEVELS, LEVELS + 0.5]), atol=1e-6
    )
    assert math.isnan(back.demands[Resource.CPU].now)
    assert back.need(Resource.CPU, 11, 3600, 20) == pytest.approx(0.5, abs=1e-4)
    assert to_json(back) == json.loads(text)
    with pytest.raises(ValueError, match="version"):
        from_json({**to_json(vector), "v": 2})
    with pytest.raises(ValueError, match="lacks"):
        from_json({"v": 1, "quantiles": list(QUANTILES), "resources": [{}]})


def fleet(n: int = 3) -> FleetDemand:
    rng = np.random.default_rng(n)
    return FleetDemand(
        resource=Resource.IOPS,
        origin_s=1_800_000_000.0,
        step_s=300.0,
        horizons_s=(300.0, 3600.0),
        windows_s=(3600.0,),
        ids=tuple(f"vm{k}" for k in range(n)),
        values=np.sort(rng.random((n, 2, 9), np.float32)),
        peaks=np.sort(rng.random((n, 1, 9), np.float32)),
        now=np.array([1.0, np.nan, 3.0][:n]),
        capacity=np.full(n, np.nan),
        model="iops-1",
    )


def assert_same(one: FleetDemand, other: FleetDemand) -> None:
    for name in FleetDemand.__slots__:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), name)


def test_arrow_and_back() -> None:
    for n in (1, 3):
        told = fleet(n)
        table = to_table(told)
        assert len(table) == n * 3
        assert table.column_names[-9:] == [
            f"q{q}" for q in ["05", "10", "25", "50", "75", "80", "90", "95", "99"]
        ]
        back = from_table(table)
        assert back is not None
        assert_same(told, back)
    assert from_table(to_table(fleet(0))) is None
    with pytest.raises(ValueError, match="version"):
        from_table(to_table(told).replace_schema_metadata({}))


def test_the_shelf_keeps_the_latest_and_skips_damage(tmp_path) -> None:
    shelf = ParquetShelf(tmp_path / "forecasts")
    assert shelf.load() == []
    for n in (1, 3):
        shelf.save(fleet(n))
    (found,) = ParquetShelf(tmp_path / "forecasts").load()
    assert_same(found, fleet(3))
    rows = pq.read_table(tmp_path / "forecasts" / "iops.parquet").to_pylist()
    assert {row["what"] for row in rows} == {"demand", "peak"}
    (tmp_path / "forecasts" / "iops.parquet").write_bytes(b"PAR1")
    (tmp_path / "forecasts" / "cpu.parquet").write_bytes(b"")
    assert shelf.load() == []


def test_row_quantiles_leave_out_what_is_not_known() -> None:
    rng = np.random.default_rng(1)
    values = rng.random((20, 30)).astype(np.float32)
    values[rng.random(values.shape) < 0.3] = np.nan
    levels = np.array([0.0, 0.1, 0.5, 0.99, 1.0])
    np.testing.assert_allclose(
        row_quantiles(values, levels), np.nanquantile(values, levels, axis=1).T, rtol=1e-5
    )
    assert np.isnan(row_quantiles(np.full((1, 3), np.nan, np.float32), levels)).all()
