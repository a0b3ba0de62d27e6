"""What hosts draw: nothing when off, and between idle and busy by the share of CPUs that is busy.

The curve's shape is that of the HP ProLiant ML110 G5, as SPECpower measured it at each tenth of
its load and as consolidation studies use it (Beloglazov and Buyya 2012, doi:10.1002/cpe.1867).
Where a host's watts are not known, it draws when idle what that machine does (93.7 W), and each
busy CPU adds what a core of it adds (41.3 W / 2).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64
from evenkeel.domain.recording import HostShape

G5_WATTS: Final = np.array([93.7, 97, 101, 105, 110, 116, 121, 125, 129, 133, 135], dtype=float)
"""At 0, 10 .. 100 % of its CPU."""
G5_CORES: Final = 2
TENTHS: Final = np.linspace(0.0, 1.0, len(G5_WATTS))
SHAPE: Final = (G5_WATTS - G5_WATTS[0]) / (G5_WATTS[-1] - G5_WATTS[0])


def watts_of(shape: HostShape) -> tuple[float, float]:
    """Watts idle and with all CPUs busy."""
    idle = shape.idle_w or float(G5_WATTS[0])
    a_cpu = float(G5_WATTS[-1] - G5_WATTS[0]) / G5_CORES
    return idle, max(idle, shape.busy_w or idle + a_cpu * shape.n_cpus)


def draw(idle_w: F64, busy_w: F64, busy: F64) -> F64:
    """(H,) watts of hosts that are on with a share `busy` (H,) of their CPUs."""
    return np.asarray(idle_w + (busy_w - idle_w) * np.interp(busy, TENTHS, SHAPE))
