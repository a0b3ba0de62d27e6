"""A made-up fleet whose demand others borrow: VMs of the four behaviours, for a week."""

from __future__ import annotations

from typing import Final

import numpy as np

from evenkeel.domain.arrays import F32
from evenkeel.domain.panel import SLOT_S
from evenkeel.domain.profile import BEHAVIOURS
from evenkeel.domain.recording import NEVER, NOWHERE, Recorded, Recording, VmTable
from evenkeel.domain.resources import CPU_AXIS, MEMORY_AXIS, N_RESOURCES
from evenkeel.sim.demand import MONDAY_S, labelled_panel

N_DAYS: Final = 7
N_EACH: Final = 50
MEMORY_MIB: Final = 4096.0


def made_lender(seed: int, n_each: int = N_EACH, n_days: int = N_DAYS) -> Recording:
    """`n_each` VMs of each behaviour: CPU as `sim.demand` makes it, memory a steady share.

    Network and disk are not known.
    """
    rng = np.random.default_rng(seed)
    made = labelled_panel(n_each, round(n_days * 86_400 / SLOT_S), rng)
    panel, n = made.panel, made.panel.n_series
    values: F32 = np.full((n, N_RESOURCES, panel.n_slots), np.nan, np.float32)
    values[:, CPU_AXIS] = np.minimum(panel.values, panel.capacity[:, None])
    values[:, MEMORY_AXIS] = MEMORY_MIB * rng.uniform(0.3, 0.95, n)[:, None]
    return Recording(
        source="made-up VMs",
        start_s=MONDAY_S,
        slot_s=SLOT_S,
        n_slots=panel.n_slots,
        hosts=(),
        vms=VmTable(
            ids=panel.ids,
            vcpus=panel.capacity,
            memory_mib=np.full(n, MEMORY_MIB),
            arrives=np.zeros(n, np.intp),
            leaves=np.full(n, NEVER),
            host=np.full(n, NOWHERE),
            tenant=("",) * n,
            kind=tuple(BEHAVIOURS[label].value for label in made.labels.tolist()),
        ),
        demand=Recorded(values),
        notes=(f"{n} VMs of four behaviours, made up with seed {seed}.",),
    )
