"""What every store must do with the terms on which VMs were placed."""

from __future__ import annotations

from dataclasses import replace

from tests.batches import a_vm
from tests.lots import lot
from tests.stored import at_home, host_record

from evenkeel.domain.claim import Claim, ClaimId
from evenkeel.domain.ids import HostId, TenantId, VmId
from evenkeel.domain.placement import Group, Relation, Rule, Scope, Terms
from evenkeel.domain.shard import LotId
from evenkeel.ports_store import Store

SHOP = TenantId("shop")
FULL = Terms(
    SHOP,
    frozenset({"web", "blue"}),
    (
        Rule(Relation.APART, Group(SHOP, "web"), Scope.FAULT_DOMAIN),
        Rule(Relation.TOGETHER, Group(TenantId("bank"))),
    ),
    True,
    frozenset({HostId("h1"), HostId("h2")}),
    frozenset({HostId("h3")}),
)
WEB = Terms(SHOP, frozenset({"web"}))


class TermsContract:
    def test_terms_read_back_as_they_were_written_and_plain_ones_are_none(
        self, store: Store
    ) -> None:
        told = {VmId("a"): FULL, VmId("b"): WEB, VmId("c"): Terms(SHOP)}
        with store.write() as session:
            session.terms.put(told, 5.0)
        with store.read() as session:
            assert session.terms.of([VmId(name) for name in "abcd"]) == {
                VmId("a"): FULL,
                VmId("b"): WEB,
            }
            assert list(session.terms.all(limit=1)) == ["a"]
            assert session.terms.all("a") == {VmId("b"): WEB}
        with store.write() as session:
            session.terms.put({VmId("a"): WEB, VmId("b"): Terms(SHOP)}, 6.0)
        with store.read() as session:
            assert session.terms.all() == {VmId("a"): WEB}

    def test_terms_go_when_the_vm_and_its_claims_are_gone(self, store: Store) -> None:
        with store.write() as session:
            session.inventory.put_host(host_record("h1"))
            session.inventory.put_vms([at_home(a_vm("here")), at_home(a_vm("left"), None)])
            names = ("id-here", "here", "id-left", "left", "claimed", "new")
            session.terms.put({VmId(name): WEB for name in names}, 10.0)
            session.terms.put({VmId("new"): WEB}, 200.0)
            lots = (replace(lot(1, 100, 300), id=LotId("c1.0"), owner=SHOP),)
            claim = Claim(ClaimId("c1"), "k", SHOP, VmId("claimed"), 100, 300, lots, 1, "d", 1.0)
            session.claims.add([claim])
        with store.write() as session:
            assert session.terms.forget(150, 100) == 2
            assert session.terms.forget(150, 100) == 0
        with store.read() as session:
            assert set(session.terms.all()) == {"id-here", "here", "claimed", "new"}
        with store.write() as session:
            assert session.terms.forget(300, 1) == 1
