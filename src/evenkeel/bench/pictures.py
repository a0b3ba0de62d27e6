"""Figures to draw on, where matplotlib is installed."""

from __future__ import annotations

from typing import Any

from evenkeel.domain.errors import ConfigInvalid


def figure_class() -> Any:
    """Matplotlib's `Figure`, drawing without a screen. Raises ConfigInvalid."""
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise ConfigInvalid(
            "pictures need matplotlib", hint="Install evenkeel[ml], or leave --plot out."
        ) from error
    mpl.use("Agg")
    from matplotlib.figure import Figure

    return Figure
