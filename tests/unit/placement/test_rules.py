"""Affinity and anti-affinity, from both sides; contradictions are told before any host is asked."""

from __future__ import annotations

import pytest
from tests.placements import allocator, vm

from evenkeel.domain.ids import HostId, TenantId
from evenkeel.domain.placement import (
    AffinityContradicts,
    Group,
    Placed,
    PlacementInvalid,
    Relation,
    Rule,
    Scope,
    checked,
)
from evenkeel.placement.rules import HostNotKnown
from evenkeel.placement.slices import Load

SHOP = TenantId("shop")
WEB = Group(SHOP, "web")
APART = Rule(Relation.APART, WEB)
TOGETHER = Rule(Relation.TOGETHER, WEB)
FAR = Rule(Relation.APART, WEB, Scope.FAULT_DOMAIN)


def put(fleet, host, name, **fields):
    one = vm(name, 0.1, memory=64.0, **fields)
    fleet.put(one, Load.of(one), host, host)


def may_go(fleet, one) -> set[str]:
    """All hosts that take it."""
    outcome = fleet.decide(one)
    return {option.host for option in outcome.options} if isinstance(outcome, Placed) else set()


def small(name="new", **fields):
    return vm(name, 0.1, memory=64.0, **fields)


def test_apart_on_a_host_and_in_a_fault_domain():
    fleet = allocator(6)
    put(fleet, 0, "web1", labels=frozenset({"web"}))
    assert may_go(fleet, small(rules=(APART,))) == {"h1", "h2", "h3", "h4", "h5"}
    assert may_go(fleet, small(rules=(FAR,))) == {"h1", "h2", "h4", "h5"}


def test_together_needs_one_of_the_group_and_the_first_may_go_anywhere():
    fleet = allocator(3)
    assert not may_go(fleet, small(rules=(TOGETHER,)))
    assert len(may_go(fleet, small(rules=(TOGETHER,), labels=frozenset({"web"})))) == 3
    put(fleet, 2, "web1", labels=frozenset({"web"}))
    assert may_go(fleet, small(rules=(TOGETHER,))) == {"h2"}
    fleet.remove("web1")
    assert not may_go(fleet, small(rules=(TOGETHER,)))


def test_who_stands_apart_is_not_joined():
    fleet = allocator(2)
    put(fleet, 0, "loner", rules=(APART,))
    assert may_go(fleet, small(labels=frozenset({"web"}))) == {"h1"}
    assert may_go(fleet, small(labels=frozenset({"db"}))) == {"h0", "h1"}
    assert may_go(fleet, small(labels=frozenset({"web"}), tenant="bank")) == {"h0", "h1"}


def test_apart_from_a_whole_tenant():
    fleet = allocator(2)
    put(fleet, 0, "web1")
    rule = Rule(Relation.APART, Group(SHOP))
    assert may_go(fleet, small(tenant="bank", rules=(rule,))) == {"h1"}


def test_alone_with_ones_own_tenant_both_ways():
    fleet = allocator(3)
    put(fleet, 0, "shop1", alone=True)
    put(fleet, 1, "bank1", tenant="bank")
    assert may_go(fleet, small(tenant="bank")) == {"h1", "h2"}
    assert may_go(fleet, small(alone=True)) == {"h0", "h2"}
    fleet.remove("shop1")
    assert may_go(fleet, small(tenant="bank")) == {"h0", "h1", "h2"}


def test_listed_and_ruled_out_hosts():
    fleet = allocator(3)
    h0 = HostId("h0")
    assert may_go(fleet, small(only=frozenset({h0}))) == {"h0"}
    assert may_go(fleet, small(never=frozenset({h0}))) == {"h1", "h2"}
    with pytest.raises(HostNotKnown):
        fleet.decide(small(only=frozenset({HostId("elsewhere")})))


def test_reasons_name_the_rule():
    fleet = allocator(1)
    put(fleet, 0, "web1", labels=frozenset({"web"}))
    told = fleet.decide(small(rules=(APART,)))
    assert [r.code for r in told.reasons] == ["apart"]
    assert "label 'web' of shop" in told.message


@pytest.mark.parametrize(
    "fields",
    [
        {"rules": (TOGETHER, APART)},
        {"rules": (TOGETHER, FAR)},
        {"rules": (TOGETHER, Rule(Relation.APART, Group(SHOP)))},
        {"rules": (Rule(Relation.TOGETHER, Group(TenantId("bank"))),), "alone": True},
        {"only": frozenset({HostId("h0")}), "never": frozenset({HostId("h0")})},
    ],
)
def test_rules_that_contradict_each_other_are_refused(fields):
    with pytest.raises(AffinityContradicts):
        checked(small(**fields))


def test_in_one_fault_domain_on_another_host_is_no_contradiction():
    near = Rule(Relation.TOGETHER, WEB, Scope.FAULT_DOMAIN)
    assert checked(small(rules=(near, APART)))


@pytest.mark.parametrize(
    "fields",
    [
        {"n_vcpus": 0},
        {"cores": -1.0, "n_vcpus": 1},
        {"cores": 3.0, "n_vcpus": 2},
        {"memory": 0.0},
        {"memory": float("nan")},
        {"memory": float("inf")},
        {"net": -1.0},
        {"name": ""},
    ],
)
def test_what_cannot_be_is_refused(fields):
    with pytest.raises(PlacementInvalid):
        checked(vm(**fields))
