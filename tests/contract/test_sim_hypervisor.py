"""The simulated hypervisor keeps the contract, on hosts of every ability."""

from __future__ import annotations

import pytest
from tests.contract.hypervisor_contract import HypervisorContract, HypervisorWorld

from evenkeel.domain.host import Capability
from evenkeel.ports import Hypervisor
from evenkeel.sim.fleet import SimFleet
from evenkeel.sim.host import HostSpec
from evenkeel.sim.hypervisor import SimHypervisor
from evenkeel.sim.vm import VmSpec
from evenkeel.sim.workload import Steady


class SimWorld:
    def __init__(self, capabilities: frozenset[Capability]) -> None:
        self.fleet = SimFleet(seed=1)
        host = self.fleet.add_host(HostSpec("h1", cpus=(0, 1), capabilities=capabilities))
        self.vm = self.fleet.add_vm(
            host, VmSpec("busy", n_vcpus=2, cpu=Steady(2.0), iops=Steady(50), net_mbit_s=Steady(9))
        )
        self.fleet.add_vm(host, VmSpec("other", cpu=Steady(0.5)))
        self.hypervisor: Hypervisor = SimHypervisor(self.fleet, host)

    def pass_time(self, seconds: float) -> None:
        self.fleet.advance(seconds)

    def stop_vm(self) -> None:
        self.fleet.remove_vm(self.vm)


class TestSimHypervisor(HypervisorContract):
    @pytest.fixture
    def world(self) -> HypervisorWorld:
        return SimWorld(frozenset(Capability))


class TestSimHypervisorWithoutCpuController(HypervisorContract):
    @pytest.fixture
    def world(self) -> HypervisorWorld:
        return SimWorld(frozenset({Capability.PIN}))
