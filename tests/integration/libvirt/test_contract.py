"""LibvirtHypervisor keeps the contract on a real guest."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

import pytest
from tests.contract.hypervisor_contract import HypervisorContract, HypervisorWorld
from tests.integration.libvirt.lab_host import HOST

from evenkeel.adapters.libvirt.hypervisor import LibvirtHypervisor
from evenkeel.domain.ids import VmId
from evenkeel.lab.domain_xml import GuestSpec
from evenkeel.lab.guests import Guest
from evenkeel.lab.lab import Lab

pytestmark = pytest.mark.integration


class LabWorld:
    def __init__(self, hypervisor: LibvirtHypervisor, guest: Guest) -> None:
        self.hypervisor = hypervisor
        self.guest = guest
        self.vm = VmId(guest.uuid)

    def pass_time(self, seconds: float) -> None:
        time.sleep(seconds)

    def stop_vm(self) -> None:
        self.guest.destroy()


@pytest.fixture(scope="module")
def guest(libvirt_lab: Lab) -> Iterator[Guest]:
    spec = GuestSpec(vcpus=2, cpu_pct=60, disk_mib=16)
    guest = libvirt_lab.start_guest(HOST, f"contract-{os.getpid()}", spec)
    yield guest
    guest.destroy()


class TestLibvirtHypervisor(HypervisorContract):
    @pytest.fixture
    def world(
        self, make_hypervisor: Callable[..., LibvirtHypervisor], guest: Guest
    ) -> HypervisorWorld:
        return LabWorld(make_hypervisor(), guest)
