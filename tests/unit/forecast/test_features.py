"""What learnt models are told."""

from __future__ import annotations

import numpy as np
import pytest

from evenkeel.domain.panel import Panel
from evenkeel.domain.resources import Resource
from evenkeel.forecast.base import Targets
from evenkeel.forecast.features import CANDIDATES, describe, kind_of_series, truth
from evenkeel.forecast.kin import DAY
from panels import fleet

TARGETS = Targets(horizons=(1, 12), windows=(6,))


def panel_of(values: np.ndarray, **facts: object) -> Panel:
    ids = tuple(f"vm{i}" for i in range(len(values)))
    return Panel(ids, values.astype(np.float32), 0.0, Resource.CPU, **facts)  # type: ignore[arg-type]


def candidate(name: str) -> int:
    return CANDIDATES.index(name)


def test_everything_is_finite_however_little_is_known():
    for n_slots in (0, 1, 5, 300, 2500):
        for fill in (np.nan, 0.0, 3.0):
            found = describe(panel_of(np.full((3, n_slots), fill)), TARGETS, floor=0.1)
            for part in (found.scale, found.series, found.target, found.candidates, found.sequence):
                assert np.isfinite(part).all()
            assert (found.candidates >= 0).all()


def test_the_same_time_of_earlier_days_is_found():
    """A spike at one slot of each day, asked for an hour ahead of it."""
    values = np.ones((1, 5 * DAY))
    values[0, 100::DAY] = 50.0
    origin = 4 * DAY + 100 - 11
    found = describe(panel_of(values[:, :origin]), Targets((12,)), floor=0.1)
    around = found.candidates[0, 0, candidate("same-time")]
    assert around[-1] == 50.0, "one of thirteen slots around it"
    assert found.candidates[0, 0, candidate("trailing-1h")][-1] == 1.0


def test_the_same_minute_of_earlier_hours_is_found():
    values = np.ones((1, DAY))
    values[0, 7::12] = 9.0
    origin = 20 * 12 + 5
    asked = panel_of(values[:, :origin])
    spike = describe(asked, Targets((3,)), floor=0.1).candidates[0, 0, candidate("same-minute")]
    calm = describe(asked, Targets((4,)), floor=0.1).candidates[0, 0, candidate("same-minute")]
    assert spike.tolist() == [9.0] * 9
    assert calm.tolist() == [1.0] * 9


def test_a_new_vm_is_told_what_its_kind_does():
    rng = np.random.default_rng(0)
    values = np.vstack(
        [rng.normal(4, 0.1, (9, DAY)), rng.normal(1, 0.1, (9, DAY)), np.full(DAY, np.nan)]
    )
    values[-1, -2:] = 2.0
    kinds = ("big",) * 9 + ("small",) * 9 + ("big",)
    found = describe(panel_of(values, kinds=kinds), TARGETS, floor=0.1)
    assert found.candidates[-1, 0, candidate("kind"), 3] == pytest.approx(4, abs=0.3)
    assert kind_of_series(found)[-1] == 0


def test_kinds_are_compared_in_shares_of_capacity():
    values = np.vstack([np.full((5, 50), 8.0), np.full((1, 50), np.nan)])
    asked = panel_of(values, kinds=("web",) * 6, capacity=np.array([16.0] * 5 + [2.0]))
    found = describe(asked, TARGETS, floor=0.1)
    assert found.candidates[-1, 0, candidate("kind"), 3] == pytest.approx(1.0)


def test_rows_do_not_depend_on_their_neighbours_but_for_kinds():
    whole = fleet(6, 900, seed=5)
    alone = whole.only(np.array([2]))
    a, b = describe(whole, TARGETS, 0.1), describe(alone, TARGETS, 0.1)
    others = [i for i, name in enumerate(CANDIDATES) if name != "kind"]
    np.testing.assert_allclose(a.candidates[2][:, others], b.candidates[0][:, others], rtol=1e-5)
    np.testing.assert_allclose(a.sequence[2], b.sequence[0], rtol=1e-5)


def test_truth_is_unknown_past_the_end_and_for_windows_not_yet_over():
    asked = panel_of(np.arange(20.0)[None])
    assert truth(asked, 10, TARGETS).tolist()[0][0] == 10
    assert truth(asked, 10, TARGETS).tolist()[0][2] == 15
    late = truth(asked, 16, TARGETS)[0]
    assert late[0] == 16
    assert np.isnan(late[1:]).all()
