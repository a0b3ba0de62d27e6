"""What `evenkeel doctor` asks a host: can the agent read and act here, and if not, what to do."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from evenkeel.adapters.libvirt import cgroups, procfs
from evenkeel.adapters.libvirt.hypervisor import LibvirtHypervisor
from evenkeel.config import AgentConfig
from evenkeel.domain.errors import EvenkeelError
from evenkeel.domain.host import Capability
from evenkeel.domain.sample import HostCounters, VmCounters
from evenkeel.ports import Clock


@dataclass(frozen=True, slots=True)
class Finding:
    """One check; `ok` is None where there was nothing to tell it by."""

    check: str
    ok: bool | None
    message: str
    hint: str = ""


def diagnose(config: AgentConfig, clock: Clock) -> tuple[Finding, ...]:
    """Look at libvirt and the host as the agent would; changes nothing and never raises."""
    findings = []
    try:
        hypervisor = LibvirtHypervisor(config, clock)
        try:
            counters = hypervisor.observe()
        finally:
            hypervisor.close()
    except EvenkeelError as error:
        findings.append(Finding("libvirt", False, f"{error.code}: {error.message}", error.hint))
    else:
        findings.append(_connection(config, counters))
        findings.extend(_knobs(counters))
        findings.append(_delay(counters.vms))
        findings.append(_balloon(counters.vms, counters.wall_s))
    findings.append(_cgroup(Path(config.cgroup_root)))
    findings.append(_psi())
    findings.append(_uplink(config))
    return tuple(findings)


def _connection(config: AgentConfig, counters: HostCounters) -> Finding:
    return Finding(
        "libvirt",
        True,
        f"{config.libvirt_uri}: {counters.host.hypervisor}, {len(counters.vms)} running VMs",
    )


def _knobs(counters: HostCounters) -> list[Finding]:
    wanted = {
        Capability.SHARES: "CPU shares can be set",
        Capability.QUOTA: "CPU quotas can be set",
        Capability.THROTTLE_STATS: "a VM's own quota can be told apart from its neighbours",
    }
    has = counters.host.capabilities
    found = []
    for capability, what in wanted.items():
        if not counters.vms:
            found.append(Finding(capability, None, "no running VM to ask", "Start a VM."))
        elif capability in has:
            found.append(Finding(capability, True, what))
        else:
            hint = "Mount the cgroup CPU controller and let libvirt use it; pinning works without."
            found.append(Finding(capability, False, f"unknown whether {what}", hint))
    return found


def _delay(vms: tuple[VmCounters, ...]) -> Finding:
    check = "run-queue delay"
    without = [vm.vm.name for vm in vms if vm.vcpu_delay_ns is None]
    if not vms:
        return Finding(check, None, "no running VM to ask", "Start a VM.")
    if without:
        hint = "It needs libvirt 7.2 or newer and a kernel with schedstats (CONFIG_SCHED_INFO)."
        return Finding(check, False, f"not offered for {_some(without)}", hint)
    return Finding(check, True, f"offered for all {len(vms)} VMs")


def _balloon(vms: tuple[VmCounters, ...], wall_s: float) -> Finding:
    check = "balloon statistics"
    if not vms:
        return Finding(check, None, "no running VM to ask", "Start a VM.")
    stale = [
        vm.vm.name
        for vm in vms
        if not vm.balloon_updated_at_s or wall_s - vm.balloon_updated_at_s > 60
    ]
    if stale:
        hint = "`virsh dommemstat VM --live --period 5` turns them on; guests need virtio_balloon."
        return Finding(check, False, f"off or older than a minute for {_some(stale)}", hint)
    return Finding(check, True, f"fresh for all {len(vms)} VMs")


def _cgroup(root: Path) -> Finding:
    hierarchy = cgroups.find_hierarchy(root)
    if hierarchy is None:
        hint = "Set `agent.cgroup_root` to where the cgroup file systems are mounted."
        return Finding("cgroup", False, f"no CPU controller below {root}", hint)
    return Finding("cgroup", True, f"version {hierarchy.version} at {hierarchy.root}")


def _psi() -> Finding:
    if math.isnan(procfs.pressure("cpu")):
        hint = "Boot with psi=1 (kernel 4.20 or newer); Evenkeel works without."
        return Finding("pressure", False, "/proc/pressure cannot be read", hint)
    return Finding("pressure", True, "/proc/pressure can be read")


def _uplink(config: AgentConfig) -> Finding:
    speed = config.net_mbit_s or procfs.uplink_mbit_s()
    if not speed:
        hint = "Set `agent.net_mbit_s`; without it network contention is not scored."
        return Finding("uplink", None, "the link does not tell its speed", hint)
    return Finding("uplink", True, f"{speed:g} Mbit/s")


def _some(names: list[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(sorted(names)[:most]) + more
