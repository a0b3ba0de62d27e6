"""Laws of the physics, for any demands, pins and weights."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from evenkeel.interference.attribution import blame, pressing
from evenkeel.interference.cores import cut
from evenkeel.interference.physics import Cores, cpu_loss, fluid_loss

N_CPUS = 4
pins = st.frozensets(st.integers(0, N_CPUS - 1))


@st.composite
def fleets(draw):
    n = draw(st.integers(1, 6))
    n_vcpus = np.array(draw(st.lists(st.integers(1, 4), min_size=n, max_size=n)), dtype=float)
    part = draw(arrays(float, (3, n), elements=st.floats(0, 1)))
    weight = np.array(draw(st.lists(st.integers(2, 10_000), min_size=n, max_size=n)), dtype=float)
    cpusets = draw(st.lists(pins, min_size=n, max_size=n))
    atoms = cut(range(N_CPUS), cpusets)
    return part * n_vcpus, (atoms, Cores.of_host(atoms, weight, n_vcpus, np.full(n, np.inf)))


@given(fleets(), st.floats(0, N_CPUS))
def test_nobody_loses_more_than_it_wants_or_less_than_nothing(fleet, background):
    demand, where = fleet
    lost = cpu_loss(demand, np.full(3, background), *where, np.full(3, 1 / 3)).lost
    assert (lost >= -1e-9).all()
    assert (lost <= demand + 1e-9).all()


@given(fleets())
def test_whoever_is_alone_loses_nothing(fleet):
    demand, where = fleet
    demand = demand.copy()
    demand[:, 1:] = 0
    lost = cpu_loss(demand, np.zeros(3), *where, np.full(3, 1 / 3)).lost
    assert np.abs(lost).max() < 1e-6


demands = arrays(float, (4, 5), elements=st.floats(0, 100))
weights5 = arrays(float, (5,), elements=st.floats(0.1, 50))


@given(demands, weights5, st.floats(0, 200))
def test_fluid_serves_all_it_can_and_no_more(demand, weight, capacity):
    lost = fluid_loss(demand, weight, np.full(4, capacity))
    served = (demand - lost).sum(axis=1)
    np.testing.assert_allclose(served, np.minimum(demand.sum(axis=1), capacity), atol=1e-6)
    assert (lost >= -1e-9).all()


@given(demands, weights5, st.floats(1, 100))
def test_fluid_is_max_min_fair(demand, weight, capacity):
    """Nobody who is cut gets less per weight than anybody else gets."""
    got = demand - fluid_loss(demand, weight, np.full(4, capacity))
    for row in range(4):
        cut = demand[row] - got[row] > 1e-6
        if cut.any():
            assert (got[row] / weight)[cut].min() >= (got[row] / weight).max() - 1e-6


@given(demands, arrays(float, (5,), elements=st.floats(0, 100)), st.floats(0, 10))
def test_blame_is_shared_out_whole_and_never_falls_on_the_idle(demand, norm, background):
    meeting = 1.0 - np.eye(5)
    presses = pressing(
        demand[None],
        np.full((1, 4), background),
        norm[None],
        np.ones((1, 5)),
        np.array([10.0]),
        0.05,
        np.array([5.0]),
        np.array([np.nan]),
    )
    share = blame(presses.on(0), meeting)
    total = share.sum(axis=2)
    assert ((np.abs(total - 1) < 1e-9) | (total == 0)).all()
    assert (share >= 0).all()
    for row, who in np.argwhere(demand < 0.05):
        assert (share[row, :, who] == 0).all()
    assert (share[:, range(5), range(5)] == 0).all(), "a VM is not its own neighbour"
