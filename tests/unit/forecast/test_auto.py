"""The choice among simple and learnt forecasts."""

from __future__ import annotations

import numpy as np
import pytest

from evenkeel.domain.errors import ModelCorrupt
from evenkeel.domain.panel import Panel
from evenkeel.domain.resources import Resource
from evenkeel.forecast.auto import AutoForecaster, _options, choose
from evenkeel.forecast.base import Targets
from evenkeel.forecast.features import CANDIDATES, N_CANDIDATES, N_KINDS
from evenkeel.forecast.network.forecaster import NetworkForecaster
from evenkeel.forecast.network.settings import Training
from evenkeel.forecast.rows import apart, draw, held_out
from panels import fleet

OPTIONS = _options(("cheap", "dear"))
MANY = np.full((N_KINDS, 1), 10_000)


def losses_of(**of: float) -> np.ndarray:
    found = np.full((len(OPTIONS), N_KINDS, 1), 1.0)
    for name, loss in of.items():
        found[OPTIONS.index(tuple(name.split("_")))] = loss
    return found


def chosen(losses: np.ndarray, count: np.ndarray = MANY) -> list[tuple[str, ...]]:
    sizes = [len(option) for option in OPTIONS]
    return [OPTIONS[i] for i in choose(losses, count, sizes)[:, 0]]


def test_a_simple_forecast_serves_unless_it_is_clearly_beaten():
    assert chosen(losses_of(last=0.9, cheap=0.899))[0] == ("last",)
    assert chosen(losses_of(last=0.9, cheap=0.89))[0] == ("cheap",)


def test_a_dear_model_has_to_bring_more():
    assert chosen(losses_of(cheap=0.800, dear=0.795))[0] == ("cheap",)
    assert chosen(losses_of(cheap=0.800, dear=0.780))[0] == ("dear",)
    assert chosen(losses_of(cheap=0.800, dear=0.9, cheap_dear=0.78))[0] == ("cheap", "dear")


def test_a_kind_with_few_rows_goes_with_all():
    losses = losses_of(cheap=0.5)
    losses[OPTIONS.index(("last",)), 0] = 0.1
    count = MANY.copy()
    count[0] = 20
    assert chosen(losses, count) == [("cheap",)] * N_KINDS


def test_a_vm_is_kept_apart_everywhere_or_nowhere():
    ids = [f"vm{i}" for i in range(2000)]
    is_apart = held_out(ids, 1, 0.12)
    assert 0.09 < is_apart.mean() < 0.15
    np.testing.assert_array_equal(is_apart[::-1], held_out(ids[::-1], 1, 0.12))
    assert (is_apart != held_out(ids, 2, 0.12)).any()


def test_of_a_large_fleet_no_more_vms_are_kept_apart_than_the_choice_wants():
    few, many = fleet(100, 4), fleet(4000, 4)
    assert 5 < apart([few], seed=1)[0].sum() < 20
    of_many, of_few = apart([many, few], seed=1)
    assert 110 < of_many.sum() < 190
    np.testing.assert_array_equal(of_few, of_many[: len(of_few)])  # the same names


def test_training_rows_never_reach_past_the_panel():
    """Targets past the end are unknown, not looked up elsewhere."""
    whole = fleet(4, 400, seed=1)
    part = whole.until(300)
    rng = np.random.default_rng(0)
    rows = draw([part], Targets((1, 288)), 0.01, 500, rng)
    assert np.isnan(rows.truth[:, 1]).any()
    whole.values[:, 300:] = 1e9
    again = draw([part], Targets((1, 288)), 0.01, 500, np.random.default_rng(0))
    np.testing.assert_array_equal(rows.truth, again.truth)
    np.testing.assert_array_equal(rows.features.candidates, again.features.candidates)


def test_nothing_to_learn_from_is_said():
    with pytest.raises(ValueError, match="nothing to learn from"):
        draw([fleet(3, 5, seed=1)], Targets((1,)), 0.1, 100, np.random.default_rng(0))


def test_a_damaged_model_is_refused():
    with pytest.raises(ModelCorrupt):
        AutoForecaster().load(b"not a model")
    assert len(OPTIONS) > N_CANDIDATES


def noise(n_slots: int) -> Panel:
    """Each day all VMs want another share of their own: nothing to foresee a day ahead."""
    rng = np.random.default_rng(5)
    days = rng.uniform(1, 4, n_slots // 288 + 1).repeat(288)[:n_slots]
    values = (days * rng.uniform(0.5, 2, (40, 1)) * rng.uniform(0.9, 1.1, (40, n_slots))).astype(
        "f4"
    )
    return Panel(tuple(f"vm{i}" for i in range(40)), values, 0.0, Resource.CPU)


def test_a_network_that_remembers_days_does_not_serve_a_day_ahead():
    """On VMs kept apart it looks well, for they had the same days."""
    training = Training(epochs=8, rows_per_epoch=8000, batch=128, hidden=64)
    auto = AutoForecaster(lambda _: (NetworkForecaster(training=training),), judged_rows=4000)
    fitted = auto.fit([noise(288 * 16)], Targets((1, 288)), seed=1)
    moving = fitted.losses[:, 2]
    learnt = fitted.options.index(("blend",))
    assert moving[learnt, 1] < 0.99 * moving[:N_CANDIDATES, 1].min(), "the trap is no trap"
    assert (fitted.choice[:, 1] < N_CANDIDATES).all()


def test_a_day_ahead_without_a_past_to_prove_it_is_a_simple_forecast():
    training = Training(epochs=1, rows_per_epoch=500, hidden=16)
    auto = AutoForecaster(lambda _: (NetworkForecaster(training=training),), judged_rows=200)
    fitted = auto.fit([noise(15)], Targets((1, 288)), seed=1)
    assert (fitted.choice[:, 1] == CANDIDATES.index("trailing-24h")).all()
