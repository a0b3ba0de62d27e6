"""The map as a graph: who stands where, which way the arrows lead, and what they say."""

from __future__ import annotations

import math
import re

import pytest

from evenkeel.api.schemas import MapCell, MapOut
from evenkeel.domain.resources import Resource
from evenkeel.web.graph import NUMBERS_UP_TO, RADIUS, Arrow, Graph, build_graph
from evenkeel.web.heatmap import build_heatmap


def a_graph(n_vms: int, *cells: tuple[int, int, float], names: str = "vm") -> Graph | None:
    contention = MapOut(
        host="h",
        at_s=1.0,
        alive=True,
        vms=[f"id{i}" for i in range(n_vms)],
        names=[f"{names}{i}" for i in range(n_vms)],
        cells=[
            MapCell(victim=v, aggressor=a, resource=Resource.CPU, score=score, confidence=0.5)
            for v, a, score in cells
        ],
    )
    seen = {f"id{i}" for i in range(n_vms)} - {"id2"}
    return build_graph(build_heatmap(contention, [], {("id0", "id1", Resource.CPU)}, seen))


def ends(arrow: Arrow) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where its shaft begins and where its head points."""
    start = re.match(r"M([-\d.]+),([-\d.]+)Q", arrow.path)
    assert start
    tip = arrow.head.split()[0].split(",")
    return (float(start[1]), float(start[2])), (float(tip[0]), float(tip[1]))


def near(point: tuple[float, float], graph: Graph, name: str) -> bool:
    node = next(node for node in graph.nodes if node.name == name)
    return math.dist(point, (node.x, node.y)) < node.radius + 5


def test_nobody_hurts_nobody_and_there_is_no_graph():
    assert a_graph(5) is None


def test_an_arrow_leads_from_who_hurts_to_whom_and_is_as_wide_as_the_score():
    graph = a_graph(4, (0, 1, 36.0), (1, 0, 3.0), (3, -1, 12.0))
    assert graph is not None
    weak, middle, strong = graph.arrows  # the strongest is drawn last
    assert (weak.score, middle.score, strong.score) == (3, 12, 36)
    assert weak.width < middle.width < strong.width
    start, tip = ends(strong)
    assert near(start, graph, "vm1")
    assert near(tip, graph, "vm0")
    start, tip = ends(middle)
    assert near(start, graph, "the host")
    assert near(tip, graph, "vm3")
    assert strong.alarm
    assert not weak.alarm


def test_both_ways_of_a_pair_can_be_told_apart():
    graph = a_graph(3, (0, 1, 30.0), (1, 0, 30.0))
    assert graph is not None
    one, other = graph.arrows
    assert math.dist((one.label_x, one.label_y), (other.label_x, other.label_y)) > 20


def test_nodes_say_everything_in_words_and_link_where_they_may():
    graph = a_graph(3, (0, 1, 36.0), (2, 1, 5.0))
    assert graph is not None
    says = {node.name: node.says for node in graph.nodes}
    assert says == {
        "vm0": "vm0: hurt by vm1 36 (CPU); hurts nobody",
        "vm1": "vm1: hurt by nobody; hurts vm0 36 (CPU), vm2 5 (CPU)",
        "vm2": "vm2: hurt by vm1 5 (CPU); hurts nobody",
    }
    assert [node.linked for node in graph.nodes] == [True, True, False]
    assert [node.level for node in graph.nodes] == [4, 0, 2]


def test_nothing_moves_when_scores_change():
    before, after = a_graph(6, (0, 1, 36.0)), a_graph(6, (4, 2, 3.0), (0, 1, 80.0))
    assert before is not None
    assert after is not None
    assert [(n.x, n.y) for n in before.nodes] == [(n.x, n.y) for n in after.nodes]
    assert before.view == after.view


@pytest.mark.parametrize("n", [1, 2, 3, 10, 11, 25, 40])
@pytest.mark.parametrize("names", ["vm", "a-very-long-name-of-a-machine-"])
def test_everything_is_within_the_picture_and_nobody_on_top_of_another(n, names):
    cells = [(i, (i + 1) % n if n > 1 else -1, 10.0) for i in range(n)]
    graph = a_graph(n, *cells, names=names)
    assert graph is not None
    left, top, width, height = map(float, graph.view.split())
    for node in graph.nodes:
        assert left < node.x - node.radius
        assert node.x + node.radius < left + width
        assert top < node.y - node.radius
        assert node.y + node.radius < top + height
        assert left <= node.label_x <= left + width
        assert math.hypot(node.x, node.y) == pytest.approx(RADIUS, abs=0.2) or node.vm == "host"
    gaps = [
        math.dist((a.x, a.y), (b.x, b.y)) - a.radius - b.radius
        for k, a in enumerate(graph.nodes)
        for b in graph.nodes[:k]
    ]
    assert min(gaps, default=9.0) > 5
    assert graph.numbered == (len(cells) <= NUMBERS_UP_TO)
