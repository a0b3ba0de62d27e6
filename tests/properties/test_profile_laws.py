"""Laws of profiles: order, units, the future and small disturbances change nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evenkeel.domain.panel import Panel
from evenkeel.domain.profile import UNKNOWN
from evenkeel.forecast.profile_statistics import summarise
from evenkeel.forecast.profiles import classify, profile
from evenkeel.sim.demand import labelled_panel

DAY = 288
MADE = labelled_panel(8, 4 * DAY, np.random.default_rng(99))
PANEL = MADE.panel
LABELS = profile(PANEL).labels
SOME = st.lists(st.integers(0, PANEL.n_series - 1), min_size=1, max_size=12, unique=True)


def test_the_sample_has_every_class() -> None:
    assert set(LABELS) == {0, 1, 2, 3}


@given(rows=SOME)
@settings(max_examples=20)
def test_any_selection_in_any_order_gives_the_same_profiles(rows: list[int]) -> None:
    chosen = profile(PANEL.only(np.array(rows)))
    whole = profile(PANEL)
    assert [str(p) for p in chosen] == [str(whole[i]) for i in rows]


@given(rows=SOME, exponent=st.integers(-6, 8))
@settings(max_examples=20)
def test_scaling_demand_and_capacity_leaves_the_label(rows: list[int], exponent: int) -> None:
    part = PANEL.only(np.array(rows))
    factor = 2.0**exponent
    scaled = replace(part, values=part.values * np.float32(factor), capacity=part.capacity * factor)
    np.testing.assert_array_equal(profile(scaled).labels, LABELS[rows])


@given(first=st.integers(1, 4 * DAY), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_the_future_is_never_used(first: int, seed: int) -> None:
    values = PANEL.values.copy()
    rng = np.random.default_rng(seed)
    values[:, first:] = rng.exponential(10.0, values[:, first:].shape)
    left, right = profile(PANEL.until(first)), profile(replace(PANEL, values=values).until(first))
    np.testing.assert_array_equal(left.probability, right.probability)


@given(n=st.integers(1, 5), n_slots=st.integers(0, 3 * DAY))
@settings(max_examples=20)
def test_nothing_known_is_unknown(n: int, n_slots: int) -> None:
    nothing = np.full((n, n_slots), np.nan, dtype=np.float32)
    panel = Panel(tuple(map(str, range(n))), nothing, PANEL.start_s, PANEL.resource)
    found = profile(panel)
    assert (found.labels == UNKNOWN).all()
    assert all(p.confidence == 0 and p.bursts_a_day == 0 for p in found)


@given(seed=st.integers(0, 2**32 - 1), size=st.floats(0.0, 0.02))
@settings(max_examples=20)
def test_small_disturbances_never_flap(seed: int, size: float) -> None:
    """Whatever small noise comes on top, time and again, a label changes at most once."""
    rng = np.random.default_rng(seed)
    previous = LABELS
    changes = np.zeros(len(LABELS), dtype=int)
    for _ in range(4):
        noise = 1 + size * rng.standard_normal(PANEL.values.shape)
        disturbed = replace(PANEL, values=(PANEL.values * noise).astype(np.float32))
        labels = classify(summarise(disturbed), previous).labels
        changes += labels != previous
        previous = labels
    assert changes.max() <= 1


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_probabilities_are_probabilities(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.exponential(1.0, (6, int(rng.integers(24, 3 * DAY)))).astype(np.float32)
    values[rng.random(values.shape) < rng.random()] = np.nan
    found = profile(Panel(tuple("abcdef"), values, PANEL.start_s, PANEL.resource))
    assert np.isfinite(found.probability).all()
    assert (found.probability >= 0).all()
    np.testing.assert_allclose(found.probability.sum(axis=1), 1.0, rtol=1e-9)


def test_a_seed_makes_the_same_series_to_the_byte() -> None:
    again = labelled_panel(8, 4 * DAY, np.random.default_rng(99))
    assert again.panel.values.tobytes() == PANEL.values.tobytes()
    assert again.specs == MADE.specs
    with pytest.raises(AssertionError):
        np.testing.assert_array_equal(
            labelled_panel(8, 4 * DAY, np.random.default_rng(98)).panel.values, PANEL.values
        )
