"""A VM's own quota and its neighbours both make its vCPUs wait; the cgroup tells them apart."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from tests.integration.libvirt.lab_host import seen

from evenkeel.adapters.libvirt.hypervisor import LibvirtHypervisor
from evenkeel.domain.ids import VmId
from evenkeel.domain.plan import SetCpuQuota, SetVcpuPins
from evenkeel.lab.guests import Guest

pytestmark = pytest.mark.integration
WINDOW_S = 3.0
WINDOWS = 4
"""Whatever else runs on this machine disturbs a window now and then."""


def own_share_of_delay(hypervisor: LibvirtHypervisor, guest: Guest) -> float:
    """Share of the guest's waiting, over a window, that its own quota caused."""
    before = seen(hypervisor, guest)
    time.sleep(WINDOW_S)
    after = seen(hypervisor, guest)
    assert before.throttled_ns is not None
    assert after.throttled_ns is not None
    assert before.vcpu_delay_ns is not None
    assert after.vcpu_delay_ns is not None
    delay_ns = after.vcpu_delay_ns - before.vcpu_delay_ns
    assert delay_ns > WINDOW_S * 0.3e9, "the quota keeps it waiting in both cases"
    return (after.throttled_ns - before.throttled_ns) / delay_ns


def test_a_vm_held_back_by_its_own_quota_is_told_apart_from_one_hurt_by_another(
    hypervisor: LibvirtHypervisor, start: Callable[..., Guest]
) -> None:
    victim, rival = start("victim", wait=False), start("rival", wait=False)
    for guest in (victim, rival):
        guest.wait_ready()
        hypervisor.apply(SetVcpuPins(vm=VmId(guest.uuid), vcpu_pins=((0,),)))
    hypervisor.apply(SetCpuQuota(vm=VmId(victim.uuid), period_us=100_000, quota_us=30_000))
    victim.set_load(cpu=100)
    alone = contended = own_share_of_delay(hypervisor, victim)
    for _ in range(WINDOWS):
        if alone > 0.6:
            break
        alone = max(alone, own_share_of_delay(hypervisor, victim))
    rival.set_load(cpu=100)
    for _ in range(WINDOWS):
        contended = own_share_of_delay(hypervisor, victim)
        if alone - contended > 0.15:
            break

    assert alone > 0.5, "mostly its own doing"
    assert alone - contended > 0.15
