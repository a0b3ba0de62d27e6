"""The walk along a trace: what is asked, with what, and against what."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from evenkeel.domain.panel import Panel
from evenkeel.domain.trace import Trace, joined
from evenkeel.forecast.backtest import Course, active, first_origin, lay_out, run
from evenkeel.forecast.base import Forecast, Targets
from evenkeel.forecast.catalogue import CATALOGUE, forecaster
from panels import fleet, panel

TARGETS = Targets(horizons=(1, 3), windows=(2,))
NAN = float("nan")


@dataclass
class Witness:
    """A forecaster that remembers what it was shown."""

    name: str = "witness"
    shown: list[Panel] = field(default_factory=list)

    def fit(self, panels, targets, seed):
        return self

    def predict(self, asked: Panel, targets: Targets) -> Forecast:
        self.shown.append(asked)
        return forecaster("last-value").fit([], targets, 0).predict(asked, targets)

    def save(self) -> bytes:
        return b""

    def load(self, blob: bytes):
        return self


def course(values, first=4, every=2, history=3, **more) -> Course:
    return Course(Trace("day", panel(values, **more)), first, every, history)


def test_targets_lie_right_after_the_origin():
    laid = lay_out([course(np.arange(10.0))], TARGETS, frozenset())
    # Origins 4, 6 and 8; slot 10 and later are not there.
    np.testing.assert_array_equal(laid.observed.y, [[4, 6], [6, 8], [8, NAN]])
    np.testing.assert_array_equal(laid.observed.peak, [[5], [7], [9]])


def test_a_model_sees_its_history_and_nothing_later():
    walk, witness = course(np.arange(10.0)), Witness()
    laid = lay_out([walk], TARGETS, frozenset())
    run(witness, [], [walk], laid, TARGETS, 0, clock=lambda: 0.0)
    assert [p.values.tolist() for p in witness.shown] == [[[1, 2, 3]], [[3, 4, 5]], [[5, 6, 7]]]


@pytest.mark.parametrize("name", [n for n, e in CATALOGUE.items() if e.always])
def test_the_future_does_not_move_a_run(name):
    """Neither later demand nor a later resize."""
    said = []
    for later in (0.0, 5.0):
        whole = fleet(4, 60)
        whole.values[:, 41:] += later
        capacities = np.ones((4, 60), dtype=np.float32)
        capacities[:, 41:] += later
        walk = Course(Trace("day", whole, capacities), first=20, every=20, history=288)
        laid = lay_out([walk], TARGETS, frozenset())
        said.append(run(forecaster(name), [], [walk], laid, TARGETS, 0, clock=lambda: 0.0))
    np.testing.assert_array_equal(said[0].values, said[1].values)
    np.testing.assert_array_equal(said[0].peaks, said[1].peaks)


def test_a_series_counts_from_its_first_sample():
    values = np.ones((2, 10))
    values[1, :6] = NAN
    laid = lay_out([course(values, history=99)], TARGETS, frozenset())
    assert laid.vm.tolist() == [0, 0, 0, 1]


def test_a_peak_counts_only_when_all_of_it_is_known():
    values = np.arange(10.0)
    values[7] = NAN
    laid = lay_out([course(values)], TARGETS, frozenset())
    np.testing.assert_array_equal(laid.observed.peak, [[5], [NAN], [9]])


def test_unseen_are_those_that_were_not_in_training():
    laid = lay_out([course(np.ones((2, 6)))], TARGETS, frozenset({"vm0"}))
    assert laid.is_unseen.tolist() == [False, True]


def test_profiles_are_told_from_what_was_known():
    laid = lay_out(
        [course(np.arange(10.0))],
        TARGETS,
        frozenset(),
        profiles=lambda known: ["low" if known.values.max() < 4 else "high"],
    )
    assert laid.profile.tolist() == ["low", "high", "high"]


def test_active_is_more_than_a_hundredth_of_the_capacity():
    known = panel([[0.02, 0.02], [0.005, NAN], [NAN, NAN], [0.0, 0.0]])
    assert active(known).tolist() == [True, False, False, False]


def test_active_without_capacity_is_beside_the_usual_vm():
    known = panel([[10.0], [12.0], [0.05], [0.2]], capacity=np.full(4, NAN))
    assert active(known).tolist() == [True, True, False, True]


def test_first_origin_waits_for_history():
    known = np.array([True, True, False, False, True, True, True, True])
    assert first_origin(known, not_before=0, warm_up=2, history=3) == 2
    assert first_origin(known, not_before=3, warm_up=2, history=2) == 6
    assert first_origin(known, not_before=0, warm_up=9, history=9) is None


def test_no_origin_is_an_error():
    with pytest.raises(ValueError, match="no origin"):
        lay_out([course(np.full(10, NAN))], TARGETS, frozenset())


def test_joined_traces_keep_both():
    a = Trace("a", panel([[1, 2, 3], [4, 5, 6]], ids=("x", "y"), capacity=np.array([1.0, 2.0])))
    b = Trace(
        "b",
        panel(
            [[7, NAN], [8, 9]],
            ids=("y", "z"),
            start_s=a.panel.start_s + 600,
            capacity=np.array([3.0, 4.0]),
        ),
    )
    both = joined(a, b).panel
    assert both.ids == ("x", "y", "z")
    np.testing.assert_array_equal(both.values, [[1, 2, 3, NAN], [4, 5, 7, NAN], [NAN, NAN, 8, 9]])
    assert both.capacity.tolist() == [1.0, 3.0, 4.0]
    assert joined(a, b).known_at(2).capacity.tolist()[:2] == [1.0, 2.0]
