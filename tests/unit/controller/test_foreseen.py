"""Asks that count by forecast: demand from quantiles, in full where nothing is known."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from tests.batches import ManualClock
from tests.lots import CHANCE, H1
from tests.stored import host_record

from evenkeel.adapters.store.store import SqlStore
from evenkeel.controller.claims import Claims
from evenkeel.controller.foreseen import Foreseen
from evenkeel.controller.near import Latest
from evenkeel.domain.claim import Ask, ClaimChange, ClaimRequest
from evenkeel.domain.ids import NO_TENANT, VmId
from evenkeel.domain.quantiles import QUANTILES
from evenkeel.domain.rdv import FleetDemand
from evenkeel.domain.resources import CPU_AXIS, Resource
from evenkeel.domain.shard import MILLI, PerformanceClass

ASK = Ask(H1, Resource.CPU, 40, PerformanceClass.SHARED, by_forecast=True)


def told(origin_s: float = 1000.0) -> Mapping[Resource, Latest]:
    """web1 wants half a core for 300 s, then 1 core give or take, then .2 until the hour."""
    spread = np.array(QUANTILES, dtype=np.float32) - 0.5
    values = np.stack([0.5 + 0 * spread, 1.0 + spread, 0.2 + 0 * spread])[None].astype(np.float32)
    fleet = FleetDemand(
        resource=Resource.CPU,
        ids=("web1",),
        origin_s=origin_s,
        step_s=300.0,
        horizons_s=(300.0, 900.0, 3600.0),
        windows_s=(),
        values=values,
        peaks=np.zeros((1, 0, len(QUANTILES)), np.float32),
        now=np.array([0.5]),
        capacity=np.array([2.0]),
    )
    return {Resource.CPU: Latest.of(fleet)}


def test_steps_follow_the_horizons_and_the_rest_is_in_full() -> None:
    filled = Foreseen(told)(VmId("web1"), ASK)
    assert not filled.by_forecast
    first, second, third, rest = filled.demand
    assert [step.from_s for step in filled.demand] == [1000, 1300, 1900, 4600]
    assert (first.mean, first.deviation) == (10 * MILLI, 0)
    assert abs(second.mean - 20 * MILLI) < 200
    assert 4000 < second.deviation < 7000
    assert third == type(third)(1900, second.mean, second.variance, second.deviation), "the larger"
    assert (rest.mean, rest.deviation) == (40 * MILLI, 0)


def test_what_is_not_forecast_counts_in_full() -> None:
    assert Foreseen(told)(VmId("db1"), ASK).demand == ()
    assert Foreseen(dict)(VmId("web1"), ASK).demand == ()


def test_nobody_wants_more_than_the_lot_is() -> None:
    small = Ask(H1, Resource.CPU, 12, PerformanceClass.SHARED, by_forecast=True)
    steps = Foreseen(told)(VmId("web1"), small).demand
    assert max(step.mean for step in steps) == 12 * MILLI


def test_claims_count_by_forecast_and_stay_the_same_when_it_changes(
    store: SqlStore, clock: ManualClock
) -> None:
    with store.write() as session:
        session.inventory.put_host(host_record("h1"))
    now = int(clock.wall_s())
    forecasts = [told(now)]
    claims = Claims(store, clock, CHANCE, 10**7, Foreseen(lambda: forecasts[0]))
    request = ClaimRequest("k", NO_TENANT, VmId("web1"), now, now + 600, (ASK,))
    claim = claims.submit(request).result(5)
    assert len(claim.lots[0].demand) == 4
    assert claims._books.calendar.free([H1], now, now + 300)[0, CPU_AXIS] == 30
    forecasts[0] = told(now + 100)
    assert claims.submit(request).result(5) == claim
    again = claims.change(ClaimChange(claim.id, (ASK,))).result(5)
    assert again.lots[0].demand[0].from_s == now + 100
    claims.close()
