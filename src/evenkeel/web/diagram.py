"""Reliability diagrams: predicted against measured loss, bin by bin, as coordinates for an SVG.

Both axes are square roots of the loss, so that the small losses, where most predictions are, do not
all lie in one corner; what was predicted right lies on the diagonal all the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from evenkeel.api.reliability import ReliabilityBin, ReliabilityCurve
from evenkeel.domain.reliability import CLOSE_POINTS
from evenkeel.web.words import percent_point

SIDE: Final = 360.0
BARS: Final = 56.0
"""Height of the bars of numbers below the plot."""
TICKS: Final = (0.0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
SURE: Final = 2.0
"""Standard errors that a whisker reaches to each side."""
N_BAND: Final = 40


@dataclass(frozen=True, slots=True)
class Mark:
    """A bin: its point, its whisker, and its bar with the number of predictions."""

    x: float
    y: float
    low: float | None
    high: float | None
    radius: float
    far: bool
    populated: bool
    tip: str
    bar_x: float
    bar_width: float
    bar_height: float
    n: str


@dataclass(frozen=True, slots=True)
class Diagram:
    curve: ReliabilityCurve
    marks: tuple[Mark, ...]
    line: str
    """Through the points of the populated bins."""


def ticks() -> list[tuple[float, str]]:
    """(place, percent) of the lines of the grid."""
    return [(_scaled(loss), f"{100 * loss:.0f}") for loss in TICKS]


def band() -> str:
    """Polygon of what lies within `CLOSE_POINTS` of the diagonal."""
    shares = [(k / N_BAND) ** 2 for k in range(N_BAND + 1)]
    off = CLOSE_POINTS / 100
    above = [(_scaled(p), SIDE - _scaled(min(1.0, p + off))) for p in shares]
    below = [(_scaled(p), SIDE - _scaled(max(0.0, p - off))) for p in reversed(shares)]
    return _points([*above, *below])


def build_diagram(curve: ReliabilityCurve) -> Diagram:
    most = max((each.n for each in curve.bins), default=1)
    marks = tuple(_mark(each, most) for each in curve.bins)
    return Diagram(
        curve=curve,
        marks=marks,
        line=_points([(mark.x, mark.y) for mark in marks if mark.populated]),
    )


def _mark(each: ReliabilityBin, most: int) -> Mark:
    low = high = None
    if each.se_points is not None:
        reach = SURE * each.se_points / 100
        low = round(SIDE - _scaled(max(0.0, each.measured - reach)), 1)
        high = round(SIDE - _scaled(min(1.0, each.measured + reach)), 1)
    left, right = _scaled(each.lower), _scaled(each.upper)
    # By the logarithm: a bin with 30 has to be seen beside one with 100,000.
    share = math.log10(1 + each.n) / max(math.log10(1 + most), 1e-9)
    return Mark(
        x=_scaled(each.predicted),
        y=round(SIDE - _scaled(each.measured), 1),
        low=low,
        high=high,
        radius=4.5 if each.populated else 3.0,
        far=each.populated and abs(each.gap_points) > CLOSE_POINTS,
        populated=each.populated,
        tip=_tip(each),
        bar_x=round(left + 1, 1),
        bar_width=round(right - left - 2, 1),
        bar_height=round(BARS * share, 1),
        n=_short(each.n),
    )


def _tip(each: ReliabilityBin) -> str:
    lines = [
        f"Predicted {100 * each.lower:.0f}-{100 * each.upper:.0f}\u202f%",
        f"{each.n} predictions: {percent_point(each.predicted)} predicted, "
        f"{percent_point(each.measured)} measured",
        f"gap {each.gap_points:+.1f} points"
        + (f", standard error {each.se_points:.1f}" if each.se_points is not None else ""),
    ]
    if not each.populated:
        lines.append("too few to judge")
    return "\n".join(lines)


def _short(n: int) -> str:
    """12345 -> "12k"."""
    for size, unit in ((1_000_000, "M"), (1000, "k")):
        if n >= size:
            return f"{n / size:.1f}{unit}" if n < 10 * size else f"{n / size:.0f}{unit}"
    return str(n)


def _scaled(loss: float) -> float:
    return round(SIDE * math.sqrt(min(max(loss, 0.0), 1.0)), 1)


def _points(points: list[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
