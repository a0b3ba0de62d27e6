"""What taking batches in must do, whatever the store."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.batches import (
    START_S,
    ManualClock,
    a_batch,
    a_mitigation,
    a_score,
    a_vm,
    an_event,
)

from evenkeel.controller.ingest import Ingest
from evenkeel.controller.modes import ModeService
from evenkeel.controller.retention import prune_history
from evenkeel.domain.errors import StoreUnavailable
from evenkeel.domain.host import Mode
from evenkeel.domain.ids import HostId, VmId
from evenkeel.domain.plan import MitigationState
from evenkeel.domain.vm import VmState
from evenkeel.ports_store import Store
from evenkeel.wire import Batch, Health

H1 = HostId("h1")


def kinds(store: Store) -> list[str]:
    """Kinds of all events, oldest first."""
    with store.read() as session:
        return [record.event.kind for record in session.chronicle.events(limit=1000)][::-1]


def home(store: Store, name: str) -> str | None:
    with store.read() as session:
        return session.inventory.vms_by_id([VmId(f"id-{name}")])[VmId(f"id-{name}")].home


class IngestContract:
    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    @pytest.fixture
    def ingest(self, store: Store, clock: ManualClock) -> Ingest:
        return Ingest(store, clock)

    def test_a_batch_becomes_the_current_state(self, store: Store, ingest: Ingest) -> None:
        batch = a_batch(scores=(a_score("web1", "batch7"),), mitigations=(a_mitigation(),))
        reply = ingest.accept(batch)
        assert (reply.accepted, reply.duplicate) == (True, False)
        assert reply.server_time_s == START_S
        with store.read() as session:
            record = session.inventory.host(H1)
            assert record is not None
            assert record.tick == batch.tick
            assert [p.score for p in session.inventory.pairs()] == list(batch.scores)
            assert session.chronicle.mitigations() == [a_mitigation()]
        assert sorted(kinds(store)) == ["host_appeared", "vm_appeared", "vm_appeared"]

    def test_a_replay_changes_nothing(self, store: Store, ingest: Ingest) -> None:
        batch = a_batch(events=(an_event(), an_event("mitigation_expired")))
        ingest.accept(batch)
        before = kinds(store)
        reply = ingest.accept(batch)
        assert (reply.accepted, reply.duplicate) == (False, True)
        assert kinds(store) == before
        with store.read() as session:
            assert len(session.history.series(VmId("id-web1"), 0, 2e9).at_s) == 1

    def test_a_late_batch_adds_history_but_not_state(self, store: Store, ingest: Ingest) -> None:
        newest = a_batch(2, vms=("web1",), scores=(a_score("web1", "web1", 5.0),))
        ingest.accept(newest)
        late = a_batch(1, vms=("web1", "old"), scores=(a_score("web1", "old", 50.0),))
        assert ingest.accept(late).accepted
        with store.read() as session:
            assert [r.vm.name for r in session.inventory.vms(None, None)] == ["web1"]
            assert [p.score.score for p in session.inventory.pairs()] == [5.0]
            assert len(session.history.series(VmId("id-web1"), 0, 2e9).at_s) == 2

    def test_an_agent_restart_begins_a_new_epoch(self, store: Store, ingest: Ingest) -> None:
        ingest.accept(a_batch(7, epoch="e1", vms=("web1",)))
        assert ingest.accept(a_batch(1, epoch="e2", vms=("web2",))).accepted
        assert ingest.accept(a_batch(8, epoch="e1", vms=("web1",))).accepted
        with store.read() as session:
            assert [r.vm.name for r in session.inventory.vms(None, None)] == ["web2"]

    def test_without_a_tick_the_vms_stay_and_the_trouble_shows(
        self, store: Store, ingest: Ingest
    ) -> None:
        ingest.accept(a_batch(1))
        trouble = Health(hypervisor_ok=False, problem="hypervisor_timeout")
        ingest.accept(a_batch(2, vms=None, health=trouble))
        with store.read() as session:
            assert len(session.inventory.vms(H1, None)) == 2
            assert session.inventory.troubled_hosts(0.0, 9) == [
                ("h1", START_S, "hypervisor_timeout")
            ]
            assert session.inventory.pairs() == []

    def test_vms_appear_move_and_leave(self, store: Store, ingest: Ingest) -> None:
        ingest.accept(a_batch(1, "h1", ("web1", "other"), at_s=10))
        ingest.accept(a_batch(1, "h2", (a_vm("web1", state=VmState.PAUSED),), at_s=12))
        assert home(store, "web1") == "h1"  # the migration has only begun
        ingest.accept(a_batch(2, "h2", ("web1",), at_s=17))
        assert home(store, "web1") == "h2"
        ingest.accept(a_batch(2, "h1", ("other",), at_s=18))
        ingest.accept(a_batch(3, "h2", (), at_s=22))
        assert home(store, "web1") is None
        assert [k for k in kinds(store) if k.startswith("vm_")] == [
            *["vm_appeared"] * 2,
            "vm_moved",
            "vm_left",
        ]
        ingest.accept(a_batch(3, "h1", ("web1",), at_s=30))
        assert kinds(store)[-1] == "vm_moved"  # it was last seen on h2

    def test_a_dead_host_does_not_hold_its_vms(self, store: Store, ingest: Ingest) -> None:
        ingest.accept(a_batch(1, "h1", ("web1",), at_s=10))
        ingest.accept(a_batch(1, "h2", ("web1",), at_s=500))
        assert home(store, "web1") == "h2"
        assert kinds(store)[-1] == "vm_moved"

    def test_two_hosts_that_both_run_a_vm_do_not_flood_the_log(
        self, store: Store, ingest: Ingest
    ) -> None:
        for seq in range(1, 10):
            ingest.accept(a_batch(seq, "h1", ("web1",), at_s=seq * 5))
            ingest.accept(a_batch(seq, "h2", ("web1",), at_s=seq * 5 + 2))
        assert [k for k in kinds(store) if k.startswith("vm_")] == ["vm_appeared"]

    def test_a_mitigation_never_goes_back(self, store: Store, ingest: Ingest) -> None:
        done = a_mitigation(state=MitigationState.ROLLED_BACK, state_at_s=START_S + 60)
        ingest.accept(a_batch(5, mitigations=(done,)))
        ingest.accept(a_batch(4, mitigations=(a_mitigation(),)))
        ingest.accept(a_batch(6, mitigations=(a_mitigation(),)))
        with store.read() as session:
            assert session.chronicle.mitigations() == [done]

    def test_a_mitigation_advances_although_the_hosts_clock_went_back(
        self, store: Store, ingest: Ingest
    ) -> None:
        ingest.accept(a_batch(1, mitigations=(a_mitigation(state_at_s=5000.0),)))
        done = a_mitigation(state=MitigationState.VERIFIED, state_at_s=400.0)
        ingest.accept(a_batch(2, mitigations=(done,)))
        with store.read() as session:
            assert session.chronicle.mitigations() == [done]

    def test_hosts_cannot_touch_each_others_mitigations(self, store: Store, ingest: Ingest) -> None:
        ingest.accept(a_batch(1, "h1", mitigations=(a_mitigation(),)))
        forged = a_mitigation(host="h2", state=MitigationState.ROLLED_BACK)
        ingest.accept(a_batch(9, "h2", mitigations=(forged,)))
        with store.read() as session:
            assert session.chronicle.mitigations(host=H1) == [a_mitigation()]

    def test_a_fast_clock_is_told_once_and_shown_until_it_is_right(
        self, store: Store, ingest: Ingest, clock: ManualClock
    ) -> None:
        for seq, ahead_s in enumerate((3600, 3600, 20, 3600, 0, 0), 1):
            ingest.accept(a_batch(seq, sent_at_s=clock.now_s + ahead_s))
            clock.now_s += 5
            with store.read() as session:
                record = session.inventory.host(H1)
            assert record is not None
            assert record.skewed == (seq < 5)
        assert kinds(store).count("clock_skewed") == 1

    def test_a_slow_clock_is_told_but_an_emptied_spool_is_not(
        self, store: Store, ingest: Ingest, clock: ManualClock
    ) -> None:
        for seq in range(1, 4):
            ingest.accept(a_batch(seq, "slow", sent_at_s=clock.now_s - 3600))
            clock.now_s += 5
        for seq in range(1, 60):
            ingest.accept(a_batch(seq, "spooled", sent_at_s=START_S - 300 + seq * 5))
            clock.now_s += 0.01
        with store.read() as session:
            skewed = [r.host.id for r in session.inventory.hosts() if r.skewed]
        assert skewed == ["slow"]
        assert kinds(store).count("clock_skewed") == 1

    def test_a_pruned_batch_is_a_duplicate_but_its_news_is_not_lost(
        self, store: Store, ingest: Ingest, clock: ManualClock
    ) -> None:
        ingest.accept(a_batch(1))
        ingest.accept(a_batch(3))
        clock.now_s += 7200
        assert prune_history(store, clock, history_hours=1.0) == 2
        late = a_batch(2, events=(an_event("mitigation_applied"),), mitigations=(a_mitigation(),))
        for _ in range(2):
            assert ingest.accept(late).duplicate
        assert kinds(store).count("mitigation_applied") == 1
        with store.read() as session:
            assert session.chronicle.mitigations() == [a_mitigation()]

    def test_the_reply_carries_the_policy_of_the_moment(
        self, store: Store, ingest: Ingest, clock: ManualClock
    ) -> None:
        modes = ModeService(store, clock)
        assert ingest.accept(a_batch(1)).policy.mode is Mode.ADVISE
        modes.set_mode(Mode.ACT, None, None, who="ann")
        modes.set_mode(Mode.OBSERVE, "h1", None, who="ann")
        modes.set_mode(Mode.OBSERVE, None, "shop", who="ann")
        here = ingest.accept(a_batch(2)).policy
        there = ingest.accept(a_batch(1, "h2")).policy
        assert (here.mode, there.mode, here.version) == (Mode.OBSERVE, Mode.ACT, 3)
        assert here.tenant_modes == {"shop": Mode.OBSERVE}
        assert ingest.accept(a_batch(2)).policy.mode is Mode.OBSERVE  # to a duplicate too
        assert kinds(store).count("mode_set") == 3

    def test_many_threads_at_once_lose_nothing_and_share_commits(
        self, store: Store, ingest: Ingest
    ) -> None:
        batches = [a_batch(seq, f"h{k}", (f"vm{k}",)) for seq in range(1, 9) for k in range(8)]
        with ThreadPoolExecutor(16) as pool:
            replies = list(pool.map(ingest.accept, batches))
        assert all(reply.accepted for reply in replies)
        assert ingest.counts["accepted"] == len(batches) >= ingest.counts["commits"]
        with store.read() as session:
            for k in range(8):
                assert len(session.history.series(VmId(f"id-vm{k}"), 0, 2e9).at_s) == 8
                record = session.inventory.host(HostId(f"h{k}"))
                assert record is not None
                assert record.seq == 8

    def test_a_batch_that_fails_does_not_take_its_group_along(
        self, store: Store, ingest: Ingest, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = ingest._take

        def take(session: object, batch: Batch) -> object:
            reply = whole(session, batch)  # type: ignore[arg-type]
            if batch.host.id == "broken":
                raise RuntimeError("a bug")
            return reply

        monkeypatch.setattr(ingest, "_take", take)
        batches = [a_batch(1, name) for name in ("a", "broken", "b", "c")]
        with ThreadPoolExecutor(4) as pool:
            futures = [pool.submit(ingest.accept, batch) for batch in batches]
        with pytest.raises(RuntimeError, match="a bug"):
            futures[1].result()
        with store.read() as session:
            assert [record.host.id for record in session.inventory.hosts()] == ["a", "b", "c"]

    def test_a_store_that_fails_acknowledges_nothing(
        self, store: Store, ingest: Ingest, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = ingest._take

        def take(session: object, batch: Batch) -> object:
            whole(session, batch)  # type: ignore[arg-type]
            raise StoreUnavailable("disk full")

        monkeypatch.setattr(ingest, "_take", take)
        with pytest.raises(StoreUnavailable):
            ingest.accept(a_batch(1))
        monkeypatch.undo()
        assert ingest.accept(a_batch(1)).accepted
