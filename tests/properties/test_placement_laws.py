"""Placement: what is kept up to date says what a fresh start would; no host is given too much."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.placements import allocator, vm

from evenkeel.domain.placement import Placed
from evenkeel.domain.shard import PerformanceClass
from evenkeel.placement.kernels import DEVIATION, MEAN, PROMISED, VARIANCE
from evenkeel.placement.shortfall import Totals, needed
from evenkeel.placement.slices import Load

CELLS = [((0, 1, 2, 3), 8192.0), ((4, 5, 6, 7), 8192.0)]
SIZES = [0.2, 0.5, 1.0, 2.0, 4.0, 6.0]

newcomers = st.builds(
    lambda cores, memory, spread, net, kind: (cores, memory, spread, net, kind),
    st.sampled_from(SIZES),
    st.sampled_from([512.0, 2048.0, 9000.0]),
    st.sampled_from([0.0, 0.3, 1.0]),
    st.sampled_from([0.0, 500.0]),
    st.sampled_from(PerformanceClass),
)
steps = st.lists(st.one_of(newcomers, st.integers(0, 30)), max_size=40)


def fleet():
    return allocator(3, (8.0, 16_384.0, 1000.0, float("inf")), cells=[CELLS, CELLS[:0], CELLS])


@settings(max_examples=60)
@given(steps)
def test_kept_up_to_date_is_as_from_the_start_and_never_too_much(steps):
    kept = fleet()
    for i, step in enumerate(steps):
        if isinstance(step, int):
            there = sorted(kept.seats)
            if there:
                kept.remove(there[step % len(there)])
            continue
        cores, memory, spread, net, kind = step
        one = vm(f"vm{i:03}", cores, memory=memory, spread=spread, net=net, performance=kind)
        outcome = kept.decide(one)
        afresh = fleet()
        for seat in kept.seats.values():
            afresh.put(seat.vm, seat.load, seat.host, seat.where)
        again = afresh.decide(one)
        assert type(again) is type(outcome)
        if isinstance(outcome, Placed):
            assert {o.host for o in again.options} == {o.host for o in outcome.options}
            assert again.chosen.contention == outcome.chosen.contention or np.isclose(
                again.chosen.contention, outcome.chosen.contention, atol=1e-6
            )
            kept.put_at(one, Load.of(one), outcome.chosen)
        within_capacity(kept)


def within_capacity(kept) -> None:
    slices = kept.slices
    held = slices.sums[:, :, PROMISED]
    totals = Totals(held[..., MEAN], held[..., VARIANCE], held[..., DEVIATION])
    need = needed(totals, slices.chance.correlation, slices.chance.epsilon) + slices.reserved
    assert (need <= slices.layout.capacity * (1 + 1e-6) + 1e-6).all()


@settings(max_examples=30)
@given(st.lists(newcomers, max_size=15))
def test_all_that_came_and_went_leaves_nothing(those):
    kept = fleet()
    for i, (cores, memory, spread, net, kind) in enumerate(those):
        one = vm(f"vm{i}", cores, memory=memory, spread=spread, net=net, performance=kind)
        outcome = kept.decide(one)
        if isinstance(outcome, Placed):
            kept.put_at(one, Load.of(one), outcome.chosen)
    for name in list(kept.seats):
        kept.remove(name)
    assert np.allclose(kept.slices.sums, 0.0, atol=1e-6)
    assert np.allclose(kept.slices.reserved, 0.0)
    assert not kept.slices.n_vms.any()
    assert not kept.neighbours._members
