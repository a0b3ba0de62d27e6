"""Array types. Spelled out, because importing numpy.typing costs the agent most of a megabyte."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

F64 = np.ndarray[Any, np.dtype[np.float64]]
Ints = np.ndarray[Any, np.dtype[np.intp]]
C128 = np.ndarray[Any, np.dtype[np.complex128]]
F32 = np.ndarray[Any, np.dtype[np.float32]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]


def positions(wanted: Sequence[str], among: Sequence[str]) -> Ints:
    """Where each of `wanted` stands in `among`, (len(wanted),); -1: it does not."""
    place = {name: i for i, name in enumerate(among)}
    return np.array([place.get(name, -1) for name in wanted], dtype=np.intp)
