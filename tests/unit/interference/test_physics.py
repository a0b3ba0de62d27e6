"""Capacity physics against cases that can be worked out by hand."""

import itertools

import numpy as np
import pytest

from evenkeel.interference.cores import cut, spread
from evenkeel.interference.crowd import lost_at, lost_to_rivals, runnable
from evenkeel.interference.physics import Cores, cpu_loss, fluid_loss, lost_cores

CORE0, CORE1, BOTH = frozenset({0}), frozenset({1}), frozenset({0, 1})


def loss_shares(demand, pins, *, weight=None, n_vcpus=None, cpus=2, background=0.0, quota=None):
    n = len(demand)
    atoms = cut(range(cpus), pins)
    cores = Cores.of_host(
        atoms,
        np.array(weight or [1024.0] * n),
        np.array(n_vcpus or [1.0] * n),
        np.array(quota or [np.inf] * n),
    )
    rows = np.array([demand], dtype=float)
    result = cpu_loss(rows, np.array([background]), atoms, cores, np.ones(1))
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


def test_spread_settles_on_a_host_that_wants_far_more_than_it_has():
    """Nothing is left to be gained by moving load: else figures would hang on rounding."""
    rng = np.random.default_rng(3)
    pins = [frozenset(rng.choice(8, 3, replace=False).tolist()) for _ in range(12)] + [frozenset()]
    atoms = cut(range(8), pins)
    demand = rng.uniform(1, 4, 13)
    share = spread(atoms, demand, 0.0)
    load = demand @ share / atoms.sizes
    for vm in range(13):
        used = (share[vm] > 0.02).nonzero()[0]
        allowed = atoms.allowed[vm].nonzero()[0]
        assert load[used].max() <= load[allowed].min() * 1.02


def test_hosts_in_a_batch_lose_what_each_loses_alone():
    rng = np.random.default_rng(5)
    n_hosts, n, rows = 5, 7, 4
    n_cpus = [2, 4, 6, 16, 200]
    vcpus = rng.integers(1, 5, (n_hosts, n)).astype(float)
    vcpus[1, 4:] = 0
    demand = rng.random((n_hosts, rows, n)) * vcpus[:, None]
    demand[3, :, :2] = vcpus[3, :2]
    background = rng.random((n_hosts, rows))
    weight = rng.choice([512.0, 1024.0, 4096.0], (n_hosts, n))
    quota = np.where(rng.random((n_hosts, n)) < 0.2, 0.7, np.inf)
    row_weights = np.full((n_hosts, rows), 1 / rows)
    sizes = np.array(n_cpus, dtype=float)[:, None]
    cores = Cores(weight, vcpus, quota, np.ones((n_hosts, n, 1)), sizes)
    together, _ = lost_cores(demand, background, cores, row_weights)
    for h in range(n_hosts):
        here = vcpus[h] > 0
        atoms = cut(range(n_cpus[h]), [frozenset()] * here.sum())
        its = Cores.of_host(atoms, weight[h, here], vcpus[h, here], quota[h, here])
        alone = cpu_loss(demand[h][:, here], background[h], atoms, its, row_weights[h])
        np.testing.assert_allclose(together[h][:, here], alone.lost, atol=1e-11)
        assert (together[h][:, ~here] == 0).all()


def test_rivals_are_those_of_all_combinations():
    """The recursions, in and out, against plain counting over every on/off combination."""
    busy, vcpus = np.array([0.9, 0.3, 0.5]), np.array([2, 1, 3])
    each = np.repeat(busy, vcpus)
    ratio, c = np.array([0.5, 1.0, 3.0]), 2.0
    pmf = runnable(busy[:, None], vcpus[:, None])
    counted = np.zeros(7)
    expected = np.zeros(3)
    for on in itertools.product((0, 1), repeat=6):
        p = np.where(on, each, 1 - each)
        counted[sum(on)] += p.prod()
        for vm, first in enumerate((0, 2, 3)):
            if not on[first]:  # any state of the vCPU itself: sum over its rivals alone
                k = sum(on)
                expected[vm] += p.prod() / p[first] * float(lost_at(k, ratio[vm], c))
    assert pmf[:, 0] == pytest.approx(counted)
    said = lost_to_rivals(pmf, busy[:, None], ratio[:, None], np.array([c]))
    assert said[:, 0] == pytest.approx(expected)


def test_a_host_without_known_cpus_accuses_nobody():
    assert loss_shares([1, 1], [frozenset()] * 2, cpus=0).tolist() == [0, 0]
