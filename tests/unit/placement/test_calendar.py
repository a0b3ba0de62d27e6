"""Intervals hold their start and not their end; refusals say what stands in the way."""

from __future__ import annotations

import numpy as np
from tests.lots import CHANCE, H1, H2, lot

from evenkeel.domain.resources import CPU_AXIS, N_RESOURCES, Resource
from evenkeel.domain.shard import MILLI, Demand, PerformanceClass
from evenkeel.placement.calendar import UNKNOWN, Calendar, Lots, capacity_shards
from evenkeel.placement.profile import Profile, committed
from evenkeel.placement.shortfall import Totals, shortfall_odds

CAPACITY = np.full(N_RESOURCES, 20, dtype=np.intp)
SHARED, BEST_EFFORT = PerformanceClass.SHARED, PerformanceClass.BEST_EFFORT


def a_calendar() -> Calendar:
    calendar = Calendar(CHANCE)
    calendar.open(H1, CAPACITY)
    calendar.open(H2, CAPACITY)
    return calendar


def test_one_may_begin_when_the_other_ends() -> None:
    calendar = a_calendar()
    assert calendar.change({H1: Lots((lot(20, 0, 100),))}, 1000) is None
    assert calendar.change({H1: Lots((lot(20, 100, 200),))}, 1000) is None
    assert calendar.change({H1: Lots((lot(1, 99, 100),))}, 1000) is not None


def test_a_refusal_names_the_slot_and_what_would_fit() -> None:
    calendar = a_calendar()
    calendar.change({H1: Lots((lot(5, 0, 300), lot(8, 100, 200)))}, 1000)
    obstacle = calendar.change({H1: Lots((lot(10, 50, 150),))}, 1000)
    assert obstacle is not None
    assert (obstacle.host, obstacle.resource) == (H1, Resource.CPU)
    assert (obstacle.slot_start_s, obstacle.slot_end_s) == (100, 150)
    assert (obstacle.asked, obstacle.free, obstacle.fits) == (10, 7, 7)
    assert obstacle.from_s == 200


def test_more_than_the_host_has_fits_never() -> None:
    obstacle = a_calendar().change({H1: Lots((lot(21, 0, 10),))}, 1000)
    assert obstacle is not None
    assert (obstacle.free, obstacle.from_s) == (20, None)


def test_a_claim_on_two_hosts_is_taken_on_both_or_on_none() -> None:
    calendar = a_calendar()
    calendar.change({H2: Lots((lot(15, 0, 10, host=H2),))}, 1000)
    both = {H1: Lots((lot(10, 0, 10),)), H2: Lots((lot(10, 0, 10, host=H2),))}
    obstacle = calendar.change(both, 1000)
    assert obstacle is not None
    assert obstacle.host == H2
    assert calendar.free([H1, H2], 0, 10)[:, CPU_AXIS].tolist() == [20, 5]


def test_a_host_that_lost_capacity_can_be_emptied_but_not_filled() -> None:
    calendar = a_calendar()
    big = lot(20, 0, 100)
    calendar.change({H1: Lots((big,))}, 1000)
    calendar.resize(H1, CAPACITY // 2)
    assert calendar.change({H1: Lots((lot(18, 0, 100),), (big,))}, 1000) is None
    assert calendar.change({H1: Lots((lot(1, 0, 100),))}, 1000) is not None
    assert calendar.change({H1: Lots((lot(19, 0, 50),), (lot(18, 0, 50),))}, 1000) is not None


def test_best_effort_commits_nothing() -> None:
    calendar = a_calendar()
    assert calendar.change({H1: Lots((lot(500, 0, 9, performance=BEST_EFFORT),))}, 99) is None
    assert calendar.free([H1], 0, 9)[0, CPU_AXIS] == 20


def test_shared_lots_without_a_forecast_count_in_full() -> None:
    calendar = a_calendar()
    calendar.change({H1: Lots((lot(15, 0, 9, performance=SHARED),))}, 99)
    assert calendar.free([H1], 0, 9)[0, CPU_AXIS] == 5


def test_forecast_demand_is_overcommitted_up_to_the_accepted_risk() -> None:
    calendar = Calendar(CHANCE)
    capacity = np.full(N_RESOURCES, 200, dtype=np.intp)
    calendar.open(H1, capacity)
    wants = (Demand(0, 4 * MILLI, (2 * MILLI) ** 2, 2 * MILLI),)
    n_taken = 0
    while (
        calendar.change({H1: Lots((lot(20, 0, 100, performance=SHARED, demand=wants),))}, 1000)
        is None
    ):
        n_taken += 1
        assert n_taken < 100
    assert n_taken > 20, "twice what full sizes would allow"
    each = Totals(np.array(4.0), np.array(4.0), np.array(2.0))

    def odds(n: int) -> float:
        sums = Totals(each.mean * n, each.variance * n, each.deviation * n)
        return float(shortfall_odds(sums, 200.0, CHANCE.correlation[CPU_AXIS]))

    assert odds(n_taken) <= CHANCE.epsilon < odds(n_taken + 1)


def test_demand_counts_in_its_own_slots() -> None:
    day, night = Demand(0, 15 * MILLI, 0, 0), Demand(50, 2 * MILLI, 0, 0)
    calendar = a_calendar()
    one = lot(20, 0, 100, performance=SHARED, demand=(day, night))
    assert calendar.change({H1: Lots((one,))}, 1000) is None
    assert calendar.free([H1], 0, 50)[0, CPU_AXIS] == 5
    assert calendar.free([H1], 50, 100)[0, CPU_AXIS] == 18
    assert calendar.free([H1], 0, 100)[0, CPU_AXIS] == 5


def test_a_wild_demand_never_counts_less_than_its_mean() -> None:
    wild = Demand(0, MILLI, (50 * MILLI) ** 2, 50 * MILLI)
    levels = Profile.of([lot(20, 0, 10, performance=SHARED, demand=(wild,))]).levels
    assert committed(levels, CHANCE)[0, CPU_AXIS] >= MILLI


def test_capacity_in_whole_shards() -> None:
    shards = capacity_shards(
        {Resource.CPU: 4, Resource.MEMORY: 1000.0, Resource.NET: None, Resource.IOPS: 0.0}
    )
    assert shards.tolist() == [80, 15, UNKNOWN, 0]
