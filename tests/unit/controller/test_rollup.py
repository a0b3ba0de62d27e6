"""From agents' ticks to slots."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from tests.batches import ManualClock, a_batch, a_tick, a_vm
from tests.history_data import (
    T0,
    MemoryHistory,
)

from evenkeel.adapters.store.store import SqlStore
from evenkeel.controller.ingest import Ingest
from evenkeel.controller.rollup import RollUps
from evenkeel.domain.errors import (
    HistoryUnavailable,
)
from evenkeel.domain.resources import Resource

CPU = Resource.CPU
seqs = itertools.count(1)


@pytest.fixture
def rollups(store: SqlStore, history: MemoryHistory, clock: ManualClock) -> RollUps:
    return RollUps(store, history, clock, 300, 20.0, 24.0)


def tell(
    store: SqlStore,
    clock: ManualClock,
    at_s: float,
    vms: tuple[str, ...] = ("web1",),
    host: str = "h1",
    **tick: float,
) -> None:
    """One tick of a host, received now."""
    batch = a_batch(
        next(seqs), host, None, tick=a_tick([a_vm(vm) for vm in vms], at_s, **tick), sent_at_s=at_s
    )
    Ingest(store, clock).accept(batch)


class TestRollUps:
    def test_a_complete_slot_becomes_means_peaks_and_shares(
        self, store: SqlStore, history: MemoryHistory, rollups: RollUps, clock: ManualClock
    ) -> None:
        tell(store, clock, T0 + 5)
        tell(store, clock, T0 + 10, loss=0.5)
        tell(store, clock, T0 + 15, ("web1", "batch7"), loss=None)
        tell(store, clock, T0 + 300)
        tell(store, clock, T0 + 905)
        clock.now_s = T0 + 1030
        assert rollups.run() == [T0, T0 + 300]
        rollup = history._slots[T0]
        assert rollup.ids == ("id-web1", "id-batch7")
        assert rollup.n_ticks.tolist() == [3, 1]
        np.testing.assert_allclose(rollup.demand[0], [1, 100, 0, np.nan])
        np.testing.assert_allclose(rollup.peak[1], [1, 100, 0, np.nan])
        np.testing.assert_allclose(rollup.loss[:, 0], [0.25, np.nan])
        np.testing.assert_allclose(rollup.censored[:, 0], [1 / 3, 0])
        np.testing.assert_allclose(rollup.capacity[0], [1, 128, np.nan, np.nan])
        assert rollup.kinds == ("default/1x128MiB",) * 2
        clock.now_s = T0 + 1219
        assert rollups.run() == []
        clock.now_s = T0 + 1220
        assert rollups.run() == [T0 + 900]
        assert rollups.run() == []

    def test_a_slot_is_rolled_up_again_for_late_batches_and_not_for_nothing(
        self, store: SqlStore, history: MemoryHistory, rollups: RollUps, clock: ManualClock
    ) -> None:
        tell(store, clock, T0 + 5)
        clock.now_s = T0 + 2000
        assert rollups.run() == [T0]
        again = RollUps(store, history, clock, 300, 20.0, 24.0)
        assert again.run() == []
        clock.now_s = T0 + 9000
        tell(store, clock, T0 + 10, ("late",), host="h2")
        for each in (rollups, again):
            clock.now_s += 30
            assert each.run() == ([T0] if each is rollups else [])
        assert history._slots[T0].ids == ("id-web1", "id-late")

    def test_what_the_store_forgot_stays_in_the_history(
        self, store: SqlStore, history: MemoryHistory, rollups: RollUps, clock: ManualClock
    ) -> None:
        for k in range(3):
            tell(store, clock, T0 + 5 * k)
        clock.now_s = T0 + 2000
        rollups.run()
        with store.write() as session:
            session.history.prune(T0 + 3000, 100)
        tell(store, clock, T0 + 20)
        clock.now_s += 30
        assert rollups.run() == [T0]
        assert history._slots[T0].n_ticks.tolist() == [3]

    def test_a_full_disk_is_tried_again(
        self, store: SqlStore, history: MemoryHistory, rollups: RollUps, clock: ManualClock
    ) -> None:
        tell(store, clock, T0 + 5)
        tell(store, clock, T0 + 305)
        history.broken = HistoryUnavailable("full")
        for _ in range(2):
            with pytest.raises(HistoryUnavailable):
                rollups.run()
            clock.now_s += 300
        history.broken = None
        assert rollups.run() == [T0, T0 + 300]

    def test_many_hosts_are_read_in_pieces(
        self,
        store: SqlStore,
        history: MemoryHistory,
        rollups: RollUps,
        clock: ManualClock,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("evenkeel.controller.rollup.CHUNK", 2)
        for k in range(5):
            tell(store, clock, T0 + 5, (f"vm{k}",), host=f"h{k}")
        rollups.run()
        assert len(history._slots[T0].ids) == 5

    def test_a_vm_that_moved_within_the_slot_is_one(
        self, store: SqlStore, history: MemoryHistory, rollups: RollUps, clock: ManualClock
    ) -> None:
        tell(store, clock, T0 + 5)
        tell(store, clock, T0 + 10, host="h2")
        rollups.run()
        assert history._slots[T0].n_ticks.tolist() == [2]
        assert history._slots[T0].demand[0, 0] == 1.0

    def test_a_vm_counts_for_the_host_that_had_it_last_in_whatever_order_they_tell(
        self, store: SqlStore, history: MemoryHistory, rollups: RollUps, clock: ManualClock
    ) -> None:
        tell(store, clock, T0 + 10, ("web1",), host="h2")
        tell(store, clock, T0 + 5, ("web1", "batch7"), host="h1")
        tell(store, clock, T0 + 12, ("batch7",), host="h1")
        rollups.run()
        rollup = history._slots[T0]
        where = dict(zip(rollup.ids, rollup.hosts, strict=True))
        assert where == {"id-web1": "h2", "id-batch7": "h1"}
