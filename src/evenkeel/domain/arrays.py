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


def median_known(values: F64) -> F64:
    """Median over the first axis, which is not empty, of what is not NaN; NaN where nothing is.

    As `np.nanmedian`, which takes several times as long over a host's few rows.
    """
    ordered = np.sort(values, axis=0)  # NaN comes last
    n = (~np.isnan(ordered)).sum(axis=0)[None]
    low = np.take_along_axis(ordered, np.maximum(n - 1, 0) // 2, axis=0)
    high = np.take_along_axis(ordered, np.minimum(n // 2, len(ordered) - 1), axis=0)
    return np.asarray(((low + high) / 2.0)[0], dtype=np.float64)
