"""Who is to blame for a loss: shares over the neighbours, the host itself, and the VM's own surge.

Stated property: in every row the shares of one victim add up to 1 over {neighbours, host, itself},
an idle VM gets none, and a VM within both its norm and its fair share gets next to none. The
weight of j is `surge_j + excess_j + TRACE * demand_j`, where surge is demand above j's own norm and
excess is demand above its fair share of the pool. A victim's own surge takes its part of the
blame, which is what breaks the tie between two VMs that slow each other equally: the one that
changed is the cause. Correlation plays no part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64

TRACE: Final = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Pressing:
    """What each presses with, in the resource's unit, on B hosts in T rows: `vms` (B, T, N) on
    its neighbours, `host` (B, T) the host itself, `own` (B, T, N) a VM's surge on itself."""

    vms: F64
    host: F64
    own: F64


def pressing(
    demand: F64,
    background: F64,
    norm: F64,
    weight: F64,
    capacity: F64,
    idle_below: float,
    n_vms: F64,
) -> Pressing:
    """The weights that blame is shared out by.

    demand (B, T, N), background (B, T), norm (B, N) with NaN for "not known yet", weight (B, N),
    capacity and n_vms (B,); capacity and `idle_below` are in the resource's unit.
    """
    awake = demand >= idle_below
    norm = norm[:, None]
    surge = np.where(np.isnan(norm), 0.0, np.maximum(demand - np.nan_to_num(norm), 0.0)) * awake
    of_awake = (weight * awake.any(axis=1)).sum(axis=1)
    fair = (capacity / np.maximum(of_awake, 1e-9))[:, None] * weight
    excess = np.maximum(demand - fair[:, None], 0.0)
    host_fair = (capacity / (n_vms + 1))[:, None]
    host = np.maximum(background - host_fair, 0.0) + TRACE * background * (background >= idle_below)
    return Pressing(vms=surge + excess + TRACE * demand * awake, host=host, own=surge)


def blame(
    demand: F64,
    background: F64,
    norm: F64,
    weight: F64,
    meeting: F64,
    capacity: float,
    idle_below: float,
) -> F64:
    """(T, N, N + 2) blame [row, victim, who] on one host; who = N is the host, N + 1 the victim.

    demand (T, N), background (T,), norm (N,), weight (N,), meeting (N, N). A row of a victim that
    nobody can be blamed for holds zeros.
    """
    n_rows, n_vms = demand.shape
    told = pressing(
        demand[None],
        background[None],
        norm[None],
        weight[None],
        np.array([capacity]),
        idle_below,
        np.array([float(n_vms)]),
    )
    out = np.zeros((n_rows, n_vms, n_vms + 2))
    out[:, :, :n_vms] = meeting[None] * told.vms[0, :, None, :]
    out[:, :, n_vms] = told.host[0, :, None]
    out[:, :, n_vms + 1] = told.own[0]
    total = out.sum(axis=2, keepdims=True)
    return np.asarray(np.divide(out, total, out=np.zeros_like(out), where=total > 0))
