"""The host's own side of an observation: capacities, capabilities, busy time and pressure."""

from __future__ import annotations

import contextlib
import math
import os
from dataclasses import dataclass, replace
from typing import Any

import libvirt

from evenkeel.adapters.libvirt import procfs
from evenkeel.config import AgentConfig
from evenkeel.domain.cpu_list import parse_cpu_list
from evenkeel.domain.host import Capability, Host
from evenkeel.domain.ids import HostId


@dataclass(frozen=True, slots=True)
class HostReading:
    """What /proc said in one tick; NaN or None: not offered."""

    cpu_busy_ns: int | None
    memory_used_mib: float
    psi: tuple[float, float, float]


class HostReader:
    """Knows the host; asks libvirt about it once per connection."""

    def __init__(self, config: AgentConfig) -> None:
        """Raises ConfigInvalid if `config.cpus` is not a CPU list."""
        cpus = parse_cpu_list(config.cpus) or tuple(sorted(os.sched_getaffinity(0)))
        self._cpus = frozenset(cpus)
        self._local = {Capability.PSI} if not math.isnan(procfs.pressure("cpu")) else set()
        self._asked = False
        self.host = Host(
            id=HostId(config.host_id),
            cpus=cpus,
            memory_mib=procfs.memory_mib()[0],
            net_mbit_s=config.net_mbit_s or procfs.uplink_mbit_s(),
            iops=config.iops or None,
            capabilities=frozenset(self._local | {Capability.PIN}),
            cells=procfs.numa_cells(self._cpus),
            fault_domain=config.fault_domain,
        )

    def connected(self) -> None:
        """A new connection: version and capabilities have to show themselves again."""
        self._asked = False
        self.host = replace(self.host, capabilities=frozenset(self._local | {Capability.PIN}))

    def ask(self, connection: Any) -> None:
        """Ask what the hypervisor is, once per connection, and when a VM runs: libvirt may first
        have to probe QEMU for seconds, which it has done for one that runs."""
        if self._asked:
            return
        self._asked = True
        with contextlib.suppress(libvirt.libvirtError):
            version, library = connection.getVersion(), connection.getLibVersion()
            name = f"{connection.getType()} {_dotted(version)}, libvirt {_dotted(library)}"
            self.host = replace(self.host, hypervisor=name)

    def learn(self, capabilities: frozenset[Capability]) -> None:
        """Take over what the VMs showed."""
        capabilities |= self._local
        if capabilities != self.host.capabilities:
            self.host = replace(self.host, capabilities=capabilities)

    def read(self) -> HostReading:
        cpu, memory, io = (procfs.pressure(resource) for resource in procfs.PRESSURES)
        return HostReading(
            cpu_busy_ns=procfs.cpu_busy_ns(self._cpus),
            memory_used_mib=procfs.memory_mib()[1],
            psi=(cpu, memory, io),
        )


def _dotted(version: int) -> str:
    """libvirt packs major * 1,000,000 + minor * 1,000 + release."""
    return f"{version // 1_000_000}.{version // 1000 % 1000}.{version % 1000}"
