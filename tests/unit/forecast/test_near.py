"""Jumps that slots foresee, in the short forecasts of an agent."""

from __future__ import annotations

import numpy as np
import pytest

from evenkeel.domain.quantiles import MEDIAN, N_QUANTILES
from evenkeel.domain.resources import CPU_AXIS, N_RESOURCES
from evenkeel.domain.sample import NearSlots
from evenkeel.forecast.near import foreseen, jumps

SLOT_S = 300.0
ORIGIN_S = 1_200.0
SHAPE = np.linspace(0.85, 1.25, N_QUANTILES, dtype=np.float32)


def slots(*cores: float) -> NearSlots:
    of_cpu = np.array([level * SHAPE for level in cores], np.float32)
    values = np.full((N_RESOURCES, len(cores), N_QUANTILES), np.nan, np.float32)
    values[CPU_AXIS] = of_cpu
    return NearSlots(ORIGIN_S, SLOT_S, {"web": values})


def short(cores: float) -> np.ndarray:
    """One VM, one horizon: it goes on as it is."""
    out = np.full((1, N_RESOURCES, 1, N_QUANTILES), np.nan, np.float32)
    out[0, CPU_AXIS, 0] = cores * SHAPE
    return out


def median(near: NearSlots, now_cores: float, now_s: float, ahead_s: float = 60.0) -> float:
    found = foreseen(short(now_cores), near, ("web",), now_s, (ahead_s,))
    assert np.isnan(found[0, 1:]).all(), "what is not forecast stays so"
    return float(found[0, CPU_AXIS, 0, MEDIAN])


def test_a_burst_of_the_next_slot_is_foreseen_a_minute_ahead_and_no_sooner():
    near = slots(0.2, 2.0)
    assert median(near, 0.2, ORIGIN_S + 239) == pytest.approx(0.2)
    assert median(near, 0.2, ORIGIN_S + 241) == pytest.approx(2.0)


def test_inside_a_slot_the_latest_minutes_know_better():
    assert median(slots(2.0, 2.0), 0.3, ORIGIN_S + 10) == pytest.approx(0.3)


def test_a_vm_off_its_slots_is_still_foreseen_by_the_difference():
    assert median(slots(0.2, 2.0), 1.0, ORIGIN_S + 290) == pytest.approx(2.8)


def test_a_burst_that_was_foreseen_in_vain_ends_with_its_slot():
    assert median(slots(2.0, 0.2), 0.3, ORIGIN_S + 290) == pytest.approx(0.0)


def test_small_differences_of_uncertain_slots_are_noise():
    near = slots(1.0, 1.04)
    assert not jumps(near, ("web",), ORIGIN_S + 290, 60.0).any()
    assert jumps(slots(1.0, 1.5), ("web",), ORIGIN_S + 290, 60.0).any()


@pytest.mark.parametrize(
    ("vm", "now_s"),
    [("db", ORIGIN_S + 290), ("web", ORIGIN_S - 1), ("web", ORIGIN_S + 590)],
    ids=["another VM", "before the origin", "past what is forecast"],
)
def test_what_the_slots_do_not_tell_changes_nothing(vm, now_s):
    assert not jumps(slots(0.2, 2.0), (vm,), now_s, 60.0).any()


def test_levels_stay_in_order_and_above_nothing():
    rng = np.random.default_rng(3)
    for _ in range(50):
        near = slots(*rng.gamma(1, 1, 3))
        found = foreseen(short(rng.gamma(1, 1)), near, ("web",), ORIGIN_S + 299, (5.0,))[0, 0, 0]
        assert (np.diff(found) >= 0).all()
        assert (found >= 0).all()
