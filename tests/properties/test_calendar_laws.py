"""Whatever comes, goes, is split, merged or moved: no host is sold twice at any instant."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.lots import CHANCE, H1, H2, by_second, lot

from evenkeel.domain.resources import AXIS, N_RESOURCES, Resource
from evenkeel.domain.shard import (
    MILLI,
    Demand,
    Location,
    Lot,
    LotId,
    PerformanceClass,
    move,
    split_shards,
    split_time,
)
from evenkeel.placement.calendar import Calendar, Lots
from evenkeel.placement.profile import EMPTY, Profile, committed, fits
from evenkeel.placement.shortfall import Totals, needed

UNTIL = 30
CAPACITY = np.full(N_RESOURCES, 20, dtype=np.intp)


@st.composite
def demands(draw: st.DrawFn) -> tuple[Demand, ...]:
    times = sorted(draw(st.sets(st.integers(0, UNTIL), min_size=1, max_size=3)))
    steps = []
    for at in times:
        mean, deviation = draw(st.integers(0, 6000)), draw(st.integers(0, 3000))
        steps.append(Demand(at, mean, deviation**2, deviation))
    return tuple(steps)


@st.composite
def lots(draw: st.DrawFn) -> Lot:
    start_s = draw(st.integers(0, UNTIL - 1))
    performance = draw(st.sampled_from(PerformanceClass))
    soft = performance is PerformanceClass.SHARED and draw(st.booleans())
    return lot(
        draw(st.integers(1, 12)),
        start_s,
        draw(st.integers(start_s + 1, UNTIL)),
        resource=draw(st.sampled_from((Resource.CPU, Resource.IOPS))),
        performance=performance,
        demand=draw(demands()) if soft else (),
    )


def every_second(profile: Profile) -> np.ndarray:
    return np.stack([profile.at(at) for at in range(UNTIL)])


@given(st.lists(lots(), max_size=8), st.data())
def test_a_profile_is_the_sum_of_its_lots(held: list[Lot], data: st.DataObject) -> None:
    built = Profile.of(held)
    assert (every_second(built) == by_second(held, UNTIL)).all()
    grown = EMPTY
    for each in held:
        grown = grown.changed(added=[each])
    assert (grown.times == built.times).all()
    assert (grown.levels == built.levels).all()
    gone = data.draw(st.permutations(held))
    for each in gone:
        grown = grown.changed(removed=[each])
    assert (grown.times == EMPTY.times).all()
    assert not grown.levels.any()


@given(lots(), st.data())
def test_splits_and_moves_keep_every_instants_sum(whole: Lot, data: st.DataObject) -> None:
    parts = [whole]
    for k in range(4):
        at = data.draw(st.integers(0, len(parts) - 1))
        part, new = parts[at], LotId(f"n{k}")
        if part.n_shards > 1 and data.draw(st.booleans()):
            n = data.draw(st.integers(1, part.n_shards - 1))
            parts[at : at + 1] = split_shards(part, n, new)
        elif part.end_s - part.start_s > 1:
            when = data.draw(st.integers(part.start_s + 1, part.end_s - 1))
            parts[at : at + 1] = split_time(part, when, new)
    before = every_second(Profile.of([whole]))
    assert (every_second(Profile.of(parts)) == before).all()
    there = [move(p, Location(H2)) if data.draw(st.booleans()) else p for p in parts]
    both = [Profile.of([p for p in there if p.location.host == h]) for h in (H1, H2)]
    assert (every_second(both[0]) + every_second(both[1]) == before).all()


@given(st.lists(lots(), max_size=8), st.integers(0, UNTIL))
def test_what_is_forgotten_is_the_past_only(held: list[Lot], before_s: int) -> None:
    profile = Profile.of(held)
    kept = every_second(profile.forgotten(before_s))
    assert (kept[before_s:] == every_second(profile)[before_s:]).all()


@settings(max_examples=200)
@given(st.data())
def test_no_host_is_ever_sold_twice(data: st.DataObject) -> None:
    calendar = Calendar(CHANCE)
    held: dict[str, list[Lot]] = {"h1": [], "h2": []}
    for host in (H1, H2):
        calendar.open(host, CAPACITY)
    for _ in range(data.draw(st.integers(1, 12))):
        changes = {}
        for host in data.draw(st.sets(st.sampled_from((H1, H2)), min_size=1)):
            come = data.draw(st.lists(lots(), max_size=3))
            come = [move(each, Location(host)) for each in come]
            n_go = data.draw(st.integers(0, len(held[host])))
            changes[host] = Lots(tuple(come), tuple(held[host][:n_go]))
        before = {host: every_second(calendar.book(host).profile) for host in (H1, H2)}
        obstacle = calendar.change(changes, UNTIL)
        if obstacle is not None:
            assert obstacle.free < obstacle.asked or calendar_has_demand(changes, held)
            for host in (H1, H2):
                assert (every_second(calendar.book(host).profile) == before[host]).all()
            continue
        for host, lots_ in changes.items():
            held[host] = held[host][len(lots_.removed) :] + list(lots_.added)
        for host in (H1, H2):
            now = by_second(held[host], UNTIL)
            assert (every_second(calendar.book(host).profile) == now).all()
            assert (now[..., 0] <= CAPACITY).all()
            assert (
                committed(now, CHANCE)
                <= np.maximum(CAPACITY * 1000, committed(before[host], CHANCE))
            ).all()


def calendar_has_demand(changes: dict, held: dict) -> bool:
    return any(
        each.demand
        for each in (
            *(one for lots_ in changes.values() for one in lots_.added),
            *(one for host in held.values() for one in host),
        )
    )


@given(st.lists(lots(), max_size=8), st.lists(st.integers(-1, 25), min_size=4, max_size=4))
def test_a_host_is_full_by_the_formula_that_all_of_placement_has(
    held: list[Lot], has: list[int]
) -> None:
    levels = Profile.of(held).levels
    soft = levels[..., 1:].astype(np.float64)
    totals = Totals(soft[..., 0], soft[..., 1], soft[..., 2])
    told = levels[..., 0] * MILLI + needed(totals, CHANCE.correlation, CHANCE.epsilon)
    need = committed(levels, CHANCE)
    assert (np.abs(need - told) <= 1).all()
    capacity = np.array(has, dtype=np.intp)
    assert fits(levels, capacity, CHANCE) == (need <= np.maximum(capacity, 0) * MILLI).all()


@given(st.lists(lots(), max_size=6), st.integers(0, UNTIL - 1), st.data())
def test_what_is_free_just_fits(held: list[Lot], start_s: int, data: st.DataObject) -> None:
    calendar = Calendar(CHANCE)
    calendar.open(H1, CAPACITY, held)
    end_s = data.draw(st.integers(start_s + 1, UNTIL))
    free = calendar.free([H1], start_s, end_s)[0]
    for axis, resource in enumerate(AXIS):
        n = int(free[axis])
        more = lot(n + 1, start_s, end_s, resource=resource)
        assert calendar.change({H1: Lots(added=(more,))}, UNTIL) is not None
        if n:
            fits = lot(n, start_s, end_s, resource=resource)
            assert calendar.change({H1: Lots(added=(fits,))}, UNTIL) is None


@given(st.lists(lots(), max_size=6), st.integers(1, 20), st.integers(1, UNTIL - 1))
def test_what_a_refusal_offers_can_be_had(held: list[Lot], n: int, span_s: int) -> None:
    calendar = Calendar(CHANCE)
    calendar.open(H1, CAPACITY, held)
    asked = lot(n, 0, span_s)
    obstacle = calendar.change({H1: Lots(added=(asked,))}, 2 * UNTIL)
    if obstacle is None:
        return
    assert obstacle.slot_start_s < obstacle.slot_end_s <= span_s
    assert obstacle.fits <= obstacle.free < n
    assert obstacle.from_s is not None
    if obstacle.from_s > 0:
        early = lot(n, obstacle.from_s - 1, obstacle.from_s - 1 + span_s)
        assert calendar.change({H1: Lots(added=(early,))}, 2 * UNTIL) is not None
    later = lot(n, obstacle.from_s, obstacle.from_s + span_s)
    assert calendar.change({H1: Lots(added=(later,))}, 2 * UNTIL) is None
    calendar.open(H1, CAPACITY, held)
    if obstacle.fits:
        less = lot(obstacle.fits, 0, span_s)
        assert calendar.change({H1: Lots(added=(less,))}, 2 * UNTIL) is None
