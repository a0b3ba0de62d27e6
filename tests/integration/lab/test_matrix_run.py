"""A few cells of the co-run matrix on real guests, broken off and gone on with."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path

import pytest

from evenkeel.lab.lab import Lab
from evenkeel.lab.matrix_plan import Cell
from evenkeel.lab.matrix_run import Measured, away_from, run
from evenkeel.lab.matrix_table import table
from evenkeel.lab.peer import Peer

pytestmark = pytest.mark.integration

ROUND = (
    Cell(("cpu60",)),
    Cell(("cpu60", "cpu60")),
    Cell(("cpu30",)),
    Cell(("cpu30", "cpu30")),
    Cell(("receive50",)),
    Cell(("cpu60", "receive50")),
)
CELLS = 3 * ROUND


class Killed(Exception):
    pass


def cells(done: list[Measured], cell: Cell) -> list[Measured]:
    """Its measurements, one a round."""
    return [c for c in done if c.members == cell.members]


def test_cells_are_measured_once_though_the_run_is_broken_off(
    make_lab: Callable[..., Lab], tmp_path: Path
) -> None:
    lab = make_lab(n_hosts=1, cpus_per_host=((1,),))
    notes = tmp_path / "cells"
    read: dict[str, int] = {}

    def break_off(done: int, _: int) -> None:
        read.update({guest.name: guest.disk_read_bytes() for guest in lab.guests()})
        if done == 2:
            raise Killed

    with away_from((1,)), Peer(lab.names.outside_address):
        with pytest.raises(Killed):
            run(lab, CELLS, 4.0, notes, lambda _: None, break_off)
        assert not lab.guests(), "its guests go with it"
        before = notes.read_text().splitlines()[1:]
        done = run(lab, CELLS, 4.0, notes, lambda _: None, lambda *_: None)

    assert set(read) == {"small1", "small2"}
    assert min(read.values()) >= 128 << 20, "each has filled its memory, though no cell read"
    assert len(before) == 2
    assert notes.read_text().splitlines()[1:3] == before
    assert [c.members for c in done] == [c.members for c in CELLS]
    cpu60, cpu60s, cpu30, cpu30s, receive50, mixed = (cells(done, cell) for cell in ROUND)
    # From one cell to the next within a round: this machine's own speed comes and goes.
    assert 1.3 < of_rounds(cpu60, cpu30, lambda a, b: a.rates[0] / b.rates[0]) < 3.2
    assert of_rounds(cpu60s, cpu60, lambda both, a: statistics.mean(both.rates) / a.rates[0]) < 0.85
    assert of_rounds(mixed, receive50, lambda both, a: both.rates[1] / a.rates[0]) < 0.85
    # CPU that is got does not depend on how fast it is.
    got = of_rounds(cpu30s, cpu30, lambda both, a: both.seen[0].cpu_used / a.seen[0].cpu_used)
    assert got < 0.88, "two guests in step would take turns and lose half of this"

    alone = [c.seen[0].cpu_used for c in cpu60]
    assert all(abs(one / statistics.median(alone) - 1) < 0.15 for one in alone), alone

    made = table(done)
    assert 0.45 < made.solo["cpu60"]["cpu_used"] < 0.7
    assert made.solo["receive50"]["net_mbit_s"] > 10
    assert made.solo["receive50"]["device_cores"] > 0.05
    rows = {(r.victim, r.partners): r for r in made.rows}
    assert len(rows["cpu30", ("cpu30",)].cell_losses) == 2 * len(cpu30s)
    assert rows["cpu60", ("cpu60",)].loss > 0.15
    assert statistics.median(rows["receive50", ("cpu60",)].cell_losses) > 0.15


def of_rounds(
    these: list[Measured], those: list[Measured], ratio: Callable[[Measured, Measured], float]
) -> float:
    """The median over the rounds."""
    return statistics.median(ratio(a, b) for a, b in zip(these, those, strict=True))
