"""The contention map of one host as a grid: victims down, aggressors across, the host last."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from evenkeel.api.schemas import MapCell, MapOut, PairDeviationOut, PairOut
from evenkeel.domain.ids import HOST_ITSELF
from evenkeel.domain.resources import Resource
from evenkeel.web.words import heat_level, percent, resource_label, resource_letter

SHOW_ALL_UP_TO = 14
"""A host with this few VMs shows them all; a larger one only those that take part."""
MOST_SHOWN = 40
HOST = -1

PairKey = tuple[str, str, Resource]


@dataclass(frozen=True, slots=True)
class HeatCell:
    """`tip` holds the evidence in words, one resource a line."""

    score: float
    level: int
    letter: str
    resource: str
    tip: str
    alarm: bool


@dataclass(frozen=True, slots=True)
class HeatRow:
    vm: str
    name: str
    linked: bool
    cells: tuple[HeatCell | None, ...]
    """One per column; None where the score is below 1."""


@dataclass(frozen=True, slots=True)
class HeatMap:
    host: str
    alive: bool
    at_s: float | None
    columns: tuple[tuple[str, str], ...]
    rows: tuple[HeatRow, ...]
    calm: tuple[str, ...]
    """Names of the VMs left out because they neither hurt nor are hurt."""
    crowded: int
    """VMs that take part but did not fit."""
    deviations: tuple[PairDeviationOut, ...] = ()


def build_heatmap(
    contention: MapOut, pairs: list[PairOut], alarms: set[PairKey], visible: set[str]
) -> HeatMap:
    """Lay the cells out; `visible` are the VMs whose own page the reader may open.

    A VM of somebody else gets no row, unless there is something in it to say.
    """
    evidence = {(p.victim, p.aggressor, p.resource): p for p in pairs}
    by_place: dict[tuple[int, int], list[MapCell]] = defaultdict(list)
    for cell in contention.cells:
        by_place[cell.victim, cell.aggressor].append(cell)
    shown, calm, crowded = _choose(contention)
    columns = [*shown, HOST]
    victims = {victim for victim, _ in by_place}

    def at(row: int, column: int) -> HeatCell | None:
        cells = by_place.get((row, column))
        return _cell(contention, cells, evidence, alarms) if cells else None

    return HeatMap(
        host=contention.host,
        alive=contention.alive,
        at_s=contention.at_s,
        columns=tuple((_vm_id(contention, c), _name(contention, c)) for c in columns),
        rows=tuple(
            HeatRow(
                vm=contention.vms[row],
                name=contention.names[row],
                linked=contention.vms[row] in visible,
                cells=tuple(at(row, column) for column in columns),
            )
            for row in shown
            if contention.vms[row] in visible or row in victims
        ),
        calm=calm,
        crowded=crowded,
        deviations=tuple(contention.deviations),
    )


def _choose(contention: MapOut) -> tuple[list[int], tuple[str, ...], int]:
    """Which VMs get a row and a column: all of a few, else the worst, in the map's order."""
    everyone = range(len(contention.vms))
    if len(contention.vms) <= SHOW_ALL_UP_TO:
        return list(everyone), (), 0
    worst: dict[int, float] = defaultdict(float)
    for cell in contention.cells:
        for vm in (cell.victim, cell.aggressor):
            if vm != HOST:
                worst[vm] = max(worst[vm], cell.score)
    ranked = sorted(worst, key=lambda vm: (-worst[vm], vm))
    shown = sorted(ranked[:MOST_SHOWN])
    calm = tuple(contention.names[vm] for vm in everyone if vm not in worst)
    return shown, calm, len(ranked) - len(shown)


def _cell(
    contention: MapOut,
    cells: list[MapCell],
    evidence: dict[PairKey, PairOut],
    alarms: set[PairKey],
) -> HeatCell:
    cells = sorted(cells, key=lambda cell: -cell.score)
    worst = cells[0]
    victim = contention.vms[worst.victim]
    aggressor = _vm_id(contention, worst.aggressor)
    lines = [f"{_name(contention, worst.aggressor)} hurts {contention.names[worst.victim]}"]
    for cell in cells:
        line = f"{resource_label(cell.resource)}: score {cell.score:.0f}"
        pair = evidence.get((victim, aggressor, cell.resource))
        if pair is not None:
            line += f", probability {pair.probability:.2f}, severity {percent(pair.severity)}"
        lines.append(f"{line}, confidence {cell.confidence:.2f}")
    return HeatCell(
        score=worst.score,
        level=heat_level(worst.score),
        letter=resource_letter(worst.resource),
        resource=resource_label(worst.resource),
        tip="\n".join(lines),
        alarm=any((victim, aggressor, cell.resource) in alarms for cell in cells),
    )


def _vm_id(contention: MapOut, index: int) -> str:
    return HOST_ITSELF if index == HOST else contention.vms[index]


def _name(contention: MapOut, index: int) -> str:
    return "the host" if index == HOST else contention.names[index]
