"""Sums of tallies: in any order, in any grouping, the same; and what one tally says comes back."""

from __future__ import annotations

from functools import reduce
from operator import add

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from evenkeel.domain.reliability import EDGES, N_BINS, UNIT, BinSums, flaw_of, sums_of
from evenkeel.domain.resources import CPU_AXIS, N_RESOURCES
from evenkeel.interference.reliability import bins_of, judge, tallies

shares = st.floats(0, 1)
samples = st.lists(st.tuples(shares, shares), min_size=1, max_size=40)


def counted(pairs: list[tuple[float, float]]) -> np.ndarray:
    """(4, R, N_BINS) of CPU predictions and what came."""
    counts = np.zeros((4, N_RESOURCES, N_BINS))
    for predicted, measured in pairs:
        k = int(bins_of(np.array(predicted)))
        counts[:, CPU_AXIS, k] += (1, predicted, measured, (measured - predicted) ** 2)
    return counts


@given(samples)
def test_a_tally_is_sound_and_keeps_what_was_counted(pairs):
    (tally,) = tallies(counted(pairs), 5.0)
    assert flaw_of(tally) == ""
    verdict = judge(sums_of(tally))
    assert verdict.n == len(pairs)
    for each in verdict.bins:
        inside = [p for p in pairs if each.lower <= p[0] and (p[0] < each.upper or each.upper == 1)]
        assert each.n == len(inside)
        assert abs(each.predicted - np.mean([p for p, _ in inside])) <= UNIT
        assert abs(each.measured - np.mean([m for _, m in inside])) <= UNIT
        # Half a unit of rounding may carry a mean over the edge, no more.
        assert each.lower - UNIT <= each.predicted <= each.upper + UNIT
    assert verdict.brier is not None
    assert abs(verdict.brier - np.mean([(m - p) ** 2 for p, m in pairs])) <= N_BINS * UNIT


@given(st.lists(samples, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_sums_are_the_same_in_any_order_and_any_grouping(reports, rng):
    made = [sums_of(tally) for report in reports for tally in tallies(counted(report), 5.0)]
    for k in range(N_BINS):
        parts = [one[k] for one in made if k in one]
        whole = reduce(add, parts, BinSums())
        shuffled = rng.sample(parts, len(parts))
        cut = rng.randint(0, len(parts))
        left = reduce(add, shuffled[:cut], BinSums())
        right = reduce(add, shuffled[cut:], BinSums())
        assert left + right == whole
        assert right + left == whole


@given(st.lists(samples, min_size=2, max_size=6))
def test_the_gap_is_exactly_the_difference_of_the_means(reports):
    total: dict[int, BinSums] = {}
    for report in reports:
        for tally in tallies(counted(report), 5.0):
            for k, sums in sums_of(tally).items():
                total[k] = total.get(k, BinSums()) + sums
    verdict = judge(total)
    for each in verdict.bins:
        assert abs(each.gap_points - 100 * (each.measured - each.predicted)) < 1e-6
        assert each.se_points is None or each.se_points >= 0
    judged = [abs(each.gap_points) for each in verdict.bins if each.populated]
    assert verdict.is_close == (max(judged) <= 2.0 if judged else None)
    assert {each.lower for each in verdict.bins} <= set(EDGES)
