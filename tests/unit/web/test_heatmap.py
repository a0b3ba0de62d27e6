from __future__ import annotations

from evenkeel.api.schemas import MapCell, MapOut
from evenkeel.domain.resources import Resource
from evenkeel.web.heatmap import MOST_SHOWN, build_heatmap


def a_map(n_vms: int, *cells: tuple[int, int, float]) -> MapOut:
    return MapOut(
        host="h",
        at_s=1.0,
        alive=True,
        vms=[f"id{i}" for i in range(n_vms)],
        names=[f"vm{i}" for i in range(n_vms)],
        cells=[
            MapCell(victim=v, aggressor=a, resource=Resource.CPU, score=score, confidence=0.5)
            for v, a, score in cells
        ],
    )


def test_a_small_host_shows_every_vm_and_the_host_last():
    grid = build_heatmap(a_map(3, (0, 1, 30.0), (2, -1, 5.0)), [], set(), {"id0", "id1"})
    assert [name for _, name in grid.columns] == ["vm0", "vm1", "vm2", "the host"]
    assert [row.linked for row in grid.rows] == [True, True, False]
    shown = [[cell and (cell.score, cell.level) for cell in row.cells] for row in grid.rows]
    assert shown == [
        [None, (30.0, 4), None, None],
        [None, None, None, None],
        [None, None, None, (5.0, 2)],
    ]


def test_a_vm_of_somebody_else_gets_a_row_only_as_a_victim():
    grid = build_heatmap(a_map(4, (0, 1, 30.0), (2, 3, 5.0)), [], set(), {"id0"})
    assert [row.name for row in grid.rows] == ["vm0", "vm2"]
    assert len(grid.columns) == 5


def test_a_large_host_shows_those_that_take_part():
    grid = build_heatmap(a_map(30, (20, 4, 3.0)), [], set(), {f"id{i}" for i in range(30)})
    assert [row.name for row in grid.rows] == ["vm4", "vm20"]
    assert len(grid.calm) == 28
    assert grid.crowded == 0


def test_a_crowd_is_cut_to_the_worst_in_the_maps_order():
    cells = [(i, i + 1, 1.0 + i) for i in range(0, 98, 2)]
    grid = build_heatmap(a_map(100, *cells), [], set(), {f"id{i}" for i in range(100)})
    assert len(grid.rows) == MOST_SHOWN
    assert [row.name for row in grid.rows][-2:] == ["vm96", "vm97"]
    assert grid.crowded == 98 - MOST_SHOWN
    assert grid.calm == ("vm98", "vm99")
