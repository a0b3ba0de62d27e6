"""The contention map of one host as a graph: VMs on a circle, arrows from who hurts to whom.

Made of the heat map, so that both say the same. The layout follows from the order of the map
alone: at a refresh no VM moves, only arrows grow and shrink.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from evenkeel.web.heatmap import HeatCell, HeatMap

UPRIGHT_UP_TO: Final = 10
"""So many names stand upright around the circle; more are turned outwards, or they collide."""
RADIUS: Final = 150.0
NODE: Final = 11.0
MANY_NODE: Final = 7.0
LABEL_CHARS: Final = 16
CHAR: Final = 7.0
"""Width of a character of a label, about, in the graph's units."""
NUMBERS_UP_TO: Final = 14
"""With more arrows than this the scores are left to the tips."""
BEND: Final = 0.16
"""How far an arrow swings to its right, as a share of its length: so two ways are told apart."""
WIDTHS: Final = (0.0, 1.4, 2.0, 3.0, 4.2, 5.6, 7.2)
"""By heat level."""

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Node:
    """`turn` is the angle of its name in degrees; `says` is all its arrows in words."""

    vm: str
    name: str
    label: str
    linked: bool
    x: float
    y: float
    radius: float
    label_x: float
    label_y: float
    anchor: str
    turn: float
    level: int
    alarm: bool
    says: str


@dataclass(frozen=True, slots=True)
class Arrow:
    """`path` is the shaft, `head` the points of the triangle at the victim's end."""

    path: str
    head: str
    width: float
    level: int
    alarm: bool
    score: float
    tip: str
    label_x: float
    label_y: float


@dataclass(frozen=True, slots=True)
class Graph:
    """`view` is the SVG's viewBox. Weak arrows come first: the strong ones are drawn over them."""

    host: str
    view: str
    nodes: tuple[Node, ...]
    arrows: tuple[Arrow, ...]
    numbered: bool


def build_graph(heat: HeatMap) -> Graph | None:
    """None where nobody hurts anybody: a circle of names would say nothing."""
    cells = _cells(heat)
    if not cells:
        return None
    n = len(heat.columns) - 1
    radius = NODE if n <= UPRIGHT_UP_TO else MANY_NODE
    places = [*_circle(n), (0.0, 0.0)]
    ranked = sorted(cells.items(), key=lambda one: one[1].score)
    uses_host = any(aggressor == n for _, aggressor in cells)
    nodes = [_node(heat, cells, k, places[k], n, radius) for k in range(n + uses_host)]
    return Graph(
        host=heat.host,
        view=_view([node for node in nodes if node.vm != heat.columns[n][0]], n),
        nodes=tuple(nodes),
        arrows=tuple(
            _arrow(places[aggressor], places[victim], radius, cell)
            for (victim, aggressor), cell in ranked
        ),
        numbered=len(cells) <= NUMBERS_UP_TO,
    )


def _cells(heat: HeatMap) -> dict[tuple[int, int], HeatCell]:
    """(victim, aggressor) as columns -> cell; the host's column is the last."""
    place = {vm: k for k, (vm, _) in enumerate(heat.columns)}
    return {
        (place[row.vm], k): cell
        for row in heat.rows
        for k, cell in enumerate(row.cells)
        if cell is not None
    }


def _circle(n: int) -> list[Point]:
    """From the top, clockwise; two stand side by side, since their names are beside them."""
    start = math.pi if n == 2 else -math.pi / 2
    angles = [start + 2 * math.pi * k / max(n, 1) for k in range(n)]
    return [(RADIUS * math.cos(a), RADIUS * math.sin(a)) for a in angles]


def _node(
    heat: HeatMap,
    cells: dict[tuple[int, int], HeatCell],
    k: int,
    at: Point,
    n: int,
    radius: float,
) -> Node:
    vm, name = heat.columns[k]
    suffered = [cell for (victim, _), cell in cells.items() if victim == k]
    worst = max(suffered, key=lambda cell: cell.score, default=None)
    x, y, anchor, turn = _label_place(at, n, radius, is_host=k == n)
    linked = {row.vm for row in heat.rows if row.linked}
    return Node(
        vm=vm,
        name=name,
        label=name if len(name) <= LABEL_CHARS else name[: LABEL_CHARS - 1] + "…",
        linked=vm in linked,
        x=round(at[0], 1),
        y=round(at[1], 1),
        radius=radius,
        label_x=x,
        label_y=y,
        anchor=anchor,
        turn=turn,
        level=worst.level if worst else 0,
        alarm=any(cell.alarm for cell in suffered),
        says=_says(heat, cells, k),
    )


def _label_place(
    at: Point, n: int, radius: float, *, is_host: bool
) -> tuple[float, float, str, float]:
    """(x, y, text-anchor, turn in degrees) of a name, outside the circle."""
    if is_host:
        return 0.0, round(radius + 15.0, 1), "middle", 0.0
    angle = math.atan2(at[1], at[0])
    away = RADIUS + radius + 7
    x, y = away * math.cos(angle), away * math.sin(angle)
    if n <= UPRIGHT_UP_TO:
        middle = abs(math.cos(angle)) < 0.2
        anchor = "middle" if middle else "start" if x > 0 else "end"
        y += (4 if y > 0 else -4) if middle else 0
        return round(x, 1), round(y + 4, 1), anchor, 0.0
    degrees = math.degrees(angle)
    left = math.cos(angle) < -1e-9
    return round(x, 1), round(y, 1), "end" if left else "start", round(degrees - 180 * left, 1)


def _says(heat: HeatMap, cells: dict[tuple[int, int], HeatCell], k: int) -> str:
    """What a screen reader says of a VM: `web1: hurt by batch7 36 (CPU); hurts nobody`."""

    def listed(found: list[tuple[int, HeatCell]]) -> str:
        found.sort(key=lambda one: -one[1].score)
        return ", ".join(f"{heat.columns[j][1]} {c.score:.0f} ({c.resource})" for j, c in found)

    by = listed([(j, cell) for (i, j), cell in cells.items() if i == k])
    hurts = listed([(i, cell) for (i, j), cell in cells.items() if j == k])
    return f"{heat.columns[k][1]}: hurt by {by or 'nobody'}; hurts {hurts or 'nobody'}"


def _arrow(start: Point, end: Point, radius: float, cell: HeatCell) -> Arrow:
    """From the aggressor to the victim, bent to its right, stopping at the rims of both."""
    width = WIDTHS[cell.level]
    dx, dy = end[0] - start[0], end[1] - start[1]
    middle = (
        (start[0] + end[0]) / 2 - BEND * dy,
        (start[1] + end[1]) / 2 + BEND * dx,
    )
    length = 7.0 + 1.6 * width
    first = _towards(start, middle, radius + 2)
    tip = _towards(end, middle, radius + 3)
    neck = _towards(tip, middle, length)
    half = 3.0 + 0.9 * width
    ux, uy = (tip[0] - neck[0]) / length, (tip[1] - neck[1]) / length
    left = (neck[0] - uy * half, neck[1] + ux * half)
    right = (neck[0] + uy * half, neck[1] - ux * half)
    corners = (tip, left, right)
    # Nearer to the victim than the middle, where most arrows cross.
    label = _on_curve(first, middle, neck, 0.62)
    return Arrow(
        path=f"M{_text(first)}Q{_text(middle)} {_text(neck)}",
        head=" ".join(_text(corner) for corner in corners),
        width=width,
        level=cell.level,
        alarm=cell.alarm,
        score=cell.score,
        tip=cell.tip,
        label_x=round(label[0], 1),
        label_y=round(label[1] + 4, 1),
    )


def _towards(start: Point, end: Point, distance: float) -> Point:
    dx, dy = end[0] - start[0], end[1] - start[1]
    share = distance / max(math.hypot(dx, dy), 1e-9)
    return start[0] + dx * share, start[1] + dy * share


def _on_curve(start: Point, middle: Point, end: Point, t: float) -> Point:
    """A point of the quadratic Bezier curve."""
    a, b, c = (1 - t) ** 2, 2 * t * (1 - t), t * t
    return (
        a * start[0] + b * middle[0] + c * end[0],
        a * start[1] + b * middle[1] + c * end[1],
    )


def _text(point: Point) -> str:
    return f"{point[0]:.1f},{point[1]:.1f}"


def _view(nodes: list[Node], n: int) -> str:
    """Just as large as the circle and the names around it need."""
    longest = max(len(node.label) for node in nodes) * CHAR
    edge = RADIUS + NODE + 12
    if n > UPRIGHT_UP_TO:
        reach_x = reach_y = edge + longest
    else:
        reach_y = edge + 12
        reach_x = max([edge, *(abs(node.label_x) + _width(node) for node in nodes)])
    if n == 2:
        reach_y = 70.0
    return f"{-reach_x:.0f} {-reach_y:.0f} {2 * reach_x:.0f} {2 * reach_y:.0f}"


def _width(node: Node) -> float:
    """How far the name reaches to one side."""
    return len(node.label) * CHAR / (2 if node.anchor == "middle" else 1)
