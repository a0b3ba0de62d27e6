"""From slots to forecasts, and what happens when things break."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from tests.batches import ManualClock
from tests.history_data import (
    DAY_S,
    T0,
    MemoryHistory,
    MemoryRegistry,
    MemoryShelf,
    a_model,
    a_rollup,
)

from evenkeel.adapters.history.shelf import ParquetShelf
from evenkeel.adapters.store.store import SqlStore
from evenkeel.config import ForecastConfig
from evenkeel.controller.forecasting import ForecastService
from evenkeel.controller.rollup import RollUps
from evenkeel.controller.serving import new_tracker
from evenkeel.domain.errors import (
    ClusterLost,
    ForecastUnavailable,
    HistoryUnavailable,
    ModelCorrupt,
)
from evenkeel.domain.ids import VmId
from evenkeel.domain.resources import AXIS, Resource
from evenkeel.forecast.empirical import Empirical, FittedEmpirical
from evenkeel.forecast.workers import IN_TURN

CPU = Resource.CPU


class Broken(Empirical):
    def load(self, blob: bytes) -> FittedEmpirical:
        return BrokenFitted()


class BrokenFitted(FittedEmpirical):
    def predict(self, panel, targets):
        raise RuntimeError("it is broken")


class Crossing(FittedEmpirical):
    def predict(self, panel, targets):
        forecast = FittedEmpirical().predict(panel, targets)
        forecast.values[..., 0] = 1e9
        return forecast


@pytest.fixture
def registry() -> MemoryRegistry:
    return MemoryRegistry()


@pytest.fixture
def service(
    store: SqlStore, history: MemoryHistory, registry: MemoryRegistry, clock: ManualClock
) -> ForecastService:
    return a_service(store, history, registry, clock)


class Cluster:
    """A cluster that can be reached, or not."""

    def __init__(self) -> None:
        self.is_there, self.n_asked = True, 0

    def map(self, do, items, report=lambda *_: None):
        self.n_asked += 1
        if not self.is_there:
            raise ClusterLost("the cluster is gone")
        return IN_TURN.map(pickle.loads(pickle.dumps(do)), pickle.loads(pickle.dumps([*items])))


def a_service(
    store, history, registry, clock, shelf=None, cluster=None, **settings
) -> ForecastService:
    return ForecastService(
        source=history,
        registry=registry,
        shelf=shelf or MemoryShelf(),
        forecaster=lambda name: {"empirical": Empirical, "broken": Broken}[name](),
        store=store,
        clock=clock,
        settings=ForecastConfig(context_hours=24, **settings),
        history=history,
        rollups=RollUps(store, history, clock, 300, 20.0, 24.0),
        cluster=cluster,
    )


def fill(history: MemoryHistory, n_slots: int = 24) -> None:
    rng = np.random.default_rng(1)
    for slot in range(n_slots):
        history.append(a_rollup(slot, {"vm1": rng.gamma(2), "vm2": 2.0}))


def events(store: SqlStore) -> list[str]:
    with store.read() as session:
        return [record.event.kind for record in session.chronicle.events()][::-1]


class TestForecasts:
    def test_each_slot_every_vm_is_forecast_on_all_resources(
        self, service: ForecastService, history: MemoryHistory, clock: ManualClock
    ) -> None:
        fill(history)
        clock.now_s = T0 + 24 * 300 + 20
        assert service.run()
        assert not service.run()
        vector = service.vector(VmId("vm1"))
        assert tuple(vector.demands) == AXIS
        cpu = vector.demands[CPU]
        assert cpu.origin_s == T0 + 24 * 300
        assert cpu.horizons_s == (300, 600, 900, 1800, 3600, 10800, 21600, 43200, 86400)
        assert cpu.windows_s == (3600, 21600, 86400)
        assert cpu.model == "empirical"
        assert cpu.capacity == 4.0
        assert cpu.need(1, 3600) > 0.3
        steady = service.vector(VmId("vm2")).demands[CPU]
        np.testing.assert_allclose(steady.values, 2.0)
        assert steady.now == 2.0
        assert steady.need(1, 3600) <= 0.01 + 1e-6
        assert service.trouble() == []
        clock.now_s += 300
        assert service.run()

    def test_a_cluster_forecasts_while_it_can_be_reached(
        self,
        store: SqlStore,
        history: MemoryHistory,
        registry: MemoryRegistry,
        clock: ManualClock,
        service: ForecastService,
    ) -> None:
        fill(history, 27)
        cluster = Cluster()
        there = a_service(store, history, registry, clock, cluster=cluster)
        for slot, is_there in ((24, True), (25, False), (26, True)):
            clock.now_s, cluster.is_there, cluster.n_asked = T0 + slot * 300 + 20, is_there, 0
            assert service.run()
            assert there.run()
            ours, theirs = (each.vector(VmId("vm1")).demands[CPU] for each in (service, there))
            np.testing.assert_array_equal(ours.values, theirs.values)
            assert cluster.n_asked == (4 if is_there else 1), "not again for each resource"
            assert bool(there.trouble()) != is_there
        assert events(store) == ["forecast_failed", "forecast_recovered"]

    def test_a_vm_that_was_silent_for_long_is_not_forecast(
        self, service: ForecastService, history: MemoryHistory, clock: ManualClock
    ) -> None:
        fill(history, 3)
        history.append(a_rollup(20, {"new": 1.0}))
        clock.now_s = T0 + 21 * 300 + 20
        service.run()
        assert service.vector(VmId("new")).demands[CPU].values.shape == (9, 9)
        with pytest.raises(ForecastUnavailable, match="vm1"):
            service.vector(VmId("vm1"))

    def test_without_history_there_is_nothing_and_no_trouble(
        self, service: ForecastService
    ) -> None:
        service.run()
        assert service.trouble() == []
        with pytest.raises(ForecastUnavailable):
            service.vector(VmId("vm1"))

    def test_the_champion_serves_and_a_damaged_one_gives_way_to_the_former(
        self,
        store: SqlStore,
        service: ForecastService,
        history: MemoryHistory,
        registry: MemoryRegistry,
        clock: ManualClock,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        fill(history)
        ids = []
        for k in range(2):
            blob = Empirical().load(b'{"window_s": %d, "pools": {}}' % (3600 * (k + 1))).save()
            info = a_model(blob, at_s=T0 + k)
            registry.add(info, blob)
            ids.append(registry.promote(info.id).info.id)
        clock.now_s = T0 + 24 * 300 + 20
        service.run()
        assert service.vector(VmId("vm1")).demands[CPU].model == ids[1]
        assert service.vector(VmId("vm1")).demands[Resource.NET].model == "empirical"
        service._serving._loaded.clear()
        whole = registry.blob

        def damaged(model_id: str) -> bytes:
            if model_id == ids[1]:
                raise ModelCorrupt(f"{model_id} is damaged")
            return whole(model_id)

        monkeypatch.setattr(registry, "blob", damaged)
        for _ in range(3):
            clock.now_s += 300
            history.append(a_rollup(int((clock.now_s - T0) // 300 - 1)))
            service.run()
        assert service.vector(VmId("vm1")).demands[CPU].model == ids[0]
        assert events(store).count("forecast_failed") == 1
        assert service.trouble() == [f"forecasts: {ids[1]} is damaged"]
        registry.rollback(CPU)
        clock.now_s += 300
        service.run()
        assert service.trouble() == []

    @pytest.mark.parametrize("fault", ["raises", "crosses"])
    def test_a_champion_that_fails_is_stood_in_for(
        self,
        store: SqlStore,
        service: ForecastService,
        history: MemoryHistory,
        registry: MemoryRegistry,
        clock: ManualClock,
        monkeypatch: pytest.MonkeyPatch,
        fault: str,
    ) -> None:
        if fault == "crosses":
            monkeypatch.setattr(Broken, "load", lambda self, blob: Crossing())
        fill(history)
        info = a_model(b"x", forecaster="broken")
        registry.add(info, b"x")
        registry.promote(info.id)
        clock.now_s = T0 + 24 * 300 + 20
        service.run()
        assert service.vector(VmId("vm1")).demands[CPU].model == "empirical"
        assert events(store) == ["forecast_failed"]
        assert service.figures.counts["failed_champion"] == 1
        registry.rollback(CPU)
        clock.now_s += 300
        service.run()

    def test_a_broken_source_is_told_once_and_tried_again(
        self,
        store: SqlStore,
        service: ForecastService,
        history: MemoryHistory,
        clock: ManualClock,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        fill(history)
        clock.now_s = T0 + 24 * 300 + 20

        def broken(*args: object) -> None:
            raise HistoryUnavailable("the disk is gone")

        with monkeypatch.context() as patch:
            patch.setattr(history, "panel", broken)
            assert service.run()
            assert not service.run()
            clock.now_s += 31
            assert service.run()
        assert events(store) == ["forecast_failed"] * 4
        clock.now_s += 31
        assert service.run()
        assert events(store) == ["forecast_failed"] * 4 + ["forecast_recovered"] * 4
        assert service.vector(VmId("vm1"))

    def test_a_restarted_controller_shows_the_last_forecast(
        self,
        store: SqlStore,
        history: MemoryHistory,
        registry: MemoryRegistry,
        clock: ManualClock,
    ) -> None:
        shelf = MemoryShelf()
        fill(history)
        clock.now_s = T0 + 24 * 300 + 20
        a_service(store, history, registry, clock, shelf).run()
        again = a_service(store, MemoryHistory(), registry, clock, shelf)
        assert again.vector(VmId("vm2")).demands[CPU].now == 2.0
        assert again.age_s(CPU) == 20
        assert not again.run()

    def test_old_history_is_forgotten(
        self,
        store: SqlStore,
        history: MemoryHistory,
        registry: MemoryRegistry,
        clock: ManualClock,
    ) -> None:
        fill(history, 2)
        clock.now_s = T0 + 3 * DAY_S
        a_service(store, history, registry, clock, retention_days=1).run()
        assert not history.slots(T0, T0 + DAY_S)


def run_slots(service: ForecastService, history: MemoryHistory, clock: ManualClock, slots) -> None:
    rng = np.random.default_rng(2)
    for slot in slots:
        history.append(a_rollup(slot, {f"vm{k}": rng.gamma(2.0 + slot / 9) for k in range(40)}))
        clock.now_s = T0 + (slot + 1) * 300 + 20
        service.run()


class TestCalibrationSurvives:
    """What the calibration learnt goes on after a restart."""

    def shift(self, service: ForecastService) -> np.ndarray:
        return service._serving._trackers[CPU][1].calibration.shift

    def test_a_restart_changes_nothing(
        self,
        store: SqlStore,
        history: MemoryHistory,
        registry: MemoryRegistry,
        clock: ManualClock,
        tmp_path: Path,
    ) -> None:
        shelf = ParquetShelf(tmp_path / "forecasts")
        through = a_service(store, history, registry, clock, shelf)
        run_slots(through, history, clock, range(31))  # kept with slots 0, 6, ... 30
        learnt = self.shift(through).copy()
        assert np.abs(learnt).max() > 0
        again = a_service(store, history, registry, clock, ParquetShelf(tmp_path / "forecasts"))
        run_slots(again, history, clock, [31])
        run_slots(through, history, clock, [31])
        known = shelf.calibration(CPU, "empirical")
        assert known is not None
        tracker = new_tracker(CPU, again._targets)
        tracker.load(known, 300.0)
        np.testing.assert_array_equal(tracker.calibration.shift, learnt)
        odds_shift = through._serving._trackers[CPU][1].calibration.odds_shift
        np.testing.assert_array_equal(tracker.calibration.odds_shift, odds_shift)
        moved = np.abs(self.shift(again) - learnt).max()
        assert 0 < moved < 0.2
        assert events(store) == []

    def test_of_another_model_it_starts_anew_and_goes_on_when_the_former_serves_again(
        self,
        store: SqlStore,
        service: ForecastService,
        history: MemoryHistory,
        registry: MemoryRegistry,
        clock: ManualClock,
    ) -> None:
        run_slots(service, history, clock, range(31))
        learnt = self.shift(service).copy()
        info = a_model(b'{"window_s": 3600, "pools": {}}')
        registry.add(info, b'{"window_s": 3600, "pools": {}}')
        registry.promote(info.id)
        run_slots(service, history, clock, [31])
        assert np.abs(self.shift(service)).max() == 0
        registry.rollback(CPU)
        run_slots(service, history, clock, [32])
        assert np.abs(self.shift(service) - learnt).max() < np.abs(learnt).max()

    @pytest.mark.parametrize("damage", [b"", b"PK", b"not an archive at all"])
    def test_a_damaged_one_is_told_once_and_started_anew(
        self,
        store: SqlStore,
        history: MemoryHistory,
        registry: MemoryRegistry,
        clock: ManualClock,
        damage: bytes,
    ) -> None:
        shelf = MemoryShelf()
        run_slots(a_service(store, history, registry, clock, shelf), history, clock, range(10))
        shelf.calibrations[CPU, "empirical"] = damage
        again = a_service(store, history, registry, clock, shelf)
        run_slots(again, history, clock, range(10, 20))
        assert events(store).count("forecast_failed") == 1
        assert again.trouble() == []
        assert again.vector(VmId("vm1")).demands[CPU].model == "empirical"
        assert shelf.calibrations[CPU, "empirical"] != damage
