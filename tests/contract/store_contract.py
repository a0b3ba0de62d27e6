"""What every Store must do. Subclasses say how to open one; the tests are the same."""

from __future__ import annotations

import dataclasses
import math
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.batches import START_S, a_mitigation, a_score, a_tick, a_vm, an_event

from evenkeel.domain.events import Event, Severity
from evenkeel.domain.host import Host, Mode
from evenkeel.domain.ids import HostId, TenantId, VmId
from evenkeel.domain.plan import MitigationState
from evenkeel.domain.reliability import BinSums
from evenkeel.domain.resources import Resource
from evenkeel.domain.score import Deviation
from evenkeel.domain.vm import Vm
from evenkeel.ports_store import Session, Store
from evenkeel.records import (
    BatchSource,
    Claim,
    HostRecord,
    MitigationRecord,
    PairsPassed,
    TokenRecord,
    VmRecord,
)

H1, H2 = HostId("h1"), HostId("h2")


def host_record(name: str = "h1", seen_s: float = START_S, **fields: object) -> HostRecord:
    host = Host(HostId(name), (0, 1), 4096.0)
    return HostRecord(host, "e1", 1, seen_s, seen_s, Mode.ADVISE, **fields)  # type: ignore[arg-type]


def at_home(vm: Vm, host: str | None = "h1") -> VmRecord:
    home = HostId(host) if host else None
    return VmRecord(vm, home, home, home or H1)


def put_fleet(session: Session) -> None:
    """h1 with web1 (shop), web2 (shop), batch7 (bank); h2 with db1 (bank)."""
    for name in ("h1", "h2"):
        session.inventory.put_host(host_record(name))
    session.inventory.put_vms(
        [
            at_home(a_vm("web1", "shop")),
            at_home(a_vm("web2", "shop")),
            at_home(a_vm("batch7", "bank")),
            at_home(a_vm("db1", "bank"), "h2"),
        ]
    )


class StoreContract:
    # --- transactions ---

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

    def test_what_raises_is_undone_and_the_savepoint_undoes_its_part_alone(
        self, store: Store
    ) -> None:
        with store.write() as session:
            session.inventory.put_host(host_record("h1"))
            with pytest.raises(RuntimeError), session.savepoint():  # noqa: PT012
                session.inventory.put_host(host_record("h2"))
                raise RuntimeError("in the middle")
        with pytest.raises(RuntimeError), store.write() as session:  # noqa: PT012
            session.inventory.put_host(host_record("h3"))
            raise RuntimeError("in the middle")
        with store.read() as session:
            assert [record.host.id for record in session.inventory.hosts()] == ["h1"]

    def test_a_reader_sees_one_state_while_a_writer_commits(self, store: Store) -> None:
        with store.write() as session:
            session.inventory.put_host(host_record("h1"))
        with store.read() as reader:
            assert len(reader.inventory.hosts()) == 1
            with store.write() as session:
                session.inventory.put_host(host_record("h2"))
            assert len(reader.inventory.hosts()) == 1
        with store.read() as reader:
            assert len(reader.inventory.hosts()) == 2

    def test_writers_queue_and_none_is_lost(self, store: Store) -> None:
        inside = threading.Semaphore(1)

        def write(k: int) -> None:
            with store.write() as session:
                assert inside.acquire(blocking=False), "two writers at once"
                session.chronicle.add_events([Event(float(k), "written", "x")])
                inside.release()

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(write, range(40)))
        with store.read() as session:
            assert {e.event.at_s for e in session.chronicle.events()} == set(range(40))

    # --- inventory ---

    def test_a_host_comes_back_as_it_went_in_and_is_replaced(self, store: Store) -> None:
        record = host_record(tick=a_tick([a_vm("web1")], 7.0, loss=None), tick_epoch="e1")
        with store.write() as session:
            session.inventory.put_host(host_record(seen_s=1.0))
            session.inventory.put_host(record)
        with store.read() as session:
            assert session.inventory.host(H1) == record
            assert session.inventory.host(H2) is None
            assert session.inventory.hosts(after="h1") == []

    def test_claims_are_replaced_per_host_and_carry_the_time_of_its_tick(
        self, store: Store
    ) -> None:
        a, b = VmId("a"), VmId("b")
        with store.write() as session:
            session.inventory.put_host(host_record("h1", tick=a_tick([], 10.0)))
            session.inventory.put_host(host_record("h2", tick=a_tick([], 20.0)))
            session.inventory.replace_claims(H1, {a: True, b: True})
            session.inventory.replace_claims(H2, {a: False})
            assert session.inventory.claims([a]) == [
                Claim(a, H1, True, 10.0),
                Claim(a, H2, False, 20.0),
            ]
            session.inventory.replace_claims(H1, {b: False})
            assert session.inventory.claims_of(H1) == [Claim(b, H1, False, 10.0)]
            assert session.inventory.claims([a]) == [Claim(a, H2, False, 20.0)]

    def test_vms_are_listed_by_name_in_pages_filtered_and_without_departed_ones(
        self, store: Store
    ) -> None:
        with store.write() as session:
            put_fleet(session)
            session.inventory.put_vms([at_home(a_vm("gone", "shop"), None)])
        with store.read() as session:
            vms = session.inventory.vms
            every = [record.vm.name for record in vms(None, None)]
            assert every == ["batch7", "db1", "web1", "web2"]
            first = vms(None, None, limit=3)
            rest = vms(None, None, (first[-1].vm.name, first[-1].vm.id), limit=3)
            assert [record.vm.name for record in first + rest] == every
            assert [r.vm.name for r in vms(H1, TenantId("shop"))] == ["web1", "web2"]
            assert [r.vm.name for r in session.inventory.vms_named("web1", None)] == ["web1"]
            assert session.inventory.vms_named("web1", TenantId("bank")) == []
            assert session.inventory.vms_named("gone", None) == []
            assert VmId("id-gone") in session.inventory.vms_by_id([VmId("id-gone")])

    def test_names_sort_by_bytes(self, store: Store) -> None:
        names = ["B", "a", "_", "é", "Z1", "z"]
        with store.write() as session:
            session.inventory.put_host(host_record("h1"))
            session.inventory.put_vms([at_home(a_vm(name)) for name in names])
            listed = [record.vm.name for record in session.inventory.vms(None, None)]
        assert listed == sorted(names, key=str.encode)

    def test_pairs_come_worst_first_in_pages_even_with_equal_scores(self, store: Store) -> None:
        scores = [
            a_score("web1", "batch7", 36),
            a_score("web2", "batch7", 20),
            a_score("batch7", "web1", 20),
            a_score("batch7", "web2", 20),
            a_score("web1", "web2", 3),
        ]
        with store.write() as session:
            put_fleet(session)
            session.inventory.replace_pairs(H1, scores, 5.0)
            worst = session.inventory.pairs()
            assert [record.score.score for record in worst] == [36, 20, 20, 20, 3]
            paged = session.inventory.pairs(limit=2)
            paged += session.inventory.pairs(after=PairsPassed(20.0, 1), limit=2)
            paged += session.inventory.pairs(after=PairsPassed(20.0, 3), limit=2)
            assert paged == worst
            session.inventory.replace_pairs(H1, scores[:1], 6.0)
            assert [(r.score, r.at_s) for r in session.inventory.pairs()] == [(scores[0], 6.0)]

    def test_pairs_filter_by_tenant_side_score_and_life(self, store: Store) -> None:
        with store.write() as session:
            put_fleet(session)
            session.inventory.replace_pairs(
                H1, [a_score("web1", "batch7", 36), a_score("batch7", "web2", 2)], 5.0
            )
            session.inventory.replace_pairs(H2, [a_score("db1", "db1", 50)], 5.0)
            pairs = session.inventory.pairs
            assert [r.score.score for r in pairs(tenant=TenantId("shop"))] == [36, 2]
            assert [r.score.score for r in pairs(victims=[VmId("id-web1")])] == [36]
            assert [r.score.score for r in pairs(aggressors=[VmId("id-web2")])] == [2]
            assert [r.score.score for r in pairs(min_score=40)] == [50]
            session.inventory.put_host(host_record("h2", seen_s=START_S - 100))
            assert [r.score.score for r in pairs(alive_since_s=START_S - 50)] == [36, 2]

    def test_scores_told_by_a_host_the_victim_left_do_not_count(self, store: Store) -> None:
        with store.write() as session:
            put_fleet(session)
            session.inventory.replace_pairs(H1, [a_score("web1", "batch7", 36)], 5.0)
            session.inventory.put_vms([at_home(a_vm("web1", "shop"), "h2")])
            assert session.inventory.pairs() == []

    def test_the_summary_counts_the_fleet_or_a_tenants_part(self, store: Store) -> None:
        with store.write() as session:
            put_fleet(session)
            session.inventory.put_host(host_record("h2", seen_s=START_S - 100))
            session.inventory.replace_pairs(H1, [a_score("web1", "batch7", 36)], 5.0)
            session.chronicle.put_mitigations([MitigationRecord(a_mitigation(), "e1", 1)])
            fleet = session.inventory.summary(None, START_S - 50, 20.0)
            assert (fleet.n_hosts, fleet.n_hosts_alive, fleet.n_vms) == (2, 1, 4)
            assert (fleet.n_pairs_above_threshold, fleet.n_open_mitigations) == (1, 1)
            shop = session.inventory.summary(TenantId("shop"), START_S - 50, 20.0)
            assert (shop.n_hosts, shop.n_vms, shop.n_open_mitigations) == (1, 2, 1)
            nobody = session.inventory.summary(TenantId("x"), START_S - 50, 20.0)
            assert (nobody.n_hosts, nobody.n_vms, nobody.n_open_mitigations) == (0, 0, 0)
            assert [t[0] for t in session.inventory.troubled_hosts(START_S - 50, 9)] == ["h2"]
            summaries = session.inventory.host_summaries([H1, H2])
            assert (summaries[H1].worst_score, summaries[H1].n_open_mitigations) == (36.0, 1)
            assert summaries[H2].worst_score == 0.0

    # --- history ---

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

    def test_pairs_of_several_horizons_stand_side_by_side(self, store: Store) -> None:
        web, now = a_vm("web1"), a_score("web1", "batch7")
        ahead = dataclasses.replace(now, horizon_s=60.0, score=50.0)
        with store.write() as session:
            session.inventory.put_host(host_record())
            session.inventory.put_vms([at_home(web)])
            session.inventory.replace_pairs(H1, [now, ahead], 1.0)
        with store.read() as session:
            pairs = session.inventory.pairs
            assert [each.score for each in pairs()] == [now]
            assert [each.score for each in pairs(horizon_s=60.0)] == [ahead]
            assert pairs(horizon_s=300.0) == []
            assert session.inventory.host_summaries([H1])[H1].worst_score == now.score
            assert session.inventory.summary(None, 0.0, 40.0).n_pairs_above_threshold == 0

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

    # --- chronicle ---

    def test_mitigations_are_found_by_host_role_tenant_and_state(self, store: Store) -> None:
        first = a_mitigation("m1", created_at_s=1.0)
        second = a_mitigation(
            "m2", MitigationState.ROLLED_BACK, "h2", "db1", "db1", created_at_s=2.0
        )
        with store.write() as session:
            put_fleet(session)
            session.chronicle.put_mitigations([MitigationRecord(first, "e1", 1)])
            session.chronicle.put_mitigations([MitigationRecord(second, "e1", 2)])
            find = session.chronicle.mitigations
            assert find() == [second, first]
            assert find(limit=1) == [second]
            assert find(before=(2.0, "h2", "m2")) == [first]
            assert find(host=H1) == [first]
            assert find(vm=VmId("id-db1")) == [second]
            assert find(open_only=True) == [first]
            assert find(tenant=TenantId("shop")) == [first]
            known = session.chronicle.mitigations_by_id(H1, [first.id, second.id])
            assert known == {first.id: MitigationRecord(first, "e1", 1)}

    def test_an_event_of_a_batch_is_kept_once_others_every_time(self, store: Store) -> None:
        event = Event(
            1.0, "seen", "text", Severity.WARNING, H1, VmId("id-web1"), {"n": 1, "b": None}
        )
        source = BatchSource(H1, "e1", 1)
        with store.write() as session:
            put_fleet(session)
            session.chronicle.add_events([event, event], source)
            session.chronicle.add_events([event, event], source)
            session.chronicle.add_events([an_event(vm=None)])
            session.chronicle.add_events([an_event(vm=None)])
        with store.read() as session:
            records = session.chronicle.events()
            assert len(records) == 4
            assert records[-1].event == event
            assert [r.id for r in records] == sorted((r.id for r in records), reverse=True)
            assert len(session.chronicle.events(before=records[1].id)) == 2
            assert len(session.chronicle.events(host=H1)) == 2
            assert len(session.chronicle.events(vm=VmId("id-web1"))) == 2
            assert len(session.chronicle.events(tenant=TenantId("shop"))) == 2
            assert session.chronicle.events(tenant=TenantId("bank")) == []

    # --- access ---

    def test_tokens_are_found_by_hash_and_revoked(self, store: Store) -> None:
        with store.write() as session:
            access = session.access
            access.add_token(TokenRecord("t1", "admin", "ann", 1.0), "aa")
            access.add_token(TokenRecord("t2", "agent", "h1", 2.0), "bb")
            access.revoke_token("t2", 5.0)
            access.revoke_token("t2", 6.0)
            revoked = TokenRecord("t2", "agent", "h1", 2.0, 5.0)
            assert access.token_by_hash("bb") == revoked
            assert access.token_by_id("t2") == revoked
            assert access.token_by_hash("cc") is None
            assert [t.id for t in access.tokens()] == ["t1", "t2"]
            assert [t.id for t in access.tokens(after=(1.0, "t1"))] == ["t2"]
            assert (access.n_valid_tokens("admin"), access.n_valid_tokens("agent")) == (1, 0)

    def test_modes_have_a_default_and_a_growing_version(self, store: Store) -> None:
        with store.write() as session:
            access = session.access
            assert (access.modes().version, access.modes().fleet) == (0, Mode.ADVISE)
            access.put_mode("fleet", "", Mode.ACT)
            access.put_mode("host", "h1", Mode.OBSERVE)
            access.put_mode("tenant", "shop", Mode.OBSERVE)
            access.put_mode("host", "h1", None)
            modes = access.modes()
            assert (modes.version, modes.fleet, modes.hosts) == (4, Mode.ACT, {})
            assert modes.tenants == {"shop": Mode.OBSERVE}
