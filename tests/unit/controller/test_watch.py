"""What becomes of forecasts in a running controller: deviations, drift, and the training after."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.history_data import DAY_S, T0, a_model
from tests.watch_world import CPU, World

from evenkeel.adapters.store.store import SqlStore
from evenkeel.domain.arrays import F32
from evenkeel.domain.deviation import Way
from evenkeel.domain.ids import VmId
from evenkeel.domain.panel import Panel
from evenkeel.domain.quantiles import LEVELS, row_quantiles
from evenkeel.forecast.base import FittedForecaster, Forecast, Targets
from evenkeel.forecast.contest import stretches
from evenkeel.forecast.validation import validate

STEP_S = 1800.0
DAY = 48
N_VMS = 30
STARTS_DAY = 17
"""A Monday."""


class Ratios:
    """Learns how far demand strays from the mean of the last hours; one answer for all VMs."""

    name = "ratios"

    def fit(self, panels, targets: Targets, seed: int) -> FittedForecaster:
        ratios = np.concatenate(
            [(p.values[:, 12:] / _usual(p.values)[:, 11:-1]).ravel() for p in panels]
        )
        return FittedRatios(row_quantiles(ratios[None].astype(np.float32))[0])

    def load(self, blob: bytes) -> FittedForecaster:
        return FittedRatios(np.array(json.loads(blob), np.float32))


class FittedRatios:
    name = "ratios"

    def __init__(self, ratios: F32) -> None:
        self.ratios = ratios

    def save(self) -> bytes:
        return json.dumps([float(x) for x in self.ratios]).encode()

    def predict(self, panel: Panel, targets: Targets) -> Forecast:
        usual = _usual(panel.values)[:, -1]
        one = usual[:, None, None] * self.ratios
        n = len(targets.horizons + targets.windows)
        return Forecast.of(panel, targets, np.repeat(one, n, axis=1).astype(np.float32))


def _usual(values: F32) -> F32:
    """Mean of the last 12 slots, at every slot."""
    total = np.cumsum(np.nan_to_num(values), axis=1)
    total[:, 12:] -= total[:, :-12].copy()
    return total / 12


def calm(days: float, seed: int = 0, noise: float = 0.1, n: int = N_VMS) -> Panel:
    rng = np.random.default_rng(seed)
    level = rng.uniform(0.5, 4.0, (n, 1))
    values = level * rng.gamma(1 / noise**2, noise**2, (n, round(days * DAY)))
    return Panel(
        ids=tuple(f"vm{i}" for i in range(n)),
        values=values.astype(np.float32),
        start_s=float(T0),
        resource=CPU,
        step_s=STEP_S,
        capacity=np.full(n, 8.0),
        kinds=("shop",) * n,
    )


def changed(panel: Panel, day: float, factor: float, rows: slice = slice(None)) -> Panel:
    """From that day on every distance from the mean is `factor` times as large."""
    at = round(day * DAY)
    mean = panel.values.mean(axis=1, keepdims=True)
    after = np.maximum(mean + factor * (panel.values - mean), 0)
    panel.values[rows, at:] = after[rows, at:]
    return panel


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    store = SqlStore(f"sqlite:///{tmp_path}/controller.db")
    yield store
    store.close()


def a_world(panel: Panel, store: SqlStore, serves: bool = True, **settings) -> World:
    world = World(panel, store, T0 + STARTS_DAY * DAY_S, Ratios, **settings)
    if serves:
        known, targets = panel.until(STARTS_DAY * DAY), Targets((1, 2))
        first = known.n_slots * 3 // 4
        fitted = Ratios().fit(stretches(known.until(first)), targets, 1)
        blob = fitted.save()
        validation = validate(fitted, known, targets, first)
        world.registry.add(
            info := a_model(blob, at_s=world.clock.now_s, validation=validation), blob
        )
        world.registry.promote(info.id)
    return world


class TestDrift:
    def test_a_fleet_that_changes_is_noticed_and_learnt_again(self, store: SqlStore) -> None:
        world = a_world(changed(calm(27), 18, 4.0), store)
        first = world.registry.line(CPU)[0]
        world.run(24)
        assert not world.events("model_drifted")
        hours = world.run(24, lambda: bool(world.watch.drift.drifted()))
        assert hours <= 6
        (event,) = world.events("model_drifted")
        assert event.detail["model"] == first
        assert event.detail["loss_ratio"] > 1.1 or abs(event.detail["coverage_off"]) > 0.03
        # At first hardly any of the judged quarter is new behaviour; then ever more of it.
        world.run(24 * 6, lambda: world.registry.line(CPU)[0] != first)
        second = world.registry.line(CPU)[0]
        assert second != first
        world.run(24)
        assert not world.watch.drift.drifted(), "the new one is as good as its validation says"
        finished = [e.detail for e in world.events("training_finished")]
        finished = [detail for detail in finished if detail["resource"] == "cpu"]
        assert [d["won"] for d in finished] == [False] * (len(finished) - 1) + [True]
        assert finished[-1]["wql"] < finished[-1]["champion_wql"]
        promoted = world.events("model_promoted")
        assert [e.detail["model"] for e in promoted] == [first, second]
        gaps = np.diff(world.trainer.started)
        assert (gaps >= 24 * 3600).all()

    @pytest.mark.parametrize("seed", range(3))
    def test_a_fleet_that_does_not_change_never_drifts(self, store: SqlStore, seed: int) -> None:
        world = a_world(calm(28, seed), store, retrain_every_days=60.0)
        world.run(24 * 10)
        assert CPU in world.watch.drift.verdicts()
        assert not world.events("model_drifted")
        assert not world.trainer.started

    def test_a_model_without_validation_has_no_verdict_and_that_is_said(
        self, store: SqlStore
    ) -> None:
        world = a_world(changed(calm(23), 17, 4.0), store, serves=False, retrain=False)
        blob = Ratios().fit([world.history.whole], Targets((1,)), 1).save()
        world.registry.add(info := a_model(blob), blob)
        world.registry.promote(info.id)
        world.run(48)
        assert not world.watch.drift.verdicts()
        (event,) = world.events("drift_unknown")
        assert "train anew" in event.message


class TestTraining:
    def test_history_that_has_grown_is_learnt_from(self, store: SqlStore) -> None:
        world = a_world(calm(43), store, serves=False, retrain_every_days=5.0)
        world.run(24 * 11)
        assert len(world.trainer.started) == 3
        assert np.diff(world.trainer.started) == pytest.approx(5 * DAY_S, rel=0.01)
        assert len(world.registry.models(CPU)) == 3

    def test_it_can_be_switched_off(self, store: SqlStore) -> None:
        world = a_world(changed(calm(23), 17, 4.0), store, retrain=False)
        world.run(48)
        assert world.events("model_drifted")
        assert not world.trainer.started

    def test_a_failure_is_told_and_not_repeated_for_a_day(self, store: SqlStore) -> None:
        world = a_world(changed(calm(23), 17, 4.0), store)
        world.trainer.failure = "error there is no memory (killed by signal -9)"
        world.run(48)
        assert len(world.trainer.started) == 2
        for event in world.events("training_failed"):
            assert "no memory" in event.message
            assert "has drifted" in event.detail["reason"]

    def test_what_lacks_is_told(self, store: SqlStore) -> None:
        world = a_world(changed(calm(23), 17, 4.0), store)
        world.trainer.lacks = "the Python package torch"
        world.run(30)
        told = world.events("training_failed")
        (event,) = [each for each in told if each.detail["resource"] == "cpu"]
        assert "torch" in event.message
        assert "pip install 'evenkeel[ml]'" in event.message

    def test_a_controller_that_died_in_training_tells_and_waits(self, store: SqlStore) -> None:
        world = a_world(changed(calm(23), 17, 4.0), store)
        world.run(48, lambda: bool(world.trainer.started))
        world.trainer.stop()  # as the kernel does when the controller is killed
        assert world.tries.value[CPU].ended_at_s is None
        world.restarted()
        world.clock.now_s += STEP_S
        world.run(4)
        (event,) = world.events("training_failed")
        assert "the controller ended while it ran" in event.message
        assert len(world.trainer.started) == 1

    def test_who_serves_is_logged_once_whoever_changed_it(self, store: SqlStore) -> None:
        world = a_world(calm(23), store)
        champion = world.registry.line(CPU)[0]
        world.run(2)
        world.restarted()
        world.clock.now_s += STEP_S
        world.run(2)
        assert [e.detail["model"] for e in world.events("model_promoted")] == [champion]
        world.watch.models.rollback(CPU, "ann")
        world.watch.models.promote(champion, "ann")
        world.run(2)
        assert len(world.events("model_promoted")) == 2
        (event,) = world.events("model_rolled_back")
        assert event.message.startswith("ann rolled cpu (long) back")
        world.registry.rollback(CPU)
        world.run(2)
        assert len(world.events("model_rolled_back")) == 2


class TestDeviations:
    def test_a_vm_that_departs_from_its_forecast_is_told_of_until_it_is_back(
        self, store: SqlStore
    ) -> None:
        panel = calm(23)
        panel.values[3, 18 * DAY : 18 * DAY + 8] *= 3
        world = a_world(panel, store)
        world.run(24 + 3)
        one = world.service.deviations(VmId("vm3"))[CPU]
        assert one.way is Way.ABOVE
        assert abs(one.since_s - (T0 + 18 * DAY_S)) <= 2 * STEP_S
        assert one.came > 1.5 * one.predicted
        assert one.size > 0
        assert one.probability < 1e-4
        assert "more than forecast in the mean" in str(one)
        assert world.watch.deviations.counts()[CPU] == 1
        (event,) = world.events("vm_deviates")
        assert (event.vm, event.detail["resource"], event.detail["way"]) == ("vm3", "cpu", "above")
        world.run(30)
        assert not world.service.deviations(VmId("vm3"))
        (event,) = world.events("vm_deviates_no_more")
        assert event.vm == "vm3"

    def test_a_fleet_that_shifts_is_one_event(self, store: SqlStore) -> None:
        panel = calm(23, n=100)
        panel.values[:, 18 * DAY :] *= 2
        world = a_world(panel, store)
        world.run(24 + 6)
        assert len(world.events("vm_deviates")) <= 20
        many = world.events("vms_deviate")
        assert len(many) == 1
        assert many[0].detail["n_deviating"] >= 10
        assert world.watch.deviations.counts()[CPU] > 50
        world.run(48)
        assert len(world.events("vms_deviate")) == 1
        assert len(world.events("vms_deviate_no_more")) == 1

    def test_vms_that_behave_are_left_alone(self, store: SqlStore) -> None:
        world = a_world(calm(27), store)
        world.run(24 * 10)
        assert len(world.events("vm_deviates")) <= 3

    def test_vms_come_and_go(self, store: SqlStore) -> None:
        panel = calm(21)
        panel.values[0, 18 * DAY :] = np.nan
        panel.values[1, : 18 * DAY] = np.nan
        panel.values[2, 18 * DAY : 18 * DAY + 10] *= 4
        panel.values[2, 18 * DAY + 5 :] = np.nan  # it vanishes while it deviates
        world = a_world(panel, store)
        world.run(24 * 2)
        assert not world.events("forecast_failed"), world.service.trouble()
        assert not world.service.deviations(VmId("vm2"))


def test_levels_are_those_of_the_contract() -> None:
    assert len(FittedRatios(LEVELS).predict(calm(1), Targets((1,), (2,))).values[0, 0]) == 9
