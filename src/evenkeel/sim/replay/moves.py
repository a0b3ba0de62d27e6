"""Moves under way: how fast memory is sent, what it costs meanwhile, when they end.

Memory is copied while the VM runs; what it writes meanwhile is sent again: each busy core dirties
`DIRTY_MIB_S` (a guess: pre-copy studies report 1 to some 50 MiB/s), but never so much as to keep a
move from ending, as hypervisors slow such a VM down. All moves of a host share half of its uplink,
and each goes at the slower of its ends. Until it ends the VM runs where it was, and its memory is
kept free where it goes.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from evenkeel.domain.arrays import F64, Ints
from evenkeel.sim.replay.world import Hosts, by_host

LINK_SHARE: Final = 0.5
"""Of the uplink for all moves of a host: as in CloudSim 3.0.3."""
MBIT_A_MIB: Final = 8.388608
DIRTY_MIB_S: Final = 10.0
LEAST_PROGRESS: Final = 0.25
"""Of what is sent, what counts at least however fast memory is written."""
CPU_COST: Final = 0.1
"""Of its CPU, what a VM loses while it is moved: as in CloudSim 3.0.3, after Voorsluys et al. 2009
(doi:10.1007/978-3-642-10665-1_23)."""


class Pace(NamedTuple):
    """Of M moves: `sends` (M,) MiB/s over the link and `gains` (M,) MiB/s of what is left; `mbit`
    (H,) that they take of each host's uplink."""

    sends: F64
    gains: F64
    mbit: F64


def pace(hosts: Hosts, source: Ints, target: Ints, cpu: F64) -> Pace:
    """`source`, `target` (M,) hosts; `cpu` (M,) cores that each VM uses meanwhile."""
    ends = np.bincount(source, minlength=hosts.n) + np.bincount(target, minlength=hosts.n)
    each = LINK_SHARE * hosts.net / np.maximum(ends, 1)
    mbit = np.minimum(each[source], each[target])
    taken = by_host(source, mbit, hosts.n) + by_host(target, mbit, hosts.n)
    sends = mbit / MBIT_A_MIB
    return Pace(sends, np.maximum(sends - DIRTY_MIB_S * cpu, LEAST_PROGRESS * sends), taken)
