"""What hosts draw: nothing when off, and between idle and busy in a straight line by busy CPUs.

The straight line is the usual model (Fan, Weber and Barroso 2007, doi:10.1145/1250662.1250665:
within a few per cent of whole machines). Where watts are not known they are scaled by CPUs from
the HP ProLiant ML110 G5 of the consolidation benchmark (SPECpower: 93.7 W idle, 135 W busy, two
cores), less what fixed parts do not cost twice: 60 W a host, 17 W a CPU idle and 21 W more busy.
"""

from __future__ import annotations

from typing import Final

from evenkeel.domain.recording import HostShape

FIXED_W: Final = 60.0
IDLE_W_A_CPU: Final = 17.0
BUSY_W_A_CPU: Final = 21.0


def watts_of(shape: HostShape) -> tuple[float, float]:
    """Watts idle and with all CPUs busy."""
    idle = shape.idle_w or FIXED_W + IDLE_W_A_CPU * shape.n_cpus
    busy = shape.busy_w or idle + BUSY_W_A_CPU * shape.n_cpus
    return idle, max(idle, busy)
