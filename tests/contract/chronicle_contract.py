"""What every Store must do: mitigations and events; tokens and modes."""

from __future__ import annotations

from tests.batches import a_mitigation, an_event
from tests.stored import H1, put_fleet

from evenkeel.domain.events import Event, Severity
from evenkeel.domain.host import Mode
from evenkeel.domain.ids import HostId, TenantId, VmId
from evenkeel.domain.plan import MitigationState
from evenkeel.ports_store import Store
from evenkeel.records import (
    BatchSource,
    Maintenance,
    MitigationRecord,
    TokenRecord,
)


class ChronicleContract:
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

    def test_maintenance_is_kept_until_it_is_over(self, store: Store) -> None:
        with store.write() as session:
            session.access.put_maintenance(HostId("h1"), Maintenance(5.0, "disks"))
            session.access.put_maintenance(HostId("h1"), Maintenance(6.0, "more disks"))
            session.access.put_maintenance(HostId("h2"), Maintenance(7.0, ""))
            session.access.put_maintenance(HostId("h2"), None)
        with store.read() as session:
            assert session.access.maintenance() == {HostId("h1"): Maintenance(6.0, "more disks")}
