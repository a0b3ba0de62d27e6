"""Reads the dictionaries of libvirt's `getAllDomainStats`, quickly: this runs for every VM, every
tick. Pure, and without libvirt, so that recorded and hostile dictionaries can be tested.

Values pass as read, negative or NaN too: whoever derives rates judges plausibility. What is not a
number at all makes the whole record odd (TypeError or ValueError).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from evenkeel.domain.vm import VmState

MAX_DEVICES: Final = 4096
_STATES: Final = {
    1: VmState.RUNNING,
    2: VmState.RUNNING,  # VIR_DOMAIN_BLOCKED: waits for I/O, as far as Xen knows
    3: VmState.PAUSED,
    4: VmState.OTHER,  # shutting down
    5: VmState.SHUTOFF,
    6: VmState.CRASHED,
    7: VmState.PAUSED,  # suspended by guest power management
}


class _VcpuKeys(NamedTuple):
    time: str
    delay: str


class _DiskKeys(NamedTuple):
    reads: str
    writes: str
    read_bytes: str
    write_bytes: str
    read_time: str
    write_time: str


class _NetKeys(NamedTuple):
    bytes: tuple[str, str]
    packets: tuple[str, str]
    drops: tuple[str, str]
    errors: tuple[str, str]


_vcpu_keys: list[_VcpuKeys] = []
_disk_keys: list[_DiskKeys] = []
_net_keys: list[_NetKeys] = []


class Cpu(NamedTuple):
    n_online: int
    time_ns: int
    delay_ns: int | None
    total_ns: int


class Disk(NamedTuple):
    requests: int
    bytes: int
    time_ns: int


class Net(NamedTuple):
    bytes: int
    packets: int
    drops: int
    errors: int


class Balloon(NamedTuple):
    """All in KiB but the faults (count) and the time of the guest's last report (wall, s)."""

    current: int | None
    unused: int | None
    available: int | None
    rss: int | None
    swap_in: int | None
    swap_out: int | None
    major_faults: int | None
    updated_at_s: int | None


def state(stats: Mapping[str, Any]) -> VmState:
    return _STATES.get(stats.get("state.state", 0), VmState.OTHER)


def memory_mib(stats: Mapping[str, Any]) -> float:
    """What the VM was given at most; its balloon may hold a part of it back."""
    kib: float = stats.get("balloon.maximum", 0)
    if not 0 <= kib < math.inf:
        raise ValueError(f"balloon.maximum {kib!r} is no amount of memory")
    return kib / 1024


def balloon(stats: Mapping[str, Any]) -> Balloon:
    """Memory statistics; None where the VM has no balloon or its guest never reported."""
    get = stats.get
    found = Balloon(
        get("balloon.current"),
        get("balloon.unused"),
        get("balloon.available"),
        get("balloon.rss"),
        get("balloon.swap_in"),
        get("balloon.swap_out"),
        get("balloon.major_fault"),
        get("balloon.last-update"),
    )
    for value in found:
        if value is not None and not isinstance(value, int | float):
            raise ValueError(f"{value!r} among the balloon statistics is not a number")
    return found


def cpu(stats: Mapping[str, Any]) -> Cpu:
    """Sums over the online vCPUs; the delay is None unless every one of them offers it."""
    time_ns = delay_ns = n_online = 0
    offered, n_current = True, stats.get("vcpu.current", 0)
    for keys in _keys(_vcpu_keys, _new_vcpu_keys, stats.get("vcpu.maximum", n_current)):
        spent = stats.get(keys.time)
        if spent is None:
            continue  # offline
        n_online += 1
        time_ns += spent
        delay = stats.get(keys.delay)
        if delay is None:
            offered = False
        else:
            delay_ns += delay
        if n_online == n_current:
            break  # the rest, up to the maximum, is offline
    delay_known = offered and n_online > 0
    total_ns = stats.get("cpu.time", 0) + 0  # refuses what is not a number
    return Cpu(n_online or n_current, time_ns, delay_ns if delay_known else None, total_ns)


def disk(stats: Mapping[str, Any]) -> Disk | None:
    """Sums over the disks; None when libvirt could not ask the VM (it hangs or is busy)."""
    requests = n_bytes = time_ns = 0
    n_disks = stats.get("block.count", 0)
    answered = n_disks == 0
    for keys in _keys(_disk_keys, _new_disk_keys, n_disks):
        reads = stats.get(keys.reads)
        if reads is None:
            continue  # an empty drive
        answered = True
        requests += reads + stats.get(keys.writes, 0)
        n_bytes += stats.get(keys.read_bytes, 0) + stats.get(keys.write_bytes, 0)
        time_ns += stats.get(keys.read_time, 0) + stats.get(keys.write_time, 0)
    return Disk(requests, n_bytes, time_ns) if answered else None


def net(stats: Mapping[str, Any]) -> Net:
    """Sums over interfaces and both directions."""
    n_bytes = packets = drops = errors = 0
    get = stats.get
    for keys in _keys(_net_keys, _new_net_keys, get("net.count", 0)):
        n_bytes += get(keys.bytes[0], 0) + get(keys.bytes[1], 0)
        packets += get(keys.packets[0], 0) + get(keys.packets[1], 0)
        drops += get(keys.drops[0], 0) + get(keys.drops[1], 0)
        errors += get(keys.errors[0], 0) + get(keys.errors[1], 0)
    return Net(n_bytes, packets, drops, errors)


def _keys(known: list[Any], make: Any, count: Any) -> list[Any]:
    """The first `count` key sets; they are made once and shared by all VMs and ticks."""
    if not isinstance(count, int):
        raise ValueError(f"{count!r} is not a count")
    count = min(max(count, 0), MAX_DEVICES)
    while len(known) < count:
        known.append(make(len(known)))
    return known[:count]


def _new_vcpu_keys(k: int) -> _VcpuKeys:
    return _VcpuKeys(f"vcpu.{k}.time", f"vcpu.{k}.delay")


def _new_disk_keys(k: int) -> _DiskKeys:
    block = f"block.{k}"
    return _DiskKeys(
        f"{block}.rd.reqs",
        f"{block}.wr.reqs",
        f"{block}.rd.bytes",
        f"{block}.wr.bytes",
        f"{block}.rd.times",
        f"{block}.wr.times",
    )


def _new_net_keys(k: int) -> _NetKeys:
    def both(what: str) -> tuple[str, str]:
        return f"net.{k}.rx.{what}", f"net.{k}.tx.{what}"

    return _NetKeys(both("bytes"), both("pkts"), both("drop"), both("errs"))
