"""What real guests show and take: balloons, quotas, metadata, changes by others, vanishing."""

from __future__ import annotations

from collections.abc import Callable

import libvirt
import pytest
from tests.integration.libvirt.lab_host import LabHost, eventually, seen

from evenkeel.adapters.clock import SystemClock
from evenkeel.adapters.libvirt import tuning
from evenkeel.adapters.libvirt.diagnose import diagnose
from evenkeel.adapters.libvirt.hypervisor import LibvirtHypervisor
from evenkeel.config import AgentConfig
from evenkeel.domain.errors import VmGone
from evenkeel.domain.host import Capability
from evenkeel.domain.ids import VmId
from evenkeel.domain.plan import Instruction, SetCpuQuota, SetCpuShares, SetVcpuPins
from evenkeel.domain.vm import VmState
from evenkeel.lab.domain_xml import METADATA_URI
from evenkeel.lab.guests import Guest

pytestmark = pytest.mark.integration
Start = Callable[..., Guest]


def test_a_lab_host_can_do_everything(hypervisor: LibvirtHypervisor, busy_guest: Guest) -> None:
    assert seen(hypervisor, busy_guest)
    host = hypervisor.observe().host

    assert host.capabilities == frozenset(Capability)
    assert host.hypervisor.startswith("QEMU ")


def test_a_vm_without_balloon(
    hypervisor: LibvirtHypervisor, start: Start, lab_host: LabHost
) -> None:
    bare = seen(hypervisor, start("bare", paused=True, balloon=False))
    found = {f.check: f for f in diagnose(AgentConfig(libvirt_uri=lab_host.uri), SystemClock())}

    assert found["libvirt"].ok
    assert found["shares"].ok
    assert found["run-queue delay"].ok
    assert found["balloon statistics"].ok is False
    assert bare.vm.name in found["balloon statistics"].message
    assert bare.unused_kib is None
    assert not bare.balloon_updated_at_s
    assert bare.vm.memory_mib == 96
    assert bare.vm.state is VmState.PAUSED


def test_balloon_statistics_are_fresh_then_stale_when_turned_off(
    hypervisor: LibvirtHypervisor, busy_guest: Guest
) -> None:
    def age_s() -> float:
        observed = hypervisor.observe()
        one = next(one for one in observed.vms if one.vm.name == busy_guest.name)
        return observed.wall_s - (one.balloon_updated_at_s or 0)

    assert eventually(lambda: age_s() < 3)
    assert seen(hypervisor, busy_guest).unused_kib
    busy_guest.domain().setMemoryStatsPeriod(0, libvirt.VIR_DOMAIN_AFFECT_LIVE)
    try:
        assert eventually(lambda: age_s() > 4)
        assert seen(hypervisor, busy_guest).unused_kib, "libvirt goes on showing the old numbers"
    finally:
        busy_guest.domain().setMemoryStatsPeriod(1, libvirt.VIR_DOMAIN_AFFECT_LIVE)


def test_balloon_statistics_that_are_off_are_left_alone_unless_asked(
    make_hypervisor: Callable[..., LibvirtHypervisor], start: Start
) -> None:
    guest = start("quiet", wait=False)
    connection, xml = guest.domain().connect(), guest.domain().XMLDesc()
    assert "<stats period='1'/>" in xml
    guest.domain().destroy()
    connection.createXML(xml.replace("<stats period='1'/>", ""), 0)
    guest.wait_ready()

    def age_s(hypervisor: LibvirtHypervisor) -> float:
        observed = hypervisor.observe()
        one = next(one for one in observed.vms if one.vm.name == guest.name)
        return observed.wall_s - (one.balloon_updated_at_s or 0)

    leaving_alone = make_hypervisor()
    assert eventually(lambda: age_s(leaving_alone) > 3), "it reported once, when it booted"
    asking = make_hypervisor(balloon_period_s=1)
    assert eventually(lambda: age_s(asking) < 2)


def test_devices_are_read_now_and_then_and_say_when(
    make_hypervisor: Callable[..., LibvirtHypervisor], busy_guest: Guest
) -> None:
    sparing = make_hypervisor(devices_every_s=60)
    first = sparing.observe()
    assert busy_guest.disk(mb=2, block_kib=64)["failed"] == 0
    second = sparing.observe()
    old, new = ({c.vm.name: c for c in o.vms}[busy_guest.name] for o in (first, second))
    assert new.vcpu_time_ns > old.vcpu_time_ns
    assert new.disk_requests == old.disk_requests
    assert second.devices_at_s == first.devices_at_s
    assert second.monotonic_s > first.monotonic_s


def test_metadata_and_its_change_by_others(
    hypervisor: LibvirtHypervisor, busy_guest: Guest
) -> None:
    vm = seen(hypervisor, busy_guest).vm
    assert (vm.tenant, vm.priority, vm.exempt) == ("acme", 2.0, True)

    def set_to(attributes: str) -> None:
        busy_guest.domain().setMetadata(
            libvirt.VIR_DOMAIN_METADATA_ELEMENT,
            f"<vm {attributes}/>",
            "evenkeel",
            METADATA_URI,
            libvirt.VIR_DOMAIN_AFFECT_LIVE,
        )

    set_to('tenant="other" priority="many" exempt="no"')
    try:
        assert eventually(lambda: seen(hypervisor, busy_guest).vm.tenant == "other")
        vm = seen(hypervisor, busy_guest).vm
        assert (vm.priority, vm.exempt) == (1.0, False)
    finally:
        set_to('tenant="acme" priority="2" exempt="yes"')


def test_pins_and_quotas_set_by_others_are_noticed(
    hypervisor: LibvirtHypervisor, busy_guest: Guest
) -> None:
    before = seen(hypervisor, busy_guest).vm.tuning
    domain = busy_guest.domain()
    width = len(domain.vcpuPinInfo()[0])
    domain.pinVcpu(0, tuple(k == 0 for k in range(width)))
    domain.setSchedulerParametersFlags({"cpu_shares": 333}, libvirt.VIR_DOMAIN_AFFECT_LIVE)
    try:
        assert eventually(lambda: seen(hypervisor, busy_guest).vm.tuning.vcpu_pins[0] == (0,))
        assert eventually(lambda: seen(hypervisor, busy_guest).vm.tuning.shares == 333)
    finally:
        for step in (
            SetVcpuPins(vm=VmId(busy_guest.uuid), vcpu_pins=before.vcpu_pins),
            SetCpuShares(vm=VmId(busy_guest.uuid), shares=before.shares or 0),
        ):
            hypervisor.apply(step)
    assert hypervisor.tuning(VmId(busy_guest.uuid)) == before


def test_disk_and_network_of_the_guest_are_counted(
    hypervisor: LibvirtHypervisor, busy_guest: Guest
) -> None:
    before = seen(hypervisor, busy_guest)
    assert busy_guest.disk(mb=2, block_kib=64)["failed"] == 0
    busy_guest.get("/blob?kb=256")
    after = seen(hypervisor, busy_guest)

    assert after.disk_requests - before.disk_requests >= 32
    assert after.disk_bytes - before.disk_bytes >= 2 << 20
    assert after.disk_time_ns > before.disk_time_ns
    assert after.net_bytes - before.net_bytes >= 256 << 10


def test_a_persistent_vm_keeps_its_configuration(
    hypervisor: LibvirtHypervisor, start: Start
) -> None:
    guest = start("lasting", paused=True)
    domain, vm = guest.domain(), VmId(guest.uuid)
    domain.connect().defineXML(domain.XMLDesc())
    try:
        stored = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
        prior = hypervisor.tuning(vm)
        hypervisor.apply(SetVcpuPins(vm=vm, vcpu_pins=((0,),)))
        hypervisor.apply(SetCpuShares(vm=vm, shares=3000))
        hypervisor.apply(SetCpuQuota(vm=vm, period_us=50_000, quota_us=10_000))

        assert hypervisor.tuning(vm) != prior
        assert domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE) == stored
        domain.destroy()
        with pytest.raises(VmGone):
            hypervisor.tuning(vm)
        with pytest.raises(VmGone):
            hypervisor.apply(SetCpuShares(vm=vm, shares=1024))
        assert guest.name not in [one.vm.name for one in hypervisor.observe().vms]
    finally:
        domain.undefine()


@pytest.mark.parametrize("kind", ["pins", "shares", "quota", "tuning"])
def test_a_vm_that_vanishes_in_mid_action_is_gone(
    hypervisor: LibvirtHypervisor,
    start: Start,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    guest = start("fleeting", paused=True)
    vm = VmId(guest.uuid)
    instructions: dict[str, Instruction] = {
        "pins": SetVcpuPins(vm=vm, vcpu_pins=((0,),)),
        "shares": SetCpuShares(vm=vm, shares=2048),
        "quota": SetCpuQuota(vm=vm, period_us=100_000, quota_us=50_000),
    }
    look_up = tuning.look_up

    def look_up_and_lose(connection: object, vm_id: VmId) -> object:
        domain = look_up(connection, vm_id)
        guest.domain().destroy()
        return domain

    monkeypatch.setattr(tuning, "look_up", look_up_and_lose)
    act = hypervisor.tuning if kind == "tuning" else hypervisor.apply
    with pytest.raises(VmGone):
        act(instructions.get(kind, vm))  # type: ignore[arg-type, operator]
    monkeypatch.undo()
    assert guest.name not in [one.vm.name for one in hypervisor.observe().vms]
