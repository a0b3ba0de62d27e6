"""What a day cost and whom it hurt: state changes add up until the day ends.

A state holds from the look it was taken at to the next one; a later look at the same instant
replaces it. Energy is of whole intervals, by the mean of the power at both ends, none for a host
that did nothing at the beginning (it was off).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from evenkeel.domain.arrays import F64, Bools
from evenkeel.jit import compiled


class Meter(NamedTuple):
    """`sums` as `SUMS`; for hosts (H,) and VMs (V,) the state that holds since `*_since` seconds
    (-1: none yet)."""

    sums: F64
    host_since: F64
    host_given: F64
    host_wanted: F64
    vm_since: F64
    vm_given: F64
    vm_wanted: F64
    vm_leaves: Bools


SUMS = ("watt_s", "given", "wanted", "lost_moving", "active_s", "short_s")
WATT_S, GIVEN, WANTED, LOST_MOVING, ACTIVE_S, SHORT_S = range(len(SUMS))


def new_meter(n_hosts: int, n_vms: int) -> Meter:
    """Nothing metered yet."""
    return Meter(
        np.zeros(len(SUMS)),
        np.full(n_hosts, -1.0),
        np.zeros(n_hosts),
        np.zeros(n_hosts),
        np.full(n_vms, -1.0),
        np.zeros(n_vms),
        np.zeros(n_vms),
        np.zeros(n_vms, dtype=np.bool_),
    )


@compiled
def note_host(meter: Meter, host: int, now_s: float, given: float, wanted: float) -> None:
    """A host gives `given` MIPS of `wanted` from now on."""
    since_s = meter.host_since[host]
    if since_s >= 0 and now_s > since_s and meter.host_given[host] > 0:
        meter.sums[ACTIVE_S] += now_s - since_s
        if meter.host_given[host] < meter.host_wanted[host]:
            meter.sums[SHORT_S] += now_s - since_s
    meter.host_since[host] = now_s
    meter.host_given[host] = given
    meter.host_wanted[host] = wanted


@compiled
def note_vm(meter: Meter, vm: int, now_s: float, given: float, wanted: float, leaves: bool) -> None:
    """A VM gets `given` MIPS of `wanted` from now on; `leaves`: it is being moved away."""
    since_s = meter.vm_since[vm]
    if since_s >= 0 and now_s > since_s:
        span_s = now_s - since_s
        got, asked = meter.vm_given[vm], meter.vm_wanted[vm]
        meter.sums[GIVEN] += got * span_s
        meter.sums[WANTED] += asked * span_s
        if got < asked and meter.vm_leaves[vm]:
            meter.sums[LOST_MOVING] += (asked - got) * span_s
    meter.vm_since[vm] = now_s
    meter.vm_given[vm] = given
    meter.vm_wanted[vm] = wanted
    meter.vm_leaves[vm] = leaves


@compiled
def watts(table: F64, used: float) -> float:
    """Of a host by its share of CPU in [0, 1]: linear between tenths; `table` (11,)."""
    if used % 0.1 == 0:
        return float(table[int(used * 10)])
    low, high = int(np.floor(used * 10)), int(np.ceil(used * 10))
    slope = (table[high] - table[low]) / 10
    return float(table[low] + slope * (used - low / 10) * 100)
