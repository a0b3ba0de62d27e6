"""Charts of the replay report as SVG text: no scripts, colours from the page's style sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64

WIDTH, HEIGHT = 620, 230
LEFT, RIGHT, TOP, BOTTOM = 52, 22, 10, 34
N_POINTS: Final = 192
"""More steps than these cannot be told apart."""
N_COLOURS: Final = 6
DASHES: Final = ("", "6 3", "2 3", "9 3 2 3", "12 4", "1 2")
"""Who cannot tell the colours apart has these."""


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """One policy's: `colour` is its number among the policies, `x` and `y` (N,)."""

    name: str
    colour: int
    x: F64
    y: F64


@dataclass(frozen=True, slots=True)
class Axis:
    """From `low` to `high`; `ticks` are (where, what stands there)."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    label: str = ""


def chart(lines: Sequence[Line], x: Axis, y: Axis, says: str) -> str:
    """An SVG of lines in steps. `says` is what it shows, for those who do not see it."""
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(says, quote=True)}">'
    ]
    parts += [_grid_y(at, word, y) for at, word in y.ticks]
    parts += [_grid_x(at, word, x) for at, word in x.ticks]
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(
        f'<text class="axis" x="{middle:.0f}" y="{HEIGHT - 2}" text-anchor="middle">'
        f"{escape(x.label)}</text>"
    )
    parts += [_path(line, x, y) for line in lines]
    return "".join([*parts, "</svg>"])


def thinned(values: F64, how: str = "mean") -> F64:
    """(T,) as (min(T, N_POINTS),): means over equal stretches, or each stretch's last."""
    n = len(values)
    if n <= N_POINTS:
        return values
    edges = np.linspace(0, n, N_POINTS + 1).astype(int)
    if how == "last":
        return np.asarray(values[edges[1:] - 1])
    return np.asarray(np.add.reduceat(values, edges[:-1]) / np.diff(edges))


def linear(most: float, label: str = "") -> Axis:
    """From 0 to a round number above `most`, with a handful of ticks."""
    most = most if most > 0 else 1.0
    rough = most / 4
    scale = 10.0 ** np.floor(np.log10(rough))
    step = next(float(s * scale) for s in (1, 2, 2.5, 5, 10) if s * scale >= rough * 0.999)
    n = int(np.ceil(most / step - 1e-9))
    return Axis(0.0, n * step, tuple((k * step, f"{k * step:,.6g}") for k in range(n + 1)), label)


def elapsed(span_s: float) -> Axis:
    """Time from the start, in hours or, beyond three days, in days."""
    unit_s, unit = (3600.0, "hours") if span_s <= 3 * 86_400 else (86_400.0, "days")
    most = span_s / unit_s
    step = next(s for s in (0.25, 0.5, 1, 2, 3, 6, 12, 24, 48, 96, 400) if most / s <= 9)
    at = np.arange(0, most + 1e-9, step)
    return Axis(0.0, most, tuple((float(k), f"{k:g}") for k in at), f"{unit} from the start")


def _place(value: F64 | float, axis: Axis, near: float, far: float) -> F64:
    share = (np.asarray(value, dtype=np.float64) - axis.low) / (axis.high - axis.low)
    return np.asarray(near + share * (far - near))


def _grid_y(at: float, word: str, axis: Axis) -> str:
    y = float(_place(at, axis, HEIGHT - BOTTOM, TOP))
    return (
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text class="tick" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{escape(word)}</text>'
    )


def _grid_x(at: float, word: str, axis: Axis) -> str:
    x = float(_place(at, axis, LEFT, WIDTH - RIGHT))
    return (
        f'<text class="tick" x="{x:.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">'
        f"{escape(word)}</text>"
    )


def _path(line: Line, x: Axis, y: Axis) -> str:
    across = _place(line.x, x, LEFT, WIDTH - RIGHT)
    down = _place(line.y, y, HEIGHT - BOTTOM, TOP)
    points = [f"M{across[0]:.1f} {down[0]:.1f}"]
    points += [f"H{a:.1f}V{d:.1f}" for a, d in zip(across[1:], down[1:], strict=True)]
    dash = DASHES[line.colour % len(DASHES)]
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<path class="p{line.colour % N_COLOURS}"{dashed} d="{"".join(points)}">'
        f"<title>{escape(line.name)}</title></path>"
    )
