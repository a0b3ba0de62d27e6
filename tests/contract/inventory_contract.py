"""What every Store must do: hosts, VMs and the pairs that they tell of."""

from __future__ import annotations

import dataclasses

from tests.batches import START_S, a_mitigation, a_score, a_tick, a_vm
from tests.stored import H1, H2, at_home, host_record, put_fleet

from evenkeel.domain.ids import TenantId, VmId
from evenkeel.ports_store import Store
from evenkeel.records import (
    Claim,
    MitigationRecord,
    PairsPassed,
)


class InventoryContract:
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
