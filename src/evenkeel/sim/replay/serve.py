"""What VMs get of what their hosts have: memory first, then disk, then cores, and the uplink.

The physics of `sim.devices` and `sim.scheduler` for all hosts at once and a whole slot: when VMs
hold more than the host's memory an even share of everybody is swapped out, page faults load the
disk, the disk says how long a fault stalls, and a stalled VM wants that much less CPU. Cores and
uplink are shared evenly among VMs (max-min; libvirt's default weights), the disk by what is asked.
Pages of a guest's own swapping are left out: no policy here changes them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from evenkeel.domain.arrays import F64, Bools, Ints
from evenkeel.domain.resources import CPU_AXIS, IOPS_AXIS, MEMORY_AXIS, NET_AXIS
from evenkeel.jit import compiled
from evenkeel.sim.devices import FAULTS_PER_CORE_S, MAX_DISK_UTILISATION
from evenkeel.sim.host import REQUESTS_PER_FAULT
from evenkeel.sim.replay.world import Hosts, by_host

SHORT = 1e-6
"""Of what is wanted: less is rounding."""


class Served(NamedTuple):
    """`got` (n, R) as wanted; `busy` (H,) cores that are; `short` (H,): of anything."""

    got: F64
    busy: F64
    short: Bools

    @classmethod
    def of(cls, n_hosts: int, at: Ints, wanted: F64, got: F64) -> Served:
        """What n VMs `at` (n,) hosts got."""
        lacks = (wanted - got > SHORT * wanted).any(axis=1)
        short = np.bincount(at[lacks], minlength=n_hosts) > 0
        return cls(got, by_host(at, got[:, CPU_AXIS], n_hosts), np.asarray(short))


def serve(hosts: Hosts, at: Ints, wanted: F64, held: F64, arriving: F64, sending: F64) -> Served:
    """n VMs on their hosts.

    Parameters
    ----------
    at : (n,) hosts
    wanted : (n, R); held : (n,) MiB of memory that each keeps resident
    arriving : (H,) MiB that is kept free for VMs under way; sending : (H,) Mbit/s that moves take
    """
    n = hosts.n
    in_use = by_host(at, held, n) + arriving
    swapped = np.maximum(0.0, in_use - hosts.memory_mib) / np.maximum(in_use, 1.0)
    served, stall = _disk(hosts, at, wanted, swapped)
    wish = wanted[:, CPU_AXIS] * (1.0 - stall)
    got = np.empty_like(wanted)
    got[:, CPU_AXIS] = share(at, wish, hosts.n_cpus)
    got[:, MEMORY_AXIS] = wanted[:, MEMORY_AXIS] * (1.0 - swapped[at])
    got[:, NET_AXIS] = share(at, wanted[:, NET_AXIS], np.maximum(hosts.net - sending, 0.0))
    got[:, IOPS_AXIS] = served
    return Served.of(n, at, wanted, got)


def _disk(hosts: Hosts, at: Ints, wanted: F64, swapped: F64) -> tuple[F64, F64]:
    """Requests served (n,) and the share of its time each VM waits for pages (n,)."""
    requests, n = wanted[:, IOPS_AXIS], hosts.n
    asked = by_host(at, requests, n)
    stall = np.zeros(len(at))
    if swapped.any():
        faults = FAULTS_PER_CORE_S * wanted[:, CPU_AXIS] * swapped[at]
        slowed = 1.0 - _waiting(faults * _response_s(hosts, asked)[at])
        asked = asked + REQUESTS_PER_FAULT * by_host(at, faults * slowed, n)
        stall = _waiting(faults * _response_s(hosts, asked)[at])
    return requests / np.maximum(1.0, asked / hosts.iops)[at], stall


def _response_s(hosts: Hosts, asked: F64) -> F64:
    busy = np.minimum(asked / hosts.iops, MAX_DISK_UTILISATION)
    return np.asarray(1.0 / hosts.iops / (1.0 - busy))


def _waiting(times: F64) -> F64:
    return np.asarray(times / (1.0 + times))


def share(at: Ints, wanted: F64, capacity: F64) -> F64:
    """(n,) even shares (max-min) of what each host (H,) has; nobody gets more than it wants."""
    total = by_host(at, wanted, len(capacity))
    over = total > capacity
    if not over.any():
        return wanted.copy()
    got = wanted.copy()
    who = np.flatnonzero(over[at])
    order = who[np.lexsort((wanted[who], at[who]))]
    _fill(order, at, wanted, capacity, got)
    return got


@compiled
def _fill(order: Ints, at: Ints, wanted: F64, capacity: F64, got: F64) -> None:
    """`order`: by host, then by what is wanted."""
    begin = 0
    while begin < len(order):
        host = at[order[begin]]
        end = begin
        while end < len(order) and at[order[end]] == host:
            end += 1
        left = capacity[host]
        for k in range(begin, end):
            level = max(left, 0.0) / (end - k)
            vm = order[k]
            if wanted[vm] > level:
                for other in range(k, end):
                    got[order[other]] = level
                break
            got[vm] = wanted[vm]
            left -= wanted[vm]
        begin = end
