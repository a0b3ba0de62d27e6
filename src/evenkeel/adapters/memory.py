"""glibc's allocator, told to be modest: the agent shares its host with paying guests."""

from __future__ import annotations

import contextlib
import ctypes
import gc
from typing import Final

_M_ARENA_MAX: Final = -8


def share_one_arena() -> None:
    """Keep threads from getting heaps of their own: megabytes each, mostly empty."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Return what start-up needed and nobody uses any more to the system."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
