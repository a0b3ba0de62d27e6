"""What VMs share beside cores: a disk, an uplink and memory. Arrays are (step, VM)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64
from evenkeel.sim.scheduler import share_by_weight

MAX_DISK_UTILISATION: Final = 0.98
"""Keeps the response time finite: a full queue is some 50 services long."""
PAGE_KIB: Final = 4
FAULTS_PER_CORE_S: Final = 2000.0
"""Page touches per core-second that miss when nothing of the working set is resident."""
PACKET_BYTES: Final = 1500


@dataclass(frozen=True, slots=True)
class DiskShare:
    """Requests served per second and VM, and the response time in seconds, (n_steps,)."""

    served: F64
    response_s: F64


def share_disk(wanted: F64, iops: float) -> DiskShare:
    """One device that serves `iops` requests/s in order of arrival.

    Response time is that of an M/M/1 queue, service / (1 - utilisation). Beyond saturation,
    everybody is served in proportion to what it asks.
    """
    utilisation = wanted.sum(axis=1) / iops
    served = wanted / np.maximum(1.0, utilisation)[:, None]
    response_s = 1.0 / iops / (1.0 - np.minimum(utilisation, MAX_DISK_UTILISATION))
    return DiskShare(served, response_s)


def share_link(wanted: F64, mbit_s: float) -> F64:
    """Mbit/s that get through: flows share the uplink evenly (max-min), the rest is dropped."""
    if not wanted.size or wanted.sum(axis=1).max() <= mbit_s:
        return wanted.copy()
    return share_by_weight(wanted, np.ones_like(wanted), mbit_s)


@dataclass(frozen=True, slots=True)
class MemoryShare:
    """`resident_mib` of each VM on the host, the guest's major `faults` per second it attempts,
    and those that the host's own swapping adds (`host_faults`)."""

    resident_mib: F64
    faults: F64
    host_faults: F64


def share_memory(
    working_set_mib: F64, balloon_mib: F64, busy_cores: F64, host_mib: float
) -> MemoryShare:
    """Who lacks memory, and how many pages a second that costs.

    A guest that works on more than its balloon leaves faults in proportion to what is missing and
    to how busy it is. When the guests together hold more than the host has, the host swaps out an
    even share of everybody: then all of them fault, without their own counters showing it.
    """
    missing = np.maximum(0.0, working_set_mib - balloon_mib)
    share_missing = missing / np.maximum(working_set_mib, 1.0)
    resident = np.minimum(working_set_mib, balloon_mib)
    held = resident.sum(axis=1)
    swapped = np.maximum(0.0, held - host_mib) / np.maximum(held, 1.0)
    return MemoryShare(
        resident_mib=resident * (1.0 - swapped)[:, None],
        faults=FAULTS_PER_CORE_S * busy_cores * share_missing,
        host_faults=FAULTS_PER_CORE_S * busy_cores * swapped[:, None],
    )


def stall_share(faults: F64, response_s: F64) -> F64:
    """Share of its time a VM spends waiting for pages: x / (1 + x), x = faults * response."""
    waiting = faults * response_s[:, None]
    return waiting / (1.0 + waiting)
