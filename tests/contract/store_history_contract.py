"""What every Store must do: the batches that came, and sums of how reliable scores were."""

from __future__ import annotations

import math

import pytest
from tests.batches import START_S, a_tick, a_vm
from tests.stored import H1, H2

from evenkeel.domain.ids import HostId, VmId
from evenkeel.domain.reliability import BinSums
from evenkeel.domain.resources import Resource
from evenkeel.domain.score import Deviation
from evenkeel.ports_store import Store
from evenkeel.records import (
    BatchSource,
)


class StoreHistoryContract:
    def test_ticks_by_slot_come_with_their_rosters(self, store: Store) -> None:
        both = [a_vm("web1"), a_vm("batch7")]
        told = [
            ("h1", 1, 0.0, both),
            ("h1", 2, 299.9, both),
            ("h1", 3, 300.0, both[:1]),
            ("h2", 4, 10.0, both[1:]),
        ]
        slot_s = int(START_S // 300 * 300)
        with store.write() as session:
            for host, seq, at_s, vms in told:
                tick = a_tick(vms, slot_s + at_s)
                source = BatchSource(HostId(host), "e1", seq)
                session.history.add(source, START_S + seq, tick, ())
            session.history.add(BatchSource(H1, "e1", 9), START_S + 99, None, ())
        with store.read() as session:
            arrivals = session.history.arrivals
            assert arrivals(START_S, 300) == {slot_s: START_S + 4, slot_s + 300: START_S + 3}
            assert arrivals(START_S + 4, 300) == {slot_s: START_S + 4}
            assert arrivals(START_S + 5, 300) == {}
            found = session.history.ticks(slot_s, slot_s + 300)
            shapes = [(r.host, r.vms, r.values.shape) for r in found]
            assert shapes == [
                (H1, ("id-web1", "id-batch7"), (2, 4, 2, 4)),
                (H1, ("id-web1",), (0, 4, 1, 4)),
                (H2, ("id-batch7",), (1, 4, 1, 4)),
            ]
            assert found[0].at_s.tolist() == [slot_s, slot_s + 299.9]
            assert found[0].values[0, 0, 1].tolist()[:3] == [1.0, 100.0, 0.0]
            assert math.isnan(found[0].values[0, 0, 1, 3])
            first = session.history.ticks(slot_s, slot_s + 300, limit=2)
            rest = session.history.ticks(slot_s, slot_s + 300, after=first[-1].id, limit=2)
            assert [r.id for r in first + rest] == [r.id for r in found]

    def test_a_series_follows_a_vm_through_rosters_and_hosts(self, store: Store) -> None:
        web, other = a_vm("web1"), a_vm("batch7")
        with store.write() as session:
            add = session.history.add
            add(BatchSource(H1, "e1", 1), 1.0, a_tick([web], 10.0, 0.1), ())
            add(BatchSource(H1, "e1", 2), 2.0, a_tick([other, web], 15.0, 0.2), ())
            add(BatchSource(H1, "e1", 3), 3.0, None, ())
            add(BatchSource(H2, "e9", 1), 4.0, a_tick([web], 20.0, None), ())
        with store.read() as session:
            series = session.history.series(web.id, 0.0, 100.0)
            assert series.at_s.tolist() == [10.0, 15.0, 20.0]
            losses = series.values[:, 2, 0]
            assert losses[:2] == pytest.approx([0.1, 0.2])
            assert math.isnan(losses[2])
            assert session.history.series(web.id, 15.0, 15.0).at_s.tolist() == [15.0]
            assert session.history.series(VmId("nobody"), 0.0, 100.0).at_s.tolist() == []

    def test_deviations_are_kept_per_vm_newest_first(self, store: Store) -> None:
        web = a_vm("web1")
        found = Deviation(web.id, Resource.CPU, 0.1, 0.3, 60.0)
        with store.write() as session:
            for seq in (1, 2, 3):
                tick = a_tick([web], 10.0 * seq)
                told = [found] if seq != 2 else []
                session.history.add(BatchSource(H1, "e1", seq), 1.0, tick, told)
            records = session.history.deviations(web.id, 5)
        assert [(record.at_s, record.deviation) for record in records] == [
            (30.0, found),
            (10.0, found),
        ]

    def test_reliability_adds_up_by_hour_for_the_host_and_the_fleet(self, store: Store) -> None:
        one = BinSums(2, 20_000, 30_000, 5, 1, 1e8, 2e4, 4)
        cpu, disk = Resource.CPU, Resource.IOPS
        with store.write() as session:
            add = session.reliability.add
            add(H1, 0, cpu, 5.0, {0: one, 3: one})
            add(H1, 0, cpu, 5.0, {3: one})
            add(H1, 3600, cpu, 60.0, {3: one})
            add(H2, 3600, disk, 5.0, {3: one})
            add(H2, 3600, disk, 5.0, {})
        with store.read() as session:
            sums = session.reliability.sums
            assert sums(0.0, H1) == {(5.0, cpu): {0: one, 3: one + one}, (60.0, cpu): {3: one}}
            assert sums(0.0) == sums(0.0, H1) | {(5.0, disk): {3: one}}
            assert sums(3599.0, H1, horizon_s=5.0) == {(5.0, cpu): {0: one, 3: one + one}}
            assert sums(3600.0, H1) == {(60.0, cpu): {3: one}}
            assert sums(0.0, resource=disk) == {(5.0, disk): {3: one}}
            assert sums(0.0, HostId("h3")) == {}
        with store.write() as session:
            assert session.reliability.prune(3599.0) == 0
            assert session.reliability.prune(3600.0) == 4
            assert session.reliability.sums(0.0, H1) == {(60.0, cpu): {3: one}}

    def test_pruned_batches_are_still_known(self, store: Store) -> None:
        vm = a_vm("web1")
        with store.write() as session:
            for seq in (1, 2, 3, 4):
                source = BatchSource(H1, "e1", seq)
                session.history.add(source, float(seq), a_tick([vm], float(seq)), ())
        with store.write() as session:
            assert session.history.prune(3.5, limit=2) == 2
            assert session.history.prune(3.5, limit=2) == 1
            assert session.history.prune(3.5, limit=2) == 0
            assert session.history.series(vm.id, 0, 9).at_s.tolist() == [4.0]
            for seq in (1, 2, 3, 4):
                assert session.history.knows(BatchSource(H1, "e1", seq))
            assert not session.history.knows(BatchSource(H1, "e1", 5))
            assert not session.history.knows(BatchSource(H1, "e0", 1))
            assert not session.history.knows(BatchSource(H2, "e1", 1))
            assert session.history.prune(9.0, limit=9) == 1
            # Its roster went with it, and comes back when it is needed again.
            session.history.add(BatchSource(H1, "e1", 5), 9.0, a_tick([vm], 9.0), ())
            assert session.history.series(vm.id, 0, 99).at_s.tolist() == [9.0]
