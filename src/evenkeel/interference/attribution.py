"""Who is to blame for a loss: shares over the neighbours, the host itself, and the VM's own surge.

Stated property: in every row the shares of one victim add up to 1 over {neighbours, host, itself},
an idle VM gets none, and a VM within both its norm and its fair share gets next to none. The
weight of j is `max(surge_j, excess_j) + TRACE * demand_j`, where surge is demand above j's own
norm and excess is demand above its fair share of the pool: what is above both counts once, or a
world without it would lack more than that. A victim's own surge takes its part of the blame,
which is what breaks the tie between two VMs that slow each other equally: the one that changed is
the cause. Correlation plays no part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64

TRACE: Final = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Pressing:
    """What presses on a pool beyond what is usual and fair, in the resource's unit.

    `vms` (T, N): surge or excess, and trace, 0 for the idle; `host` (T,) the same of load outside
    all VMs; `surge` (T, N) demand above the VM's own norm, 0 where that is not known yet. Of B
    hosts together, each with one axis (B) more in front.
    """

    vms: F64
    host: F64
    surge: F64

    def on(self, host: int) -> Pressing:
        """On one of B hosts."""
        return Pressing(self.vms[host], self.host[host], self.surge[host])


def pressing(
    demand: F64,
    background: F64,
    norm: F64,
    weight: F64,
    capacity: F64,
    idle_below: float,
    n_vms: F64,
    host_norm: F64,
) -> Pressing:
    """On B hosts padded to N VMs.

    demand (B, T, N), background (B, T), norm and weight (B, N), capacity, n_vms, host_norm (B,);
    the norms are what is usual, NaN: not known. Capacity and `idle_below` in the resource's unit.
    """
    awake = demand >= idle_below
    norm = norm[:, None]
    surge = np.where(np.isnan(norm), 0.0, np.maximum(demand - np.nan_to_num(norm), 0.0)) * awake
    of_awake = (weight * awake.any(axis=1)).sum(axis=1)
    fair = (capacity / np.maximum(of_awake, 1e-9))[:, None] * weight
    excess = np.maximum(demand - fair[:, None], 0.0)
    host_fair = (capacity / (n_vms + 1))[:, None]
    usual = np.where(np.isnan(host_norm), np.inf, host_norm)[:, None]
    above = np.maximum(background - np.minimum(host_fair, usual), 0.0)
    host = (above + TRACE * background) * (background >= idle_below)
    return Pressing(np.maximum(surge, excess) + TRACE * demand * awake, host, surge)


def blame(presses: Pressing, meeting: F64) -> F64:
    """(T, N, N + 2) blame [row, victim, who]; who = N is the host, N + 1 the victim itself.

    presses of one host, meeting (N, N). A row of a victim that nobody can be blamed for holds
    zeros.
    """
    n_rows, n_vms = presses.vms.shape
    out = np.zeros((n_rows, n_vms, n_vms + 2))
    out[:, :, :n_vms] = meeting[None] * presses.vms[:, None, :]
    out[:, :, n_vms] = presses.host[:, None]
    out[:, :, n_vms + 1] = presses.surge
    total = out.sum(axis=2, keepdims=True)
    return np.asarray(np.divide(out, total, out=np.zeros_like(out), where=total > 0))
