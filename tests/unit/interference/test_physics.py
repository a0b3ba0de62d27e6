"""Capacity physics against cases that can be worked out by hand."""

import numpy as np
import pytest

from evenkeel.interference.cores import cut, spread
from evenkeel.interference.physics import cpu_loss, cpu_shape, fluid_loss

CORE0, CORE1, BOTH = frozenset({0}), frozenset({1}), frozenset({0, 1})


def loss_shares(demand, pins, *, weight=None, n_vcpus=None, cpus=2, background=0.0, quota=None):
    n = len(demand)
    shape = cpu_shape(
        range(cpus),
        pins,
        np.array(weight or [1024.0] * n),
        np.array(n_vcpus or [1.0] * n),
        np.array(quota or [np.inf] * n),
    )
    rows = np.array([demand], dtype=float)
    result = cpu_loss(rows, np.array([background]), shape, np.ones(1))
    return result.lost[0] / rows[0]


@pytest.mark.parametrize(
    ("demand", "pins", "options", "expected"),
    [
        ([1, 1], [CORE0] * 2, {}, [0.5, 0.5]),
        ([1, 1], [CORE0, CORE1], {}, [0, 0]),
        ([1, 1], [CORE0] * 2, {"weight": [2048.0, 1024.0]}, [1 / 3, 2 / 3]),
        ([1, 1], [CORE0] * 2, {"weight": [1800.0, 200.0]}, [0.1, 0.9]),
        # Two on/off vCPUs that meet 40 % of the time share the core while they do.
        ([0.4, 0.4], [CORE0] * 2, {}, [0.2, 0.2]),
        ([1, 1, 1], [BOTH] * 3, {}, [1 / 3] * 3),
        # A free VM keeps out of the way of two that are pinned together.
        ([1, 1, 1], [CORE0, CORE0, BOTH], {}, [0.5, 0.5, 0]),
        ([2, 2], [BOTH] * 2, {"n_vcpus": [2.0, 2.0]}, [0.5, 0.5]),
        # Its own second vCPU is nobody else's fault.
        ([2], [CORE0], {"n_vcpus": [2.0]}, [0]),
        # A quota is the VM's own limit; it also frees the neighbour.
        ([1, 1], [CORE0] * 2, {"quota": [np.inf, 0.2]}, [0.1, 0.1]),
        ([1], [CORE0], {"background": 2.0}, [0.5]),
        ([1, 1], [frozenset({7}), frozenset()], {}, [0, 0]),
    ],
)
def test_hand_worked_cases(demand, pins, options, expected):
    assert loss_shares(demand, pins, **options) == pytest.approx(expected, abs=0.01)


def test_crowds_are_taken_as_normal_and_join_smoothly():
    def mean_loss(n):
        return loss_shares([0.5] * n, [frozenset()] * n, cpus=n // 2)[0]

    assert mean_loss(160) == pytest.approx(mean_loss(64) * (64 / 160) ** 0.5, rel=0.1)


def test_atoms_are_what_pins_tell_apart():
    atoms = cut(range(8), [frozenset({0, 1}), frozenset({1, 2}), frozenset()])
    assert sorted(atoms.cpus) == [(0,), (1,), (2,), (3, 4, 5, 6, 7)]


def test_spread_balances_the_load():
    atoms = cut(range(4), [frozenset({0}), frozenset({0, 1}), frozenset(range(4))])
    share = spread(atoms, np.array([1.0, 1.0, 2.0]), 0.0)
    load = np.array([1.0, 1.0, 2.0]) @ share / atoms.sizes
    assert load == pytest.approx(np.ones(3), abs=0.03)


def test_fluid_is_weighted_max_min():
    lost = fluid_loss(np.array([[1.0, 4.0, 4.0]]), np.array([1.0, 1.0, 2.0]), np.array([6.0]))
    assert lost[0] == pytest.approx([0, 4 - 5 / 3, 4 - 10 / 3])
