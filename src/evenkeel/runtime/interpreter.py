"""Python's own pauses, made short for a service that answers within milliseconds."""

from __future__ import annotations

import gc
import sys
from typing import Final

SWITCH_S: Final = 0.0005
"""A placement waits for other threads a few times: Python's usual 5 ms each would be most of it."""
YOUNG: Final = 10_000


def settle() -> None:
    """Once all that stays is loaded: threads switch soon, and the garbage collector, which goes
    through everything time and again (130 ms each), goes through what came since."""
    sys.setswitchinterval(SWITCH_S)
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG)
