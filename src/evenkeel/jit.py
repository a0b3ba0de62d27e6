"""Numba, with the compiled code kept on disk where that is possible."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from numba import njit

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """`function` compiled on its first call, no bar to other threads.

    A read-only installation compiles in each process.
    """
    try:
        result: Callable[P, R] = njit(cache=True, nogil=True)(function)
    except RuntimeError:  # no writable place for the cache
        result = njit(nogil=True)(function)
    return result
