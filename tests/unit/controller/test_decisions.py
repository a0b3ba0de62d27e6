"""The controller's pure decisions: where a VM is, what is told, whose clock is wrong."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from tests.batches import START_S, a_batch, a_vm

from evenkeel.controller.location import contested, elect, tell
from evenkeel.controller.modes import policy_for
from evenkeel.controller.skew import is_skewed
from evenkeel.domain.host import Host, Mode
from evenkeel.domain.ids import HostId, TenantId, VmId
from evenkeel.domain.policy import Policy
from evenkeel.records import Claim, HostRecord, ModeSettings, VmRecord

VM = VmId("id-web1")
A, B = HostId("a"), HostId("b")


def claim(host: str, at_s: float, running: bool = True) -> Claim:
    return Claim(VM, HostId(host), running, at_s)


def test_nobody_claims_nobody_has_it() -> None:
    assert elect([]) is None


@pytest.mark.parametrize(
    ("claims", "home"),
    [
        ([claim("a", 10)], "a"),
        ([claim("a", 10), claim("b", 20, running=False)], "a"),
        ([claim("a", 10, running=False), claim("b", 5)], "b"),
        ([claim("a", 10), claim("b", 20)], "b"),
        ([claim("a", 10), claim("b", 10)], "b"),
        ([claim("a", 30, False), claim("b", 10, False), claim("c", 20, False)], "a"),
    ],
)
def test_the_home_does_not_depend_on_the_order(claims: list[Claim], home: str) -> None:
    assert {elect(order) for order in itertools.permutations(claims)} == {home}


def test_only_hosts_that_run_it_at_the_same_time_contest() -> None:
    assert not contested([claim("a", 10)])
    assert contested([claim("a", 10), claim("b", 15)])
    assert not contested([claim("a", 10), claim("b", 15, running=False)])
    assert not contested([claim("a", 10), claim("b", 41)])


def record(home: HostId | None, told: HostId | None, last: HostId = A) -> VmRecord:
    return VmRecord(a_vm("web1"), home, told, last)


@pytest.mark.parametrize(
    ("before", "home", "kind"),
    [
        (None, A, "vm_appeared"),
        (record(A, A), A, None),
        (record(A, A), B, "vm_moved"),
        (record(A, A), None, "vm_left"),
        (record(None, None), A, "vm_appeared"),
        (record(None, None), B, "vm_moved"),
        (record(None, None), None, None),
    ],
)
def test_what_is_told(before: VmRecord | None, home: HostId | None, kind: str | None) -> None:
    event = tell(before, record(home, None), 5.0)
    assert (event.kind if event else None) == kind


def seen(sent_at_s: float, last_seen_s: float, skewed: bool = False, seq: int = 1) -> HostRecord:
    host = Host(A, (0,), 1.0)
    return HostRecord(host, "e1", seq, sent_at_s, last_seen_s, Mode.ADVISE, skewed=skewed)


@pytest.mark.parametrize(
    ("before", "ahead_s", "expected"),
    [
        (None, 0, False),
        (None, 29, False),
        (None, 31, True),
        (None, -3600, False),  # it may have waited in the spool
        (seen(START_S - 3605, START_S - 5), -3600, True),  # at the host's own pace
        (seen(START_S - 3605, START_S - 0.1), -3600, False),  # a spool being emptied
        (seen(START_S - 3605, START_S - 5, seq=7), -3600, False),  # not neighbours
        (seen(START_S, START_S, skewed=True), 20, True),
        (seen(START_S, START_S, skewed=True), -20, True),
        (seen(START_S, START_S, skewed=True), 10, False),
        (seen(START_S, START_S), 20, False),
    ],
)
def test_whose_clock_is_wrong(before: HostRecord | None, ahead_s: float, expected: bool) -> None:
    batch = a_batch(2, "a", sent_at_s=START_S + ahead_s)
    assert is_skewed(before, batch, START_S) is expected


def test_a_hosts_mode_wins_over_the_fleets_and_a_tenant_only_holds_back() -> None:
    settings = ModeSettings(7, Mode.ADVISE, {A: Mode.ACT}, {TenantId("shop"): Mode.OBSERVE})
    base = dataclasses.replace(Policy(), alarm_score=33.0)
    here, there = policy_for(A, settings, base), policy_for(B, settings, base)
    assert (here.version, here.mode, here.alarm_score) == (7, Mode.ACT, 33.0)
    assert here.mode_for(TenantId("shop")) is Mode.OBSERVE
    assert there.mode is Mode.ADVISE
