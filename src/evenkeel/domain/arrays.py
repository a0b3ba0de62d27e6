"""Array types. Spelled out, because importing numpy.typing costs the agent most of a megabyte."""

from __future__ import annotations

from typing import Any

import numpy as np

F64 = np.ndarray[Any, np.dtype[np.float64]]
Ints = np.ndarray[Any, np.dtype[np.intp]]
C128 = np.ndarray[Any, np.dtype[np.complex128]]
F32 = np.ndarray[Any, np.dtype[np.float32]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]
