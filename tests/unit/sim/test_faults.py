"""Simulated faults: they strike when and whom they should, in the hypervisor, link and journal."""

from __future__ import annotations

import math

import pytest
from tests.contract.journal_contract import mitigation
from tests.unit.sim.worlds import counters

from evenkeel.domain import errors
from evenkeel.domain.plan import SetCpuShares
from evenkeel.domain.policy import Policy
from evenkeel.sim.clock import SimClock
from evenkeel.sim.faults import FaultKind, Faults, FaultWindow
from evenkeel.sim.fleet import SimFleet
from evenkeel.sim.host import HostSpec
from evenkeel.sim.hypervisor import SimHypervisor
from evenkeel.sim.link import SimLink
from evenkeel.sim.live import LiveFleet
from evenkeel.sim.memory import MemoryJournal
from evenkeel.sim.vm import VmSpec
from evenkeel.sim.workload import Steady
from evenkeel.wire import BatchReply

FOREVER = float("inf")
REPLY = BatchReply(accepted=True, duplicate=False, policy=Policy(), server_time_s=0.0)


@pytest.fixture
def fleet() -> SimFleet:
    fleet = SimFleet(seed=1)
    host = fleet.add_host(HostSpec("h1", cpus=(0, 1)))
    for name in ("a", "b"):
        fleet.add_vm(host, VmSpec(name, cpu=Steady(0.5)))
    return fleet


def faulty(fleet: SimFleet, *windows: FaultWindow) -> SimHypervisor:
    faults = Faults(lambda: fleet.now_s, windows=windows)
    return SimHypervisor(fleet, next(iter(fleet.hosts)), faults)


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (FaultKind.HYPERVISOR_AWAY, errors.HypervisorUnavailable),
        (FaultKind.HYPERVISOR_HANGS, errors.HypervisorTimeout),
    ],
)
def test_an_outage_hits_every_call_in_its_window(
    fleet: SimFleet, kind: FaultKind, error: type[Exception]
) -> None:
    hypervisor = faulty(fleet, FaultWindow(kind, 10, 20, "h1"))
    vm = hypervisor.observe().vms[0].vm.id
    fleet.advance(10)
    for call in (
        hypervisor.observe,
        lambda: hypervisor.tuning(vm),
        lambda: hypervisor.apply(SetCpuShares(vm, 2048)),
    ):
        with pytest.raises(error):
            call()
    fleet.advance(10)
    assert hypervisor.tuning(vm).shares == 1024
    assert hypervisor.observe().vms


def test_refused_changes_nothing_and_uncertain_changes_it_all_the_same(fleet: SimFleet) -> None:
    a, b = (vm.id for vm in fleet.hosts[next(iter(fleet.hosts))].vms.values())
    hypervisor = faulty(
        fleet,
        FaultWindow(FaultKind.APPLY_REFUSED, 0, FOREVER, a),
        FaultWindow(FaultKind.APPLY_UNCERTAIN, 0, FOREVER, b),
    )
    with pytest.raises(errors.ActionRefused):
        hypervisor.apply(SetCpuShares(a, 4096))
    with pytest.raises(errors.HypervisorTimeout):
        hypervisor.apply(SetCpuShares(b, 4096))
    assert hypervisor.tuning(a).shares == 1024
    assert hypervisor.tuning(b).shares == 4096
    assert hypervisor.applied == [SetCpuShares(b, 4096)]


def test_counters_go_bad_for_one_vm_alone(fleet: SimFleet) -> None:
    a, b = (vm.id for vm in fleet.hosts[next(iter(fleet.hosts))].vms.values())
    hypervisor = faulty(
        fleet,
        FaultWindow(FaultKind.COUNTER_NEGATIVE, 10, 15, a),
        FaultWindow(FaultKind.COUNTER_NAN, 20, 25, a),
        FaultWindow(FaultKind.BALLOON_STALE, 30, FOREVER, a),
    )
    fleet.advance(10)
    assert counters(hypervisor.observe(), a).vcpu_time_ns == -1
    fleet.advance(10)
    assert math.isnan(counters(hypervisor.observe(), a).vcpu_time_ns)
    fleet.advance(10)
    first = hypervisor.observe()
    fleet.advance(60)
    later = hypervisor.observe()
    assert counters(first, a).balloon_updated_at_s == counters(later, a).balloon_updated_at_s
    assert counters(first, a).vcpu_time_ns < counters(later, a).vcpu_time_ns
    assert counters(first, b).balloon_updated_at_s != counters(later, b).balloon_updated_at_s


def test_chance_is_seeded_per_subject(fleet: SimFleet) -> None:
    def luck(subjects: tuple[str, ...], seed: int) -> list[bool]:
        faults = Faults(lambda: 0.0, seed=seed, rates={FaultKind.REPLY_LOST: 0.3})
        drawn = [
            (subject, faults.strikes(FaultKind.REPLY_LOST, subject))
            for _ in range(300)
            for subject in subjects
        ]
        return [hit for subject, hit in drawn if subject == "h1"]

    assert luck(("h1",), 1) == luck(("h1", "h2"), 1)
    assert luck(("h1",), 1) != luck(("h1",), 2)
    assert 60 < sum(luck(("h1",), 1)) < 120


def link(kind: FaultKind | None, until_s: float = FOREVER) -> tuple[SimLink, list[bytes]]:
    """A link whose fault ends after `until_s` sends."""
    arrived: list[bytes] = []
    sends = [0]

    def deliver(body: bytes) -> BatchReply:
        arrived.append(body)
        return REPLY

    class Counting(SimLink):
        def send(self, body: bytes) -> BatchReply:
            sends[0] += 1
            return super().send(body)

    windows = (FaultWindow(kind, 0, until_s + 1),) if kind else ()
    return Counting(deliver, Faults(lambda: sends[0], windows=windows), "h1"), arrived


def test_a_good_link_delivers() -> None:
    good, arrived = link(None)
    assert good.send(b"1") == REPLY
    assert arrived == [b"1"]


def test_an_absent_controller_gets_nothing() -> None:
    away, arrived = link(FaultKind.CONTROLLER_AWAY)
    with pytest.raises(errors.ControllerUnavailable):
        away.send(b"1")
    assert arrived == []


def test_a_lost_reply_leaves_the_batch_delivered() -> None:
    lossy, arrived = link(FaultKind.REPLY_LOST)
    with pytest.raises(errors.ControllerUnavailable):
        lossy.send(b"1")
    assert arrived == [b"1"]


def test_a_duplicate_arrives_twice() -> None:
    double, arrived = link(FaultKind.DUPLICATED)
    assert double.send(b"1") == REPLY
    assert arrived == [b"1", b"1"]


def test_a_delayed_batch_arrives_behind_the_next() -> None:
    slow, arrived = link(FaultKind.DELAYED, until_s=1)
    with pytest.raises(errors.ControllerUnavailable):
        slow.send(b"1")
    slow.send(b"2")
    assert arrived == [b"2", b"1"]


def test_a_journal_without_a_disk_says_so() -> None:
    faults = Faults(lambda: 0.0, windows=(FaultWindow(FaultKind.JOURNAL_UNAVAILABLE, 0, FOREVER),))
    journal = MemoryJournal(faults)
    with pytest.raises(errors.JournalUnavailable):
        journal.record(mitigation())


def test_a_live_fleet_keeps_up_with_a_clock() -> None:
    class Clock:
        now_s = 500.0

        def monotonic_s(self) -> float:
            return self.now_s

        def wall_s(self) -> float:
            return self.now_s + 1e9

    clock = Clock()
    fleet = SimFleet(clock=SimClock(clock.wall_s(), clock.monotonic_s()))
    host = fleet.add_host(HostSpec("h1", cpus=(0,)))
    fleet.add_vm(host, VmSpec("a", cpu=Steady(0.5), in_spells=False))
    hypervisor = LiveFleet(fleet, clock).hypervisor(host)
    clock.now_s += 5.25
    seen = hypervisor.observe()
    assert (seen.monotonic_s, seen.wall_s) == pytest.approx((505.25, 1e9 + 505.25))
    assert seen.vms[0].vcpu_time_ns == pytest.approx(0.5 * 5.25e9)
    hypervisor.apply(SetCpuShares(seen.vms[0].vm.id, 2048))
    assert hypervisor.tuning(seen.vms[0].vm.id).shares == 2048
