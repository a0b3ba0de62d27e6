"""What the agent sees of a guest during a cell, as a few numbers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from evenkeel.control.measure import Baselines, derive
from evenkeel.domain.arrays import F64
from evenkeel.domain.ids import VmId
from evenkeel.domain.resources import CPU_AXIS, IOPS_AXIS, MEMORY_AXIS, NET_AXIS
from evenkeel.domain.sample import HostCounters, HostTick, VmCounters
from evenkeel.ports import GuestProfiles, Hypervisor

TICK_S: Final = 1.0
FIELDS: Final = {
    "cpu_cores": "CPU that the vCPUs want: run + run-queue delay",
    "cpu_cores_p95": "the same, in its busiest second",
    "cpu_used": "CPU that its vCPUs get",
    "device_cores": "CPU that its QEMU uses beside its vCPUs: the price of its devices",
    "vcpus": "",
    "memory_mib": "in use inside the guest",
    "faults": "major faults a second",
    "iops": "requests a second",
    "disk_mb_s": "",
    "disk_ms": "service time of a request",
    "net_mbit_s": "",
    "packets": "a second",
}
"""Columns of a solo profile: all that a host knows of a VM without asking the VM."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Means over a cell. `loss_*` and `inside_loss` are shares; NaN: not known."""

    cpu_cores: float
    cpu_cores_p95: float
    device_cores: float
    vcpus: float
    memory_mib: float
    faults: float
    iops: float
    disk_mb_s: float
    disk_ms: float
    net_mbit_s: float
    packets: float
    cpu_used: float
    loss_cpu: float
    loss_memory: float
    loss_net: float
    loss_iops: float
    inside_loss: float
    background: float


def watched(
    hypervisor: Hypervisor,
    profiles: GuestProfiles,
    ids: Sequence[VmId],
    seconds: float,
    baselines: Baselines,
) -> tuple[tuple[Seen, ...], Baselines]:
    """Look at the host every second for `seconds`, as the agent does. Raises HypervisorError."""
    first = before = hypervisor.observe()
    _, baselines = derive(None, first, baselines)
    profiles.read()  # what was said before counts for nothing
    end_s = time.monotonic() + seconds
    ticks: list[HostTick] = []
    while (left_s := end_s - time.monotonic()) > 0.3 * TICK_S:
        time.sleep(min(TICK_S, left_s))
        now = hypervisor.observe()
        tick, baselines = derive(before, now, baselines, profiles.read())
        if tick is not None:
            ticks.append(tick)
        before = now
    return tuple(_of(vm, first, before, ticks) for vm in ids), baselines


def _of(vm: VmId, first: HostCounters, last: HostCounters, ticks: Sequence[HostTick]) -> Seen:
    a, b = _counters(first, vm), _counters(last, vm)
    dt_s = last.monotonic_s - first.monotonic_s
    rows = [tick.index_of(vm) for tick in ticks]
    demand = np.array([t.demand[i] for t, i in zip(ticks, rows, strict=True) if i is not None])
    usage = np.array([t.usage[i] for t, i in zip(ticks, rows, strict=True) if i is not None])
    loss = np.array([t.loss[i] for t, i in zip(ticks, rows, strict=True) if i is not None])
    inside = [
        t.inside_loss[i]
        for t, i in zip(ticks, rows, strict=True)
        if i is not None and t.inside_loss is not None
    ]
    requests = b.disk_requests - a.disk_requests
    vcpu_ns, all_ns = b.vcpu_time_ns - a.vcpu_time_ns, b.cpu_time_ns - a.cpu_time_ns
    return Seen(
        cpu_cores=_mean(demand[:, CPU_AXIS]),
        cpu_cores_p95=float(np.nanpercentile(demand[:, CPU_AXIS], 95)),
        device_cores=max(0.0, (all_ns - vcpu_ns) / 1e9 / dt_s),
        vcpus=float(b.vm.n_vcpus),
        memory_mib=_mean(usage[:, MEMORY_AXIS]),
        faults=((b.major_faults or 0) - (a.major_faults or 0)) / dt_s,
        iops=requests / dt_s,
        disk_mb_s=(b.disk_bytes - a.disk_bytes) / 1e6 / dt_s,
        disk_ms=(b.disk_time_ns - a.disk_time_ns) / 1e6 / requests if requests else 0.0,
        net_mbit_s=(b.net_bytes - a.net_bytes) * 8e-6 / dt_s,
        packets=(b.net_packets - a.net_packets) / dt_s,
        cpu_used=_mean(usage[:, CPU_AXIS]),
        loss_cpu=_mean(loss[:, CPU_AXIS]),
        loss_memory=_mean(loss[:, MEMORY_AXIS]),
        loss_net=_mean(loss[:, NET_AXIS]),
        loss_iops=_mean(loss[:, IOPS_AXIS]),
        inside_loss=_mean(np.array(inside, dtype=np.float64)),
        background=_mean(np.array([t.background[CPU_AXIS] for t in ticks])),
    )


def _counters(observed: HostCounters, vm: VmId) -> VmCounters:
    return next(one for one in observed.vms if one.vm.id == vm)


def _mean(values: F64) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
