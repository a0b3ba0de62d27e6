"""Laws of the evidence, for any demands, losses and pins."""

import numpy as np
from builders import a_host, a_tick, a_vm, a_window
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from evenkeel.domain.resources import CPU_AXIS, SPECS, Resource
from evenkeel.interference.contention import score_host

N, T = 5, 8
pins = st.lists(st.sampled_from([[0], [1], [0, 1]]), min_size=N, max_size=N)
demands = arrays(float, (T, N), elements=st.floats(0, 1))
losses = arrays(float, (T, N), elements=st.floats(0, 0.95))


def evidence(demand, loss, cores, background=0.0):
    vms = [a_vm(f"v{i}", cores[i]) for i in range(N)]
    ticks = [a_tick(5.0 * t, vms, demand[t], loss[t], background=background) for t in range(T)]
    return score_host(a_window(ticks), a_host(), 7.5)


@given(demands, losses, pins, st.floats(0, 2))
def test_parts_add_up_and_probabilities_are_probabilities(demand, loss, cores, background):
    found = evidence(demand, loss, cores, background)
    parts, culprit = found.evidence.attributed, found.evidence.culprit
    assert (parts >= 0).all()
    np.testing.assert_allclose(parts.sum(axis=2), found.measured, atol=1e-9)
    assert (culprit >= 0).all()
    assert (culprit.sum(axis=2) <= 1 + 1e-9).all()


@given(demands, losses, pins)
def test_the_idle_and_those_on_other_cores_get_nothing(demand, loss, cores):
    idle = demand < SPECS[Resource.CPU].shard
    demand = np.where(idle.all(axis=0), 0.0, demand)
    found = evidence(demand, loss, cores)
    for victim in range(N):
        for who in range(N):
            apart = not set(cores[victim]) & set(cores[who])
            if idle[:, who].all() or apart or victim == who:
                assert found.evidence.attributed[CPU_AXIS, victim, who] == 0
                assert found.evidence.culprit[CPU_AXIS, victim, who] == 0


@given(demands, losses)
def test_twins_get_the_same(demand, loss):
    demand[:, 2], loss[:, 2] = demand[:, 1], loss[:, 1]
    found = evidence(demand, loss, [[0, 1]] * N)
    for array in (found.evidence.attributed, found.evidence.culprit):
        for victim in (0, 3, 4):
            np.testing.assert_allclose(
                array[CPU_AXIS, victim, 1], array[CPU_AXIS, victim, 2], atol=1e-9
            )
