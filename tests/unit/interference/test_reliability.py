"""Predictions held against what came of them: the same measure on both sides, nothing unknown."""

from dataclasses import replace

import numpy as np
import pytest
from builders import a_host, a_tick, a_vm, a_window

from evenkeel.domain.reliability import EDGES, N_BINS, UNIT, BinSums, Tally, flaw_of, sums_of
from evenkeel.domain.resources import CPU_AXIS, N_RESOURCES, Resource
from evenkeel.interference.contention import ContentionMap, score_host
from evenkeel.interference.reliability import Foretold, bins_of, judge, tallies

A, B, C = a_vm("a", [0]), a_vm("b", [0]), a_vm("c", [1])


def a_map(*predicted: float, vms=(A, B, C), horizon_s: float = 5.0) -> ContentionMap:
    n = len(vms)
    cpu = np.zeros((N_RESOURCES, n))
    cpu[CPU_AXIS] = predicted
    nothing = np.zeros((N_RESOURCES, n))
    cube = np.zeros((N_RESOURCES, n, n + 2))
    return ContentionMap(
        a_host(), 0.0, tuple(vms), cube, nothing, cpu, nothing, nothing, 60.0, 1, horizon_s
    )


def test_a_loss_is_counted_in_the_bin_of_what_was_predicted():
    told = Foretold.of(a_map(0.0, 0.07, 0.4)).then(a_tick(5, [A, B, C], [1, 1, 1], [0, 0.1, 0.5]))
    n, predicted, measured, squared = told.count()[:, CPU_AXIS]
    assert n.tolist() == [1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0]
    assert predicted[[2, 6]] == pytest.approx([0.07, 0.4])
    assert measured[[0, 2, 6]] == pytest.approx([0, 0.1, 0.5])
    assert squared[[2, 6]] == pytest.approx([0.0009, 0.01])


def test_every_edge_belongs_to_the_bin_above_it():
    assert bins_of(np.array(EDGES)).tolist() == list(range(N_BINS))
    assert bins_of(np.array([0.0099, 1.0])).tolist() == [0, N_BINS - 1]


def test_a_loss_below_a_shard_counts_as_none_as_it_does_in_the_map():
    told = Foretold.of(a_map(0.3, 0.3, 0.3)).then(
        a_tick(5, [A, B, C], [0.1, 1, 1], [0.4, 0.04, 0.06])
    )
    assert told.count()[2, CPU_AXIS].sum() == pytest.approx(0.06)


def test_a_sleeper_that_was_left_alone_teaches_nothing_but_a_false_prediction_does():
    told = Foretold.of(a_map(0.0, 0.3, 0.0)).then(a_tick(5, [A, B, C], [0, 0, 1]))
    assert told.count()[0, CPU_AXIS].tolist() == [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]


def test_what_is_not_known_is_not_counted():
    tick = a_tick(5, [A, B], [1, 1], [float("nan"), 0.5])
    tick.demand[1, CPU_AXIS] = np.nan
    told = Foretold.of(a_map(0.3, 0.3, 0.3)).then(tick)  # C has left
    assert told.count()[0].sum() == 0
    unsure = a_map(float("nan"), 0.3, 0.3)
    assert Foretold.of(unsure).then(a_tick(5, [A], [1], [0.5])).count()[0].sum() == 0


def test_over_a_minute_the_mean_of_its_ticks_is_held_against_it():
    told = Foretold.of(a_map(0.5, 0.5, 0.5, horizon_s=60.0))
    for k in range(12):
        assert not told.is_over(5.0)
        loss = {A: 0.6 if k % 2 else 0.2, B: 0.5, C: float("nan") if k < 3 else 0.5}
        order = [C, A, B][k % 3 :] + [C, A, B][: k % 3]  # whatever the order of the rows
        told = told.then(a_tick(5 * k, order, [1, 1, 1], [loss[vm] for vm in order]))
    assert told.is_over(5.0)
    n, _, measured, _ = told.count()[:, CPU_AXIS].sum(axis=1)
    assert (n, measured) == (2, pytest.approx(0.9))  # C is known for three quarters only


def test_the_real_maps_prediction_settles_on_what_comes():
    window = a_window([a_tick(5.0 * k, [A, B], [0.9, 1.0], [0.47, 0.47]) for k in range(12)])
    told = Foretold.of(score_host(window, a_host(), 7.5)).then(
        a_tick(60, [A, B], [0.9, 1.0], [0.47, 0.47])
    )
    n, predicted, measured, _ = told.count()[:, CPU_AXIS].sum(axis=1)
    assert n == 2
    assert predicted == pytest.approx(measured, abs=0.06)


def a_report(n: int, predicted: float, measured: float, resource=Resource.CPU) -> Tally:
    counts = np.zeros((4, N_RESOURCES, N_BINS))
    k = int(bins_of(np.array(predicted)))
    counts[:, CPU_AXIS, k] = (n, n * predicted, n * measured, n * (measured - predicted) ** 2)
    (tally,) = tallies(counts, 5.0)
    return tally


def added(reports: list[Tally]) -> dict[int, BinSums]:
    out: dict[int, BinSums] = {}
    for report in reports:
        for k, sums in sums_of(report).items():
            out[k] = out.get(k, BinSums()) + sums
    return out


def test_the_verdict_names_the_worst_populated_bin():
    reports = [a_report(40, 0.15, 0.16)] * 2 + [a_report(50, 0.35, 0.39), a_report(5, 0.95, 0.1)]
    verdict = judge(added(reports))
    assert [b.n for b in verdict.bins] == [80, 50, 5]
    assert [b.populated for b in verdict.bins] == [True, True, False]
    assert verdict.worst_gap_points == pytest.approx(4.0)
    assert verdict.is_close is False
    assert verdict.brier == pytest.approx((80 * 1e-4 + 50 * 16e-4 + 5 * 0.85**2) / 135, abs=1e-5)
    assert judge(added(reports[:2])).is_close is True
    assert judge({}).is_close is None


def test_the_standard_error_is_that_of_the_minutes_not_of_the_ticks():
    rng = np.random.default_rng(4)
    gaps = []
    for _ in range(300):
        minutes = rng.normal(0.0, 0.1, 40)  # all 12 ticks of a minute share its error
        sums = added([a_report(12, 0.35, 0.35 + error) for error in minutes])
        (one,) = judge(sums).bins
        assert one.se_points is not None
        gaps.append(one.gap_points / one.se_points)
    assert np.std(gaps) == pytest.approx(1.0, abs=0.15)  # sqrt(12) = 3.5 if ticks were counted


def test_one_minute_alone_has_no_standard_error():
    assert judge(added([a_report(40, 0.15, 0.2)])).bins[0].se_points is None


@pytest.mark.parametrize(
    ("changes", "flaw"),
    [
        ({}, ""),
        ({"n": (1, 2)}, "length"),
        ({"bins": (N_BINS,)}, "bins"),
        ({"n": (0,)}, "cannot be"),
        ({"predicted": (-1,)}, "cannot be"),
        ({"measured": (int(41 / UNIT),)}, "cannot be"),
        ({"horizon_s": float("inf")}, "horizon"),
        ({"horizon_s": float("nan")}, "horizon"),
        ({"grid": 2, "bins": (99,)}, ""),
    ],
)
def test_a_tally_that_cannot_be_is_told_apart(changes, flaw):
    assert flaw in flaw_of(replace(a_report(40, 0.15, 0.2), **changes))
    assert bool(flaw) == bool(flaw_of(replace(a_report(40, 0.15, 0.2), **changes)))
