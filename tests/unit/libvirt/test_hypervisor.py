"""LibvirtHypervisor on a connection in memory: what costs what, and odd domains."""

from __future__ import annotations

import logging
import math
from typing import Any

import libvirt
import pytest
from tests.unit.libvirt.domstats_records import HUNG
from tests.unit.libvirt.fake_connection import FakeConnection, failure

from evenkeel.adapters.libvirt import hypervisor as module
from evenkeel.adapters.libvirt.hypervisor import LibvirtHypervisor
from evenkeel.config import AgentConfig
from evenkeel.domain.errors import ActionUnsupported, HypervisorUnavailable
from evenkeel.domain.host import Capability
from evenkeel.domain.ids import VmId
from evenkeel.domain.plan import SetCpuQuota, SetCpuShares
from evenkeel.domain.vm import CpuTuning


class HandClock:
    now_s = 1000.0

    def wall_s(self) -> float:
        return self.now_s

    def monotonic_s(self) -> float:
        return self.now_s


class FakeSession:
    def __init__(self, connection: FakeConnection) -> None:
        self.connection = connection
        self.touched: set[str] = set()
        self.closed = False

    def close(self) -> None:
        self.closed = True


class World:
    def __init__(self) -> None:
        self.connection = FakeConnection()
        self.sessions: list[FakeSession] = []
        self.clock = HandClock()

    def open(self, uri: str) -> FakeSession:
        self.sessions.append(FakeSession(self.connection))
        return self.sessions[-1]

    def tick(self, seconds: float = 5.0) -> None:
        self.clock.now_s += seconds
        self.connection.calls.clear()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(module, "Session", world.open)
    return world


@pytest.fixture
def hypervisor(world: World, tmp_path: Any) -> Any:
    config = AgentConfig(host_id="h1", cpus="0-1", cgroup_root=str(tmp_path))
    hypervisor = LibvirtHypervisor(config, world.clock)
    yield hypervisor
    hypervisor.close()


def names(observed: Any) -> list[str]:
    return [one.vm.name for one in observed.vms]


def test_a_tick_is_one_call_once_the_vms_are_known(
    world: World, hypervisor: LibvirtHypervisor
) -> None:
    for k in range(100):
        world.connection.add(f"g{k}")
    assert len(hypervisor.observe().vms) == 100

    world.tick()
    assert len(hypervisor.observe().vms) == 100
    assert world.connection.calls == {"getAllDomainStats": 1}


def test_facts_are_read_again_after_an_event_a_change_and_in_rotation(
    world: World, hypervisor: LibvirtHypervisor
) -> None:
    one, two = world.connection.add("one"), world.connection.add("two")
    hypervisor.observe()

    one.pins = [(True, False), (True, False)]
    world.tick()
    assert hypervisor.observe().vms[0].vm.tuning.cpuset == {0, 1}
    world.sessions[0].touched.add(one.UUIDString())
    assert hypervisor.observe().vms[0].vm.tuning.cpuset == {0}

    hypervisor.apply(SetCpuShares(vm=VmId(two.UUIDString()), shares=4096))
    assert hypervisor.observe().vms[1].vm.tuning.shares == 4096

    two.scheduler["cpu_shares"] = 77
    for _ in range(3):
        world.tick(61.0)
        observed = hypervisor.observe()
        assert world.connection.calls["XMLDesc"] == 1, "one VM a tick"
    assert observed.vms[1].vm.tuning.shares == 77


def test_a_new_incarnation_is_a_new_vm(world: World, hypervisor: LibvirtHypervisor) -> None:
    domain = world.connection.add("g1")
    hypervisor.observe()
    domain.incarnation, domain.scheduler["cpu_shares"] = 50, 512

    seen = hypervisor.observe().vms[0]
    assert (seen.incarnation, seen.vm.tuning.shares) == (50, 512)


def test_an_odd_domain_is_left_out_named_once_and_hurts_nobody(
    world: World, hypervisor: LibvirtHypervisor, caplog: pytest.LogCaptureFixture
) -> None:
    odd, fine = world.connection.add("odd"), world.connection.add("fine")
    odd.stats["vcpu.0.time"] = "many"
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert names(hypervisor.observe()) == ["fine"]
    assert caplog.text.count("odd") == 1
    odd.stats["vcpu.0.time"] = 5
    fine.stats |= {"vcpu.0.delay": math.nan, "net.0.rx.bytes": -1}

    assert names(hypervisor.observe()) == ["odd", "fine"]


@pytest.mark.parametrize("name", ["a/b/../c", "größe 🚢", "x" * 300, "", "-rf *", "a\nb"])
def test_any_name_will_do(world: World, hypervisor: LibvirtHypervisor, name: str) -> None:
    world.connection.add(name)

    assert names(hypervisor.observe()) == [name]


def test_a_vm_whose_facts_cannot_be_read_is_not_asked_every_tick(
    world: World, hypervisor: LibvirtHypervisor, caplog: pytest.LogCaptureFixture
) -> None:
    shy, _ = world.connection.add("shy"), world.connection.add("fine")
    shy.failing = failure(libvirt.VIR_ERR_ACCESS_DENIED)
    assert names(hypervisor.observe()) == ["fine"]
    world.tick(2.0)
    assert names(hypervisor.observe()) == ["fine"]
    assert world.connection.calls == {"getAllDomainStats": 1}
    assert caplog.text.count("is left out") == 1

    shy.failing = None
    world.tick(6.0)
    assert names(hypervisor.observe()) == ["shy", "fine"]


def test_a_vm_that_vanishes_while_it_is_read_is_skipped(
    world: World, hypervisor: LibvirtHypervisor, caplog: pytest.LogCaptureFixture
) -> None:
    going, _ = world.connection.add("going"), world.connection.add("fine")
    going.failing = failure(libvirt.VIR_ERR_NO_DOMAIN)

    assert names(hypervisor.observe()) == ["fine"]
    assert not caplog.records


def test_disk_counters_wait_while_a_vm_hangs(world: World, hypervisor: LibvirtHypervisor) -> None:
    domain = world.connection.add("g1")
    whole = dict(domain.stats)
    assert hypervisor.observe().vms[0].disk_requests == 3
    domain.stats = dict(HUNG)
    assert hypervisor.observe().vms[0].disk_requests == 3
    domain.stats = whole | {"block.0.rd.reqs": 12}
    assert hypervisor.observe().vms[0].disk_requests == 13


def test_disk_counters_of_a_vm_met_hanging_start_with_its_first_answer(
    world: World, hypervisor: LibvirtHypervisor
) -> None:
    domain = world.connection.add("g1")
    whole, domain.stats = dict(domain.stats), dict(HUNG)
    assert hypervisor.observe().vms[0].disk_requests == 0
    domain.stats = whole | {"block.0.rd.reqs": 1_000_000}
    assert hypervisor.observe().vms[0].disk_requests == 0
    domain.stats = whole | {"block.0.rd.reqs": 1_000_007}
    assert hypervisor.observe().vms[0].disk_requests == 7


def test_a_lost_connection_is_told_once_and_opened_anew(
    world: World, hypervisor: LibvirtHypervisor
) -> None:
    world.connection.add("g1")
    hypervisor.observe()
    world.connection.failing = failure(libvirt.VIR_ERR_INTERNAL_ERROR, libvirt.VIR_FROM_RPC)
    with pytest.raises(HypervisorUnavailable):
        hypervisor.observe()
    world.connection.failing = None
    world.tick()

    assert names(hypervisor.observe()) == ["g1"]
    assert [session.closed for session in world.sessions] == [True, False]
    assert world.connection.calls["XMLDesc"] == 1, "changes meanwhile sent no event"


def test_capabilities_are_what_the_vms_show(world: World, hypervisor: LibvirtHypervisor) -> None:
    before = hypervisor.observe().host
    assert not before.capabilities & {Capability.SHARES, Capability.QUOTA, Capability.BALLOON}
    world.connection.add("g1")
    after = hypervisor.observe().host

    assert after.capabilities >= {
        Capability.PIN,
        Capability.SHARES,
        Capability.QUOTA,
        Capability.BALLOON,
    }
    assert after.hypervisor == "QEMU 7.2.22, libvirt 9.0.0"


def test_nothing_is_kept_of_vms_that_left(world: World, hypervisor: LibvirtHypervisor) -> None:
    for k in range(300):
        world.connection.domains = world.connection.domains[-1:]
        world.connection.add(f"g{k}")
        hypervisor.observe()

    assert len(hypervisor._book.uuids()) == 2
    assert len(hypervisor.records()) == 2


@pytest.mark.parametrize("unlimited", [-1, 0, 17_592_186_044_415, 18_446_744_073_709_551])
def test_every_way_to_say_no_quota_is_the_same(
    world: World, hypervisor: LibvirtHypervisor, unlimited: int
) -> None:
    domain = world.connection.add("g1")
    domain.scheduler["vcpu_quota"] = unlimited

    assert hypervisor.tuning(VmId(domain.UUIDString())).quota_us == -1


def test_a_host_without_cpu_controller_still_pins_and_says_what_it_cannot(
    world: World, hypervisor: LibvirtHypervisor
) -> None:
    domain = world.connection.add("g1")
    text = "Requested operation is not valid: cgroup CPU controller is not mounted"
    domain.scheduler_failing = failure(libvirt.VIR_ERR_OPERATION_INVALID, text=text)
    vm = VmId(domain.UUIDString())

    seen = hypervisor.observe()
    assert seen.vms[0].vm.tuning == CpuTuning(vcpu_pins=((0, 1), (0, 1)))
    assert not seen.host.capabilities & {Capability.SHARES, Capability.QUOTA}
    with pytest.raises(ActionUnsupported):
        hypervisor.apply(SetCpuShares(vm=vm, shares=2048))
    with pytest.raises(ActionUnsupported):
        hypervisor.apply(SetCpuQuota(vm=vm, period_us=100_000, quota_us=50_000))


def test_a_controller_that_was_there_is_not_believed_to_be_gone(
    world: World, hypervisor: LibvirtHypervisor
) -> None:
    """A libvirtd that has just started says so until it has found the VM's cgroup again."""
    domain = world.connection.add("g1")
    vm = VmId(domain.UUIDString())
    before = hypervisor.observe().vms[0].vm.tuning
    text = "Requested operation is not valid: cgroup CPU controller is not mounted"
    domain.scheduler_failing = failure(libvirt.VIR_ERR_OPERATION_INVALID, text=text)
    with pytest.raises(HypervisorUnavailable):
        hypervisor.tuning(vm)
    world.tick(61.0)
    assert hypervisor.observe().vms[0].vm.tuning == before

    domain.scheduler_failing = None
    domain.scheduler["cpu_shares"] = 99
    assert hypervisor.tuning(vm).shares == 99
    world.tick()
    assert hypervisor.observe().vms[0].vm.tuning.shares == 99, "it is read as soon as it may be"
