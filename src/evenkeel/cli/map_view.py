"""The contention map in a terminal: the page's heat map, or a list where it does not fit."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from evenkeel.cli.show import (
    DASH,
    ago,
    clean,
    deviation_sentence,
    grid,
    heat_style,
    label,
    score,
)
from evenkeel.domain.score import PRESENT_S

HOST = -1
CELL_WIDTH = 5
NAME_WIDTH = 20
"""Longer names are cut; `--json` has them whole."""

Json = dict[str, Any]


def print_map(console: Console, contention: Json) -> None:
    """One host: matrix where it fits the terminal, else pairs, worst first."""
    names, cells = contention["names"], contention["cells"]
    head = Text.assemble(("host ", "dim"), (clean(contention["host"]).plain, "bold"))
    if contention["horizon_s"] != PRESENT_S:
        head.append(f"  for the next {contention['horizon_s']:.0f} s", style="dim")
    if not contention["alive"]:
        head.append(f"  silent: scores are from {ago(contention['at_s'])}", style="bold red")
    console.print(head)
    if not cells:
        ahead = contention["horizon_s"] != PRESENT_S
        nobody = "no pair scores that far ahead" if ahead else "nobody hurts anybody"
        console.print(f"  {nobody} among {len(names)} VMs", style="dim")
        return
    involved = sorted({i for cell in cells for i in (cell["victim"], cell["aggressor"])} - {HOST})
    columns = [*involved, HOST]
    longest = max(len(_name(names, i)) for i in involved)
    if min(longest, NAME_WIDTH) + 2 + CELL_WIDTH * len(columns) <= console.width:
        console.print(_matrix(names, cells, involved, columns))
        console.print(_legend(names, columns))
    else:
        console.print(_list(names, cells))
    for deviation in contention["deviations"]:
        console.print(Text("  ").append_text(deviation_sentence(deviation)), soft_wrap=True)
    if len(involved) < len(names):
        n_calm = len(names) - len(involved)
        console.print(f"  not involved: {n_calm} more VM{'s' * (n_calm > 1)}", style="dim")


def _matrix(names: list[str], cells: list[Json], rows: list[int], columns: list[int]) -> Table:
    worst: dict[tuple[int, int], Json] = {}
    for cell in sorted(cells, key=lambda cell: float(cell["score"])):
        worst[cell["victim"], cell["aggressor"]] = cell
    table = Table(box=None, pad_edge=False, padding=0, collapse_padding=True, header_style="dim")
    table.add_column("victim", max_width=NAME_WIDTH + 2, no_wrap=True)
    for number, _ in enumerate(columns, 1):
        table.add_column(f"{number:>3}", width=CELL_WIDTH, no_wrap=True)
    for number, row in enumerate(rows, 1):
        line: list[Text] = [Text(f"{number:>2} {_name(names, row)[:NAME_WIDTH]} ")]
        for column in columns:
            found = worst.get((row, column))
            line.append(Text("  · " if row == column else "") if found is None else _cell(found))
        table.add_row(*line)
    return table


def _cell(cell: Json) -> Text:
    letter = label(cell["resource"])[0].upper()
    return Text(f"{cell['score']:>3.0f}{letter}", style=heat_style(cell["score"]))


def _legend(names: list[str], columns: list[int]) -> Text:
    text = Text("aggressors: ", style="dim")
    for number, column in enumerate(columns, 1):
        text.append(f"{number} {_name(names, column)}  ", style="dim")
    text.append("\nC CPU, M memory, N network, D disk", style="dim")
    return text


def _list(names: list[str], cells: list[Json]) -> Table:
    table = grid("score", "victim", "aggressor", "resource", "confidence", right=("score",))
    for cell in sorted(cells, key=lambda cell: -float(cell["score"])):
        table.add_row(
            score(cell["score"]),
            _name(names, cell["victim"]),
            _name(names, cell["aggressor"]),
            label(cell["resource"]),
            f"{cell['confidence']:.2f}",
        )
    return table


def _name(names: list[str], index: int) -> str:
    return "the host" if index == HOST else clean(names[index] or DASH).plain
