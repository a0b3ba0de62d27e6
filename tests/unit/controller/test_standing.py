"""The live fleet's layout: cells, fault domains, who has a claim; made anew while it serves."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from tests.batches import ManualClock, a_tick, a_vm
from tests.placements import vm
from tests.stored import host_record

from evenkeel.adapters.store.store import SqlStore
from evenkeel.controller.layout import Reserved
from evenkeel.controller.present import Present
from evenkeel.controller.reserved import of_claim
from evenkeel.controller.standing import ANEW_S, TOO_OLD_S, StandingFleet
from evenkeel.domain.claim import Claim, ClaimId
from evenkeel.domain.host import NumaCell
from evenkeel.domain.ids import HostId, TenantId, VmId
from evenkeel.domain.placement import Terms
from evenkeel.domain.resources import Resource
from evenkeel.domain.shard import Demand, Location, Lot, LotId, PerformanceClass
from evenkeel.domain.vm import CpuTuning
from evenkeel.placement.fleet import Chance
from evenkeel.placement.slices import ALL_SLICES, Load

CELLS = (NumaCell((0,), 2048.0), NumaCell((1,), 2048.0))


class World:
    def __init__(self, directory) -> None:
        self.store = SqlStore(f"sqlite:///{directory}/x.db")
        self.clock = ManualClock()
        self.reserved: list[Reserved] = []
        self.closed: frozenset[HostId] = frozenset()
        self.may_tell = threading.Event()
        self.may_tell.set()
        present = Present(self.store, self.clock, dict, 1e9, lambda: self.closed)
        self.fleet = StandingFleet(present, Chance(0.01, np.zeros(4)), self.told)

    def told(self):
        assert self.may_tell.wait(20)
        return list(self.reserved)

    def host(self, name, vms=(), **fields):
        record = host_record(name, self.clock.now_s, tick=a_tick(list(vms), self.clock.now_s))
        record = replace(record, host=replace(record.host, **fields))
        with self.store.write() as session:
            session.inventory.put_host(record)


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.store.close()


def settled(world):
    """The layout once whatever is in the making is made."""
    world.fleet()
    until_s = time.monotonic() + 20
    while world.fleet._next is not None and time.monotonic() < until_s:
        time.sleep(0.01)
        world.fleet()
    return world.fleet()


def test_vms_stand_in_the_cell_that_they_are_pinned_to(world):
    pinned = replace(a_vm("web1"), tuning=CpuTuning(((1,),)))
    world.host("h1", [pinned, a_vm("web2")], cells=CELLS)
    fleet = world.fleet()
    assert fleet.slices.layout.first.tolist() == [0, 2]
    assert fleet.seats[pinned.id].where == 1
    assert fleet.seats[a_vm("web2").id].where == ALL_SLICES


def test_fault_domains_are_as_told_else_the_host_by_itself(world):
    for name, rack in (("h1", "r1"), ("h2", "r1"), ("h3", ""), ("h4", "")):
        world.host(name, fault_domain=rack)
    assert world.fleet().slices.layout.hosts.fault_domain.tolist() == [0, 0, 1, 2]


def test_who_has_a_claim_stands_there_before_it_runs(world):
    world.host("h1")
    world.reserved = [Reserved(vm("new", 1.0), HostId("h1")), Reserved(vm("x"), HostId("h9"))]
    fleet = world.fleet()
    assert [seat for seat in fleet.seats if not seat.startswith("host/")] == ["new"]


def test_hosts_in_maintenance_are_closed(world):
    world.host("h1")
    world.closed = frozenset({HostId("h1")})
    assert world.fleet().slices.is_open.tolist() == [False]


def test_hosts_whose_clock_is_off_are_closed(world):
    world.host("h1")
    world.host("h2")
    with world.store.write() as session:
        record = session.inventory.host(HostId("h2"))
        session.inventory.put_host(replace(record, skewed=True))
    assert world.fleet().slices.is_open.tolist() == [True, False]


def test_a_new_layout_is_made_while_the_old_one_serves_and_misses_nothing(world):
    world.host("h1")
    old = world.fleet()
    early = vm("early", 0.1)
    old.put(early, Load.of(early), 0, 0)
    old.pending.add(early.vm)
    world.clock.now_s += ANEW_S
    world.may_tell.clear()
    assert world.fleet() is old
    late, gone = vm("late", 0.1), vm("passing", 0.1)
    assert world.fleet() is old
    old.put(late, Load.of(late), 0, 0)
    old.put(gone, Load.of(gone), 0, 0)
    old.remove(gone.vm)
    world.may_tell.set()
    new = settled(world)
    assert new is not old
    assert {seat for seat in new.seats if not seat.startswith("host/")} == {"early", "late"}
    assert new.pending == {"early"}


def test_the_layout_remembers_the_cell_of_those_who_have_a_claim(world):
    world.host("h1", cells=CELLS)
    one = vm("web", 0.1)
    fleet = world.fleet()
    fleet.put(one, Load.of(one), 0, 1)
    world.reserved = [Reserved(one, HostId("h1"))]
    world.fleet.forget()
    assert world.fleet().seats[one.vm].where == 1


def test_terms_are_those_that_the_store_has_whether_a_vm_runs_or_not(world):
    web = Terms(TenantId("shop"), frozenset({"web"}), alone=True)
    with world.store.write() as session:
        session.terms.put({VmId(name): web for name in ("id-web1", "web2", "new", "web3")}, 1.0)
    world.host("h1", [a_vm("web1", "shop"), a_vm("web2", "shop"), a_vm("web3", "bank")])
    world.reserved = [Reserved(vm("new", 0.1), HostId("h1"))]
    seats = {name: seat.vm for name, seat in world.fleet().seats.items()}
    assert [seats[name].terms for name in ("id-web1", "id-web2", "new")] == [web] * 3
    assert seats["id-web3"].terms == Terms(TenantId("bank")), "that name is another tenant's"


def test_who_was_placed_by_name_does_not_stand_there_twice(world):
    world.host("h1", [a_vm("web1", "shop")])
    world.reserved = [Reserved(vm("web1", 0.1), HostId("h1"))]
    assert [name for name in world.fleet().seats if not name.startswith("host/")] == ["web1"]


def test_one_that_is_too_old_is_not_used(world):
    world.host("h1")
    old = world.fleet()
    world.clock.now_s += TOO_OLD_S
    assert world.fleet() is not old


def test_a_claim_is_a_newcomer_on_each_of_its_hosts():
    def lot(host, resource, n, start_s=0, demand=()):
        kind = PerformanceClass.SHARED
        at = Location(HostId(host))
        return Lot(LotId(f"c.{host}"), at, resource, n, start_s, 100, kind, TenantId("t"), demand)

    demand = (Demand.of(Resource.CPU, 0.5, 0.1), Demand.of(Resource.CPU, 0.9, 0.1, from_s=40))
    lots = (lot("h1", Resource.CPU, 40, demand=demand), lot("h1", Resource.MEMORY, 16))
    claim = Claim(ClaimId("c"), "k", TenantId("t"), VmId("web"), 0, 100, lots, 1, "", 0.0)
    [one] = of_claim(claim, 50.0)
    assert (one.vm.vm, one.host, one.vm.n_vcpus, one.vm.memory_mib) == ("web", "h1", 2, 1024.0)
    assert one.vm.mean[:2] == pytest.approx((0.9, 1024.0))
    spread = replace(
        claim, lots=(*lots, lot("h2", Resource.CPU, 4), lot("h3", Resource.CPU, 4, 60))
    )
    assert {r.vm.vm for r in of_claim(spread, 50.0)} == {"claim/c/h1", "claim/c/h2"}
