"""Who is to blame for a loss: shares over the neighbours, the host itself, and the VM's own surge.

Stated property: in every row the shares of one victim add up to 1 over {neighbours, host, itself},
an idle VM gets none, and a VM within both its norm and its fair share gets next to none. The
weight of j is `surge_j + excess_j + TRACE * demand_j`, where surge is demand above j's own norm and
excess is demand above its fair share of the pool. A victim's own surge takes its part of the
blame, which is what breaks the tie between two VMs that slow each other equally: the one that
changed is the cause. Correlation plays no part.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64

TRACE: Final = 0.1


def blame(
    demand: F64,
    background: F64,
    norm: F64,
    weight: F64,
    meeting: F64,
    capacity: float,
    idle_below: float,
) -> F64:
    """(T, N, N + 2) blame [row, victim, who]; who = N is the host, N + 1 the victim itself.

    demand (T, N), background (T,), norm (N,) with NaN for "not known yet", weight (N,),
    meeting (N, N), capacity of the pool and `idle_below` in the resource's unit. A row of a
    victim that nobody can be blamed for holds zeros.
    """
    n_rows, n_vms = demand.shape
    awake = demand >= idle_below
    surge = np.where(np.isnan(norm), 0.0, np.maximum(demand - np.nan_to_num(norm), 0.0)) * awake
    fair = capacity * weight / max(float(weight[awake.any(axis=0)].sum()), 1e-9)
    excess = np.maximum(demand - fair, 0.0)
    pressing = surge + excess + TRACE * demand * awake
    out = np.zeros((n_rows, n_vms, n_vms + 2))
    out[:, :, :n_vms] = meeting[None] * pressing[:, None, :]
    host_fair = capacity / (n_vms + 1)
    host = np.maximum(background - host_fair, 0.0) + TRACE * background * (background >= idle_below)
    out[:, :, n_vms] = host[:, None]
    out[:, :, n_vms + 1] = surge
    total = out.sum(axis=2, keepdims=True)
    return np.asarray(np.divide(out, total, out=np.zeros_like(out), where=total > 0))
