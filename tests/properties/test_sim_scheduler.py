"""Laws of the simulated scheduler, on any mix of wishes, weights and pins."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from evenkeel.sim.scheduler import share_by_weight, share_cores, split_delay

shares = st.floats(0, 1).map(lambda x: round(x, 3))


@st.composite
def situations(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    n_steps, n_vcpus, n_cores = (draw(st.integers(1, n)) for n in (4, 8, 4))

    def grid(of: st.SearchStrategy[float], rows: int, columns: int) -> np.ndarray:
        return np.array([[draw(of) for _ in range(columns)] for _ in range(rows)], dtype=float)

    allowed = grid(st.sampled_from((0.0, 1.0)), n_vcpus, n_cores) > 0
    allowed[~allowed.any(axis=1)] = True
    weights = st.sampled_from((2.0, 256.0, 1024.0, 4096.0))
    return grid(shares, n_steps, n_vcpus), grid(weights, n_steps, n_vcpus), allowed


@settings(max_examples=200)
@given(situations(), st.integers(0, 1000))
def test_cores_are_never_overbooked_nor_idle_beside_a_waiter(
    situation: tuple[np.ndarray, np.ndarray, np.ndarray], first_step: int
) -> None:
    wanted, weight, allowed = situation
    got = share_cores(wanted, weight, allowed, first_step + np.arange(len(wanted)))
    assert (got >= 0).all()
    assert (got <= wanted).all()
    n_cores = allowed.shape[1]
    for subset in range(1, 2**n_cores):
        cores = np.array([bool(subset >> core & 1) for core in range(n_cores)])
        confined = ~(allowed & ~cores).any(axis=1)
        assert (got[:, confined].sum(axis=1) <= cores.sum() + 1e-9).all(), "more than exists"
    if allowed.all():
        best = np.minimum(wanted.sum(axis=1), n_cores)
        np.testing.assert_allclose(got.sum(axis=1), best, atol=1e-9)


@settings(max_examples=200)
@given(situations(), st.floats(0.01, 6))
def test_shares_of_one_capacity_are_weighted_max_min(
    situation: tuple[np.ndarray, np.ndarray, np.ndarray], capacity: float
) -> None:
    wanted, weight, _ = situation
    got = share_by_weight(wanted, weight, capacity)
    assert (got <= wanted + 1e-12).all()
    np.testing.assert_allclose(
        got.sum(axis=1), np.minimum(wanted.sum(axis=1), capacity), rtol=1e-9, atol=1e-9
    )
    per_weight = got / weight
    for row in range(len(wanted)):
        short = got[row] < wanted[row] - 1e-9
        if short.any():
            level = per_weight[row][short]
            np.testing.assert_allclose(level, level[0], rtol=1e-6)
            assert (per_weight[row] <= level[0] * (1 + 1e-6)).all()


@settings(max_examples=200)
@given(situations(), shares.filter(lambda quota: quota > 0.01))
def test_delay_and_throttling_make_up_the_loss(
    situation: tuple[np.ndarray, np.ndarray, np.ndarray], quota: float
) -> None:
    wanted, weight, allowed = situation
    limit = np.full(wanted.shape[1], quota)
    step = np.arange(len(wanted))
    got = share_cores(np.minimum(wanted, limit), weight, allowed, step)
    free = share_cores(wanted, weight, allowed, step)
    delayed, throttled = split_delay(wanted, got, free, limit)
    assert (delayed >= -1e-9).all()
    assert (throttled >= 0).all()
    np.testing.assert_allclose(delayed + throttled, wanted - got, atol=1e-9)
    assert (throttled[wanted <= quota] <= 1e-9).all(), "its quota cannot have held it back"
