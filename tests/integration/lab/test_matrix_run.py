"""A few cells of the co-run matrix on real guests, broken off and gone on with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from evenkeel.lab.lab import Lab
from evenkeel.lab.matrix_plan import Cell
from evenkeel.lab.matrix_run import away_from, run
from evenkeel.lab.matrix_table import table
from evenkeel.lab.peer import Peer

pytestmark = pytest.mark.integration

CELLS = tuple(
    Cell(members)
    for members in (
        ("cpu60",),
        ("receive50",),
        ("cpu30",),
        ("cpu60", "receive50"),
        ("cpu60", "cpu60"),
        ("cpu30", "cpu30"),
        ("receive50",),
        ("cpu60",),
        ("cpu30", "cpu30"),
        ("cpu30",),
    )
)


class Killed(Exception):
    pass


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
    rows = {(r.victim, r.partners): r for r in table(done).rows}
    assert abs(rows["cpu60", ()].slowdown - 1) < 0.15
    together = rows["cpu60", ("cpu60",)]
    assert together.loss > 0.15
    assert rows["receive50", ("cpu60",)].loss > 0.15
    assert table(done).solo["receive50"]["net_mbit_s"] > 10
    assert table(done).solo["receive50"]["device_cores"] > 0.05
    beside = rows["cpu30", ("cpu30",)]
    assert len(beside.cell_losses) == 4
    assert beside.loss > 0.12, "two guests in step would take turns and lose half of this"
