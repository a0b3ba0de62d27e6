"""Reliability diagrams: the diagonal is the diagonal, and few predictions do not shout."""

from __future__ import annotations

import pytest
from reliability_fake import CPU_NOW, fake_sums

from evenkeel.api.reliability import reliability_out
from evenkeel.domain.resources import Resource
from evenkeel.web.diagram import BARS, SIDE, Diagram, band, build_diagram, ticks


@pytest.fixture
def diagram() -> Diagram:
    curves = reliability_out(fake_sums(), 0.0, None, Resource.CPU).curves
    return build_diagram(curves[0])


def test_a_right_prediction_lies_on_the_diagonal(diagram):
    for each in diagram.marks:
        assert each.x > 0
        assert each.y < SIDE
    bins = diagram.curve.bins
    for mark, each in zip(diagram.marks, bins, strict=True):
        above = mark.y < SIDE - mark.x
        assert above == (each.measured > each.predicted)


def test_whiskers_hold_the_point_and_bars_grow_with_the_number(diagram):
    for mark in diagram.marks:
        assert mark.low is not None
        assert mark.high is not None
        assert mark.high <= mark.y <= mark.low
        assert 0 < mark.bar_height <= BARS
    heights = [mark.bar_height for mark in diagram.marks]
    assert heights == sorted(heights, reverse=True)
    assert diagram.marks[0].n == "151k"
    assert "\n2.7" not in diagram.marks[1].tip
    assert "4900 predictions: 2.7\u202f% predicted, 3.4\u202f% measured" in diagram.marks[1].tip


def test_a_bin_with_few_is_grey_and_not_on_the_line(diagram):
    assert CPU_NOW[-1][2] < 30
    last = diagram.marks[-1]
    assert not last.populated
    assert not last.far
    assert "too few to judge" in last.tip
    assert len(diagram.line.split()) == len(diagram.marks) - 1


def test_the_band_is_two_points_to_each_side():
    places = {label: at for at, label in ticks()}
    assert places["100"] == SIDE
    assert [label for _, label in ticks()] == sorted(places, key=float)
    corners = [tuple(map(float, each.split(","))) for each in band().split()]
    for x, y in corners:
        predicted, measured = (x / SIDE) ** 2, ((SIDE - y) / SIDE) ** 2
        assert abs(measured - predicted) <= 0.02 + 1e-3
