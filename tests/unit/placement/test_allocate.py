"""Where VMs go: least contention, then the tightest fit; slices; reasons of refusals."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.placements import HOST, allocator, vm

from evenkeel.domain.placement import Placed, Refused
from evenkeel.domain.shard import PerformanceClass
from evenkeel.placement.allocate import Allocator, Stay, Taste
from evenkeel.placement.batch import place_all
from evenkeel.placement.slices import ALL_SLICES, Load

TWO_CELLS = [((0, 1, 2, 3, 4, 5, 6, 7), 32_768.0), ((8, 9, 10, 11, 12, 13, 14, 15), 32_768.0)]


def put(where: Allocator, host: int, name: str, cores: float, **fields) -> None:
    one = vm(name, cores, **fields)
    where.put(one, Load.of(one), host, int(where.slices.layout.first[host]))


def placed(where: Allocator, one) -> Placed:
    outcome = where.decide(one)
    assert isinstance(outcome, Placed), outcome
    return outcome


def refused(where: Allocator, one) -> Refused:
    outcome = where.decide(one)
    assert isinstance(outcome, Refused), outcome
    return outcome


def test_the_fuller_host_is_chosen_while_nobody_loses_anything():
    fleet = allocator(3)
    put(fleet, 1, "there", 4.0)
    assert placed(fleet, vm(cores=1.0)).chosen.host == "h1"


def test_contention_comes_before_a_tight_fit():
    fleet = allocator(2)
    for i in range(4):
        put(fleet, 0, f"busy{i}", 1.75, spread=0.6, n_vcpus=8)
    put(fleet, 1, "calm", 0.5)
    newcomer = vm(cores=1.0, spread=0.3, n_vcpus=2)
    aware = placed(fleet, newcomer)
    assert aware.chosen.host == "h1"
    assert aware.options[1].contention > aware.chosen.contention
    fleet.taste = Taste(aware=False)
    fleet._kinds.clear()
    assert placed(fleet, newcomer).chosen.host == "h0", "blind, it packs"


def test_a_host_is_opened_when_contention_is_worth_it_and_not_before():
    fleet = allocator(2)
    for i in range(4):
        put(fleet, 0, f"busy{i}", 1.75, spread=0.6, n_vcpus=8)
    newcomer = vm(cores=1.0, spread=0.3, n_vcpus=2)
    assert placed(fleet, newcomer).chosen.host == "h0"
    fleet.taste = Taste(opening=0.0)
    fleet.forget()
    assert placed(fleet, newcomer).chosen.host == "h1"


def test_who_leaves_soon_goes_where_others_stay_anyway():
    fleet = allocator(3)
    for host, until_s in enumerate((1_000.0, 90_000.0, 1_000.0)):
        one = vm(f"there{host}", 4.0)
        fleet.put(one, Load.of(one), host, host, until_s)
    assert fleet.first(Load.of(vm()), Stay(0.0, 50_000.0)) == 1
    assert fleet.first(Load.of(vm()), Stay(0.0, 500.0)) == 0
    fleet.remove("there1")
    assert fleet.slices.last_s.tolist() == [1_000.0, 0.0, 1_000.0]


def test_chance_decides_what_fits_and_not_the_sum_of_peaks():
    fleet = allocator(1)
    for i in range(8):
        put(fleet, 0, f"vm{i}", 1.0, spread=0.5, n_vcpus=2)
    assert isinstance(fleet.decide(vm(cores=1.0, spread=0.5, n_vcpus=2)), Placed)
    told = refused(fleet, vm(cores=4.0, spread=0.5, n_vcpus=8))
    assert told.code == "no_host_fits"
    assert [(r.code, r.n_hosts) for r in told.reasons] == [("short_cpu", 1)]
    assert "h0, has" in told.hint


def test_larger_than_any_host_says_how_large_they_are():
    told = refused(allocator(3), vm(cores=20.0))
    assert told.code == "larger_than_any_host"
    assert "16 cores" in told.hint


def test_ten_thousand_refusals_are_a_few_lines():
    fleet = allocator(10_000, domains=10)
    for host in range(4_000):
        fleet.slices.open(host, False)
    for host in range(4_000, 10_000):
        put(fleet, host, f"full{host}", 15.5, tenant="bank")
    told = refused(fleet, vm(cores=2.0))
    assert [(r.code, r.n_hosts) for r in told.reasons] == [("short_cpu", 6_000), ("closed", 4_000)]
    assert told.reasons[1].examples == ("h0", "h1", "h2")
    assert len(told.message) < 300


def test_an_empty_fleet_refuses():
    assert refused(allocator(0), vm()).code == "no_host_fits"


def test_a_vm_goes_to_one_numa_cell_and_spreads_only_if_it_must():
    fleet = allocator(1, cells=[TWO_CELLS])
    put(fleet, 0, "there", 6.0)
    small = placed(fleet, vm(cores=4.0))
    assert (small.chosen.cell, small.chosen.cpus) == (1, TWO_CELLS[1][0])
    fleet.remove("there")
    large = placed(fleet, vm(cores=12.0))
    assert large.chosen.cell == ALL_SLICES
    assert large.chosen.cpus == tuple(range(16))
    fleet.put_at(vm("large", 12.0), Load.of(vm("large", 12.0)), large.chosen)
    assert fleet.slices.sums[:, 0, 0, 0].tolist() == [6.0, 6.0]


def test_network_belongs_to_the_whole_host():
    fleet = allocator(1, cells=[TWO_CELLS])
    put(fleet, 0, "there", 1.0, net=9_000.0)
    told = refused(fleet, vm(cores=1.0, net=2_000.0))
    assert [r.code for r in told.reasons] == ["short_net"]


def test_pinned_cores_are_nobody_elses():
    fleet = allocator(1, cells=[TWO_CELLS])
    one = vm("pinned", 1.0, n_vcpus=4, performance=PerformanceClass.PINNED)
    chosen = placed(fleet, one).chosen
    assert chosen.cpus == (0, 1, 2, 3)
    fleet.put_at(one, Load.of(one), chosen)
    other = replace(one, vm="other")
    assert set(placed(fleet, other).chosen.cpus).isdisjoint(chosen.cpus)
    assert set(placed(fleet, vm(cores=1.0)).chosen.cpus).isdisjoint(chosen.cpus)
    fleet.remove("pinned")
    assert fleet.slices.cores(0) == TWO_CELLS[0][0]
    assert not fleet.slices.reserved.any()


def test_best_effort_is_promised_memory_alone():
    fleet = allocator(1)
    put(fleet, 0, "there", 14.0)
    spare = vm("spare", 8.0, performance=PerformanceClass.BEST_EFFORT)
    chosen = placed(fleet, spare).chosen
    assert chosen.contention > 0.1
    fleet.put_at(spare, Load.of(spare), chosen)
    assert isinstance(fleet.decide(vm(cores=1.0)), Placed), "it takes nothing from those promised"
    assert refused(fleet, replace(spare, vm="m", mean=(1.0, 65_000.0, 0, 0))).code == "no_host_fits"


def test_what_nobody_knows_of_a_host_bars_nobody():
    fleet = allocator(1, capacity=(16.0, 65_536.0, float("inf"), float("inf")))
    assert isinstance(fleet.decide(vm(net=10**6, iops=10**6)), Placed)


def test_equal_fits_are_spread_over_fault_domains():
    fleet = allocator(4, domains=2)
    for host in range(4):
        put(fleet, host, f"there{host}", 1.0, tenant="bank")
    for i in range(4):
        one = vm(f"web{i}", labels=frozenset({"web"}), cores=0.05, memory=64.0)
        chosen = placed(fleet, one).chosen
        fleet.put_at(one, Load.of(one), chosen)
    assert sorted(fleet.seats[f"web{i}"].host % 2 for i in range(4)) == [0, 0, 1, 1]


def test_a_batch_places_the_large_first_and_all_or_nothing_leaves_nothing():
    fleet = allocator(1)
    small = [vm(f"s{i}", 2.0) for i in range(4)]
    outcomes = place_all(fleet, [*small, vm("large", 12.0)])
    assert [type(o) is Placed for o in outcomes] == [True, True, False, False, True]
    fleet = allocator(1)
    outcomes = place_all(fleet, [*small, vm("large", 12.0)], all_or_nothing=True)
    assert any(isinstance(o, Refused) for o in outcomes)
    assert not fleet.seats
    assert not fleet.slices.sums.any()


def test_maintenance_closes_a_host_at_once():
    fleet = allocator(2)
    put(fleet, 0, "there", 4.0)
    assert placed(fleet, vm()).chosen.host == "h0"
    fleet.slices.open(0, False)
    assert placed(fleet, vm()).chosen.host == "h1"


@pytest.mark.parametrize("n", [1, 5])
def test_the_explanation_names_host_and_numbers(n):
    told = placed(allocator(n), vm())
    assert told.n_fit == told.n_hosts == n
    assert "h0" in told.why
    assert f"{n} of {n} hosts" in told.why


def test_hosts_are_as_large_as_they_are_said_to_be():
    assert isinstance(allocator(1).decide(vm(cores=HOST[0], memory=HOST[1])), Placed)
