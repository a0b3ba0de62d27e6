"""From two observations to one tick: demand, usage and loss of every VM on every resource.

Counters are cumulative and may restart, lie or be missing; what cannot be known becomes NaN with a
flaw that says why, never a guess. Formulas (per second of monotonic time):

- cpu: usage = run time, delay = run-queue delay, self = time throttled by the VM's own quota (it
  counts as delay too), demand = usage + delay, loss = (delay - self) / demand.
- memory: demand = what the guest uses (available - unused), usage = resident; loss = stall from
  major faults, one disk service time each, while the balloon holds the guest below its size.
- iops: loss = 1 - expected / actual service time, where expected is the VM's own quiet service time
  times its own queue depth: queueing behind oneself is nobody's fault. demand = usage / (1 - loss).
- net: loss = drops / (packets + drops), demand = usage / (1 - loss).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

import numpy as np

from evenkeel.control.inside import Inside, inside_loss
from evenkeel.domain.arrays import F64, Bools
from evenkeel.domain.ids import VmId
from evenkeel.domain.resources import (
    CPU_AXIS,
    IOPS_AXIS,
    MEMORY_AXIS,
    N_RESOURCES,
    NET_AXIS,
)
from evenkeel.domain.sample import Flaw, GuestReading, HostCounters, HostTick, VmCounters
from evenkeel.domain.vm import VmState

NS: Final = 1e-9
MAX_GAP_S: Final = 120.0
"""A longer gap between observations is history, not a rate."""
BALLOON_STALE_S: Final = 60.0
TOLERANCE: Final = 1.1
"""A VM that ran more than its vCPUs times this is not believed."""
FAULT_S: Final = 0.004
QUIET_FLOOR_S: Final = 0.0005
QUIET_RISE: Final = 1.002
"""The quiet service time creeps up this much a tick, so that it can follow a new disk."""

# Columns of the cumulative counters, all of which only grow.
_RUN, _DELAY, _THROTTLED, _FAULTS, _REQS, _DISK_NS, _BYTES, _PACKETS, _DROPS = range(9)
_OPTIONAL: Final = (_DELAY, _THROTTLED, _FAULTS)
_NEEDED: Final = [k for k in range(9) if k not in _OPTIONAL]
_DEVICES: Final = (_FAULTS, _REQS, _DISK_NS)


@dataclass(frozen=True, slots=True)
class Baselines:
    """What measuring remembers between ticks: each VM's quiet disk service time, in seconds, its
    last device rates, which hold until the devices are read again, and what its profiler said."""

    quiet_disk_s: dict[VmId, float] = field(default_factory=dict)
    device_rates: dict[VmId, F64] = field(default_factory=dict)
    inside: dict[VmId, Inside] = field(default_factory=dict)


SILENCE: Final[Mapping[VmId, GuestReading]] = MappingProxyType({})
"""What profilers say where there are none."""


def derive(
    before: HostCounters | None,
    now: HostCounters,
    baselines: Baselines,
    inside: Mapping[VmId, GuestReading] = SILENCE,
) -> tuple[HostTick | None, Baselines]:
    """One tick from two observations; None when they do not bound an interval of time.

    `inside` is what profilers said since the last tick.
    """
    if before is None:
        return None, baselines
    dt_s = now.monotonic_s - before.monotonic_s
    if not 0 < dt_s <= MAX_GAP_S:
        return None, baselines
    n = len(now.vms)
    past = {counters.vm.id: counters for counters in before.vms}
    pairs = [(past.get(counters.vm.id), counters) for counters in now.vms]
    rate, flaws = _rates(pairs, dt_s)
    devices_dt_s = now.devices_read_s - before.devices_read_s
    device_rates = _device_rates(pairs, rate, dt_s, devices_dt_s, baselines)
    demand, usage = np.full((n, N_RESOURCES), np.nan), np.full((n, N_RESOURCES), np.nan)
    loss, held = np.full((n, N_RESOURCES), np.nan), np.zeros((n, N_RESOURCES))
    _cpu(pairs, rate, flaws, demand, usage, loss, held)
    quiet = _disk(pairs, rate, demand, usage, loss, baselines)
    _net(rate, demand, usage, loss)
    _memory(pairs, rate, flaws, demand, usage, loss, now.wall_s)
    for i, (_, counters) in enumerate(pairs):
        if counters.vm.state is VmState.PAUSED:
            flaws[i].add(Flaw.PAUSED)
            demand[i, [CPU_AXIS, NET_AXIS, IOPS_AXIS]] = 0.0
            usage[i, [CPU_AXIS, NET_AXIS, IOPS_AXIS]] = 0.0
            loss[i] = 0.0
    lost_inside, remembered = inside_loss(now, demand, loss, inside, baselines.inside, flaws)
    tick = HostTick(
        host=now.host,
        taken_at_s=now.wall_s,
        interval_s=dt_s,
        vms=tuple(counters.vm for counters in now.vms),
        demand=demand,
        usage=usage,
        loss=loss,
        self_limited=held,
        background=_background(before, now, usage, dt_s),
        flaws=tuple(frozenset(f) for f in flaws),
        psi=(now.psi_cpu_some, now.psi_memory_some, now.psi_io_some),
        inside_loss=lost_inside,
    )
    return tick, Baselines(quiet, device_rates, remembered)


Pairs = list[tuple[VmCounters | None, VmCounters]]


def _row(c: VmCounters) -> tuple[float | None, ...]:
    return (
        c.vcpu_time_ns,
        c.vcpu_delay_ns,
        c.throttled_ns,
        c.major_faults,
        c.disk_requests,
        c.disk_time_ns,
        c.net_bytes,
        c.net_packets,
        c.net_drops,
    )


def _rates(pairs: Pairs, dt_s: float) -> tuple[F64, list[set[Flaw]]]:
    """(N, 9) growth a second; NaN rows for VMs that are new, restarted, or whose counters lie."""
    flaws: list[set[Flaw]] = [set() for _ in pairs]
    cur = np.array([_row(c) for _, c in pairs], dtype=np.float64).reshape(len(pairs), 9)
    old = np.array([_row(p or c) for p, c in pairs], dtype=np.float64).reshape(len(pairs), 9)
    rate = (cur - old) / dt_s
    lies = _lies(rate, cur, np.array([c.vm.n_vcpus for _, c in pairs], dtype=np.float64))
    for i, (previous, counters) in enumerate(pairs):
        if previous is None:
            flaws[i].add(Flaw.NEW)
        elif previous.incarnation != counters.incarnation:
            flaws[i].add(Flaw.RESET)
        elif (flaw := lies.get(i)) is not None:
            flaws[i].add(flaw)
    bad = [i for i, f in enumerate(flaws) if f]
    rate[bad] = np.nan
    return rate, flaws


def _device_rates(
    pairs: Pairs, rate: F64, dt_s: float, devices_dt_s: float, baselines: Baselines
) -> dict[VmId, F64]:
    """Put the device columns of `rate` on their own clock; returns them for the next tick."""
    columns = list(_DEVICES)
    if devices_dt_s > 0:
        rate[:, columns] *= dt_s / devices_dt_s
    else:
        for i, (_, counters) in enumerate(pairs):
            known = baselines.device_rates.get(counters.vm.id)
            if known is not None and not np.isnan(rate[i, _RUN]):
                rate[i, columns] = known
    return {counters.vm.id: rate[i, columns] for i, (_, counters) in enumerate(pairs)}


def _lies(rate: F64, cur: F64, n_vcpus: F64) -> dict[int, Flaw]:
    """Rows of VMs whose counters cannot be believed, and why."""
    nonsense: Bools = np.asarray(np.isinf(rate).any(axis=1) | (cur < 0).any(axis=1))
    nonsense |= np.isnan(rate[:, _NEEDED]).any(axis=1)
    limit = n_vcpus * TOLERANCE
    too_much = (rate[:, _RUN] * NS > limit) | (rate[:, _DELAY] * NS > limit)
    is_back: Bools = np.asarray((rate < 0).any(axis=1))
    return {
        i: Flaw.RESET if is_back[i] and not nonsense[i] else Flaw.IMPLAUSIBLE
        for i in np.flatnonzero(nonsense | is_back | too_much).tolist()
    }


def _cpu(
    pairs: Pairs,
    rate: F64,
    flaws: list[set[Flaw]],
    demand: F64,
    usage: F64,
    loss: F64,
    held: F64,
) -> None:
    run = rate[:, _RUN] * NS
    delay = rate[:, _DELAY] * NS
    throttled = np.nan_to_num(rate[:, _THROTTLED]) * NS
    for i, (_, counters) in enumerate(pairs):
        quota = counters.vm.tuning.quota_cores
        if counters.vcpu_delay_ns is None:
            flaws[i].add(Flaw.NO_DELAY)
        elif quota != float("inf") and counters.throttled_ns is None and run[i] > 0.9 * quota:
            # At its quota and nobody counts the throttling: the delay cannot be told apart.
            throttled[i] = delay[i]
    own = np.minimum(throttled, np.nan_to_num(delay))
    usage[:, CPU_AXIS] = run
    demand[:, CPU_AXIS] = run + np.nan_to_num(delay)
    held[:, CPU_AXIS] = own
    wanted = demand[:, CPU_AXIS]
    loss[:, CPU_AXIS] = np.divide(
        delay - own, wanted, out=np.where(np.isnan(delay), np.nan, 0.0), where=wanted > 0
    )


def _disk(
    pairs: Pairs, rate: F64, demand: F64, usage: F64, loss: F64, baselines: Baselines
) -> dict[VmId, float]:
    requests = rate[:, _REQS]
    queue = rate[:, _DISK_NS] * NS
    quiet: dict[VmId, float] = {}
    for i, (_, counters) in enumerate(pairs):
        known = baselines.quiet_disk_s.get(counters.vm.id)
        usage[i, IOPS_AXIS] = requests[i]
        demand[i, IOPS_AXIS] = requests[i]
        loss[i, IOPS_AXIS] = 0.0 if not np.isnan(requests[i]) else np.nan
        if not requests[i] > 1.0:
            if known is not None:
                quiet[counters.vm.id] = known
            continue
        service_s = max(queue[i] / requests[i], 1e-7)
        if known is not None:
            expected_s = max(known, QUIET_FLOOR_S) * max(1.0, queue[i])
            lost = max(0.0, 1.0 - expected_s / service_s)
            loss[i, IOPS_AXIS] = lost
            demand[i, IOPS_AXIS] = requests[i] / (1.0 - lost)
        quiet[counters.vm.id] = min(service_s, (known or service_s) * QUIET_RISE)
    return quiet


def _net(rate: F64, demand: F64, usage: F64, loss: F64) -> None:
    packets, drops = rate[:, _PACKETS], rate[:, _DROPS]
    usage[:, NET_AXIS] = rate[:, _BYTES] * 8e-6
    tried = packets + drops
    lost = np.divide(drops, tried, out=np.where(np.isnan(tried), np.nan, 0.0), where=tried > 0)
    loss[:, NET_AXIS] = lost
    demand[:, NET_AXIS] = usage[:, NET_AXIS] / np.maximum(1.0 - lost, 1e-3)


def _memory(
    pairs: Pairs,
    rate: F64,
    flaws: list[set[Flaw]],
    demand: F64,
    usage: F64,
    loss: F64,
    wall_s: float,
) -> None:
    for i, (_, c) in enumerate(pairs):
        if c.rss_kib is not None and c.rss_kib >= 0:
            usage[i, MEMORY_AXIS] = c.rss_kib / 1024
        if c.available_kib is None or c.unused_kib is None or c.balloon_kib is None:
            flaws[i].add(Flaw.NO_BALLOON)
            continue
        if not c.balloon_updated_at_s or wall_s - c.balloon_updated_at_s > BALLOON_STALE_S:
            flaws[i].add(Flaw.STALE_BALLOON)
            continue
        used_mib = (c.available_kib - c.unused_kib) / 1024
        if not 0 <= used_mib <= c.vm.memory_mib * TOLERANCE:
            flaws[i].add(Flaw.IMPLAUSIBLE)
            continue
        faults = rate[i, _FAULTS]
        stall = 0.0 if np.isnan(faults) else faults * FAULT_S
        squeezed = c.balloon_kib / 1024 < 0.99 * c.vm.memory_mib
        share = stall / (1.0 + stall) if squeezed else 0.0
        usage[i, MEMORY_AXIS] = used_mib
        demand[i, MEMORY_AXIS] = used_mib / (1.0 - share)
        loss[i, MEMORY_AXIS] = share


def _background(before: HostCounters, now: HostCounters, usage: F64, dt_s: float) -> F64:
    """(R,) what the host used beside its VMs' vCPUs: cores and MiB; nothing known of net, disk."""
    out = np.zeros(N_RESOURCES)
    out[CPU_AXIS] = np.nan
    if now.cpu_busy_ns is not None and before.cpu_busy_ns is not None:
        busy = (now.cpu_busy_ns - before.cpu_busy_ns) * NS / dt_s
        cores = busy - float(np.nansum(usage[:, CPU_AXIS]))
        if busy >= 0:
            out[CPU_AXIS] = min(max(0.0, cores), float(len(now.host.cpus)))
    resident = sum((c.rss_kib or 0) for c in now.vms) / 1024
    out[MEMORY_AXIS] = max(0.0, now.memory_used_mib - resident)
    return out
