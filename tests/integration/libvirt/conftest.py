"""One lab host with a libvirtd of its own, and hypervisors on it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.integration.libvirt.lab_host import HOST, LabHost

from evenkeel.adapters.clock import SystemClock
from evenkeel.adapters.libvirt.hypervisor import LibvirtHypervisor
from evenkeel.config import AgentConfig
from evenkeel.lab.domain_xml import GuestSpec
from evenkeel.lab.guests import Guest
from evenkeel.lab.lab import Lab


@pytest.fixture(scope="session")
def libvirt_lab(make_lab: Callable[..., Lab]) -> Lab:
    return make_lab(n_hosts=1)


@pytest.fixture(scope="session")
def lab_host(libvirt_lab: Lab) -> LabHost:
    return LabHost(libvirt_lab)


@pytest.fixture
def make_hypervisor(lab_host: LabHost) -> Iterator[Callable[..., LibvirtHypervisor]]:
    """`make_hypervisor(balloon_period_s=0, **agent_config)`; closed at the end."""
    made: list[LibvirtHypervisor] = []

    def make(*, balloon_period_s: int = 0, **settings: Any) -> LibvirtHypervisor:
        config = AgentConfig(
            **{"host_id": HOST, "libvirt_uri": lab_host.uri, "devices_every_s": 0} | settings
        )
        made.append(LibvirtHypervisor(config, SystemClock(), balloon_period_s=balloon_period_s))
        return made[-1]

    yield make
    for hypervisor in made:
        hypervisor.close()


@pytest.fixture
def hypervisor(make_hypervisor: Callable[..., LibvirtHypervisor]) -> LibvirtHypervisor:
    return make_hypervisor()


@pytest.fixture
def start(libvirt_lab: Lab) -> Iterator[Callable[..., Guest]]:
    """`start("name", wait=True, cpu_pct=50)`; the guest is destroyed after the test.

    Names carry our pid: cgroups of labs side by side are told apart by them.
    """
    made: list[Guest] = []

    def start(name: str, *, wait: bool = True, **spec: Any) -> Guest:
        made.append(
            libvirt_lab.start_guest(HOST, f"{name}-{os.getpid()}", GuestSpec(**spec), wait=wait)
        )
        return made[-1]

    yield start
    for guest in made:
        guest.destroy()


@pytest.fixture(scope="module")
def busy_guest(libvirt_lab: Lab) -> Iterator[Guest]:
    """A guest with two busy vCPUs and a disk, for all tests of a module."""
    spec = GuestSpec(vcpus=2, cpu_pct=60, disk_mib=16, tenant="acme", priority=2, exempt=True)
    guest = libvirt_lab.start_guest(HOST, f"busy-{os.getpid()}", spec)
    yield guest
    guest.destroy()
