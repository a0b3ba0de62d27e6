"""Demand that jumped, and demand that moves together, as repacking sees them."""

from __future__ import annotations

import numpy as np
import pytest

from evenkeel.controller.repacking import Past, common_correlation, demand_ahead
from evenkeel.domain.arrays import F64
from evenkeel.forecast.steady import Memory


def past(demand: F64) -> Past:
    n = len(demand)
    return Past(demand, np.full(n, 8.0), np.ones(n), np.zeros((n, 0)))


def test_a_vm_that_jumped_is_believed_after_some_slots_and_noise_is_not() -> None:
    rng = np.random.default_rng(1)
    demand = 1.0 + 0.1 * rng.standard_normal((2, 60))
    demand[0, -2:] = 7.5
    demand[1, -1] = 7.5
    slow, _ = demand_ahead(past(demand), Memory())
    quick, _ = demand_ahead(past(demand), Memory(), jump_slots=2)
    assert slow[0, 0] < 2.0
    assert quick[0, 0] == pytest.approx(7.5)
    assert quick[1, 0] == pytest.approx(slow[1, 0])


def test_independent_vms_have_no_common_correlation_and_alike_ones_have() -> None:
    rng = np.random.default_rng(2)
    alone = rng.random((40, 288))
    assert common_correlation(alone) < 0.02
    together = alone + rng.random(288)
    assert common_correlation(together) == pytest.approx(0.5, abs=0.1)
    assert common_correlation(np.repeat(alone[:1], 5, axis=0)) == pytest.approx(1.0)


def test_what_is_not_known_says_nothing() -> None:
    demand = np.full((3, 288), np.nan)
    assert common_correlation(demand) == 0.0
    assert common_correlation(np.ones((3, 5))) == 0.0
    assert common_correlation(np.ones((3, 100))) == 0.0
