"""Forecasters by name: what `evenkeel train` may fit and the controller may serve.

Each entry is a function, so that a heavy library is imported only when its forecaster is used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from evenkeel.forecast.base import Forecaster
from evenkeel.forecast.empirical import NAME as EMPIRICAL
from evenkeel.forecast.empirical import Empirical

Catalog = Mapping[str, Callable[[], Forecaster]]

FORECASTERS: Final[Catalog] = {EMPIRICAL: Empirical}
DEFAULT: Final = EMPIRICAL
"""What `evenkeel train` fits unless told otherwise."""
