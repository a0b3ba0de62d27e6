"""Decisions become claims; what is refused is undone, and tried elsewhere."""

from __future__ import annotations

import pytest
from tests.batches import START_S, ManualClock
from tests.placements import Desk, allocator, vm

from evenkeel.controller.placing import AlreadyPlaced, PlacementService
from evenkeel.domain.claim import CapacityShort, ClaimInvalid
from evenkeel.domain.errors import StoreUnavailable
from evenkeel.domain.placement import Placed, PlacementInvalid, Refused
from evenkeel.domain.resources import Resource
from evenkeel.domain.shard import PerformanceClass
from evenkeel.placement.entitlement import Interval

NOW_S = int(START_S)
HOUR = Interval(NOW_S, NOW_S + 3600)


def service(n=3, desk=None, exact=None):
    fleet, desk = allocator(n), desk or Desk()
    return PlacementService(lambda: fleet, desk, ManualClock(), exact), fleet, desk


def test_what_is_placed_is_claimed_in_whole_shards():
    placing, fleet, desk = service()
    [outcome] = placing.place([vm("web", 0.52, memory=1000.0, spread=0.1, net=20.0)], HOUR)
    assert isinstance(outcome, Placed)
    [request] = desk.held.values()
    assert outcome.claim == request.claim
    asked = {ask.resource: ask for ask in request.asks}
    assert set(asked) == {Resource.CPU, Resource.MEMORY, Resource.NET}
    assert [asked[r].n_shards for r in asked] == [20, 16, 24]
    assert asked[Resource.CPU].demand[0].mean == 10_400
    assert (request.vm, request.start_s, request.end_s) == ("web", NOW_S, NOW_S + 3600)
    assert set(fleet.seats) == {"web"}


def test_pinned_vms_claim_cores_of_their_own():
    placing, _, desk = service()
    placing.place([vm(cores=0.5, net=5.0, n_vcpus=2, performance=PerformanceClass.PINNED)], HOUR)
    [request] = desk.held.values()
    told = {ask.resource: (ask.performance, bool(ask.demand)) for ask in request.asks}
    assert told[Resource.CPU] == (PerformanceClass.PINNED, False)
    assert told[Resource.NET] == (PerformanceClass.SHARED, True)


def test_a_host_whose_calendar_is_full_later_is_passed_over():
    desk = Desk(lambda r: CapacityShort("full") if r.asks[0].host == "h0" else None)
    placing, fleet, _ = service(2, desk)
    [outcome] = placing.place([vm()], HOUR)
    assert isinstance(outcome, Placed)
    assert outcome.chosen.host == "h1"
    assert fleet.seats["vm"].host == 1
    assert fleet.slices.n_vms.tolist() == [0, 1]


def test_after_some_hosts_it_gives_up_and_nothing_stays():
    asked = []
    desk = Desk(lambda r: asked.append(r.asks[0].host) or CapacityShort("full", hint="later"))
    placing, fleet, _ = service(9, desk)
    [outcome] = placing.place([vm()], HOUR)
    assert isinstance(outcome, Refused)
    assert (outcome.code, outcome.hint) == ("capacity_short", "later")
    assert len(set(asked)) == len(asked) == 4
    assert not fleet.seats


def test_other_refusals_are_not_tried_again():
    placing, fleet, _ = service(3, Desk(lambda _: ClaimInvalid("of ten years")))
    [outcome] = placing.place([vm()], HOUR)
    assert isinstance(outcome, Refused)
    assert outcome.code == "claim_invalid"
    assert not fleet.seats


def test_a_store_that_does_not_serve_leaves_nothing_behind():
    def fails(request):
        return StoreUnavailable("disk full") if request.vm == "b" else None

    placing, fleet, desk = service(3, Desk(fails))
    with pytest.raises(StoreUnavailable):
        placing.place([vm("a"), vm("b"), vm("c")], HOUR)
    assert not fleet.seats
    assert not desk.held


def test_a_dry_run_takes_nothing():
    placing, fleet, desk = service()
    for batch in ([vm("a")], [vm("a"), vm("b")]):
        assert all(isinstance(o, Placed) for o in placing.place(batch, HOUR, dry_run=True))
    assert not fleet.seats
    assert not desk.held


def test_all_or_nothing_releases_what_was_taken():
    def fails(request):
        return CapacityShort("full") if request.vm == "b" else None

    placing, fleet, desk = service(3, Desk(fails))
    outcomes = placing.place([vm("a"), vm("b")], HOUR, all_or_nothing=True)
    assert [(o.vm, type(o)) for o in outcomes] == [("a", Refused), ("b", Refused)]
    assert not fleet.seats
    assert not desk.held
    outcomes = placing.place([vm("a"), vm("b")], HOUR)
    assert [type(o) for o in outcomes] == [Placed, Refused]
    assert set(fleet.seats) == {"a"}


def test_all_or_nothing_that_cannot_fit_asks_for_no_claim():
    asked = []
    placing, _, _ = service(1, Desk(lambda r: asked.append(r)))
    outcomes = placing.place([vm("a", 10.0), vm("b", 10.0)], HOUR, all_or_nothing=True)
    assert all(isinstance(o, Refused) for o in outcomes)
    assert len(outcomes) == 2
    assert not asked


def test_a_vm_has_one_place():
    placing, _, desk = service()
    placing.place([vm("a")], HOUR)
    with pytest.raises(AlreadyPlaced):
        placing.place([vm("b"), vm("a")], HOUR)
    with pytest.raises(PlacementInvalid):
        placing.place([vm("b"), vm("b")], HOUR)
    assert len(desk.held) == 1
    placing.removed("a")
    assert isinstance(placing.place([vm("a")], Interval(NOW_S + 60, NOW_S + 3600))[0], Placed)


def test_the_exact_model_has_the_last_word_among_the_finalists():
    class Exact:
        def worst(self, _vm, hosts):
            return [0.0 if host == "h2" else 5.0 for host in hosts]

    placing, _, _ = service(3, exact=Exact())
    assert placing.place([vm("a")], HOUR, precise=True)[0].chosen.host == "h2"
    assert placing.place([vm("b")], HOUR)[0].chosen.host == "h2", "there it fits more tightly"
    assert placing.place([vm("c")], HOUR, dry_run=True, precise=True)[0].chosen.host == "h2"


@pytest.mark.parametrize("those", [[], [vm(f"v{i}") for i in range(1001)], [vm(n_vcpus=0)]])
def test_what_cannot_be_asked(those):
    placing, _, desk = service()
    with pytest.raises(PlacementInvalid):
        placing.place(those, HOUR)
    assert not desk.held
