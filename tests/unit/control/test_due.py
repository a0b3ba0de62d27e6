"""When something is to be decided again, if nothing changes meanwhile."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from builders import a_host, a_tick, a_vm, a_window

from evenkeel.control.due import due_s
from evenkeel.control.view import Patience, View
from evenkeel.domain.host import Mode
from evenkeel.domain.plan import (
    ActionKind,
    Extend,
    Mitigation,
    MitigationState,
    Plan,
    SetVcpuPins,
    Undo,
)
from evenkeel.domain.policy import Policy
from evenkeel.domain.resources import Resource
from evenkeel.interference.contention import score_host

VMS = [a_vm("a"), a_vm("b")]
TICK = a_tick(100.0, VMS, [0.1, 0.1])
PAIR = ("id-a", "id-b")


def mitigation(state=MitigationState.VERIFIED, expires_at_s=180.0):
    return Mitigation(
        id="m",
        host="h1",
        kind=ActionKind.PIN_APART,
        target="id-a",
        victim="id-b",
        aggressor="id-a",
        resource=Resource.CPU,
        instruction=SetVcpuPins("id-a", ((1,),)),
        prior=VMS[0].tuning,
        reason="",
        created_at_s=60.0,
        expires_at_s=expires_at_s,
        state=state,
        loss_before=0.5,
        predicted_loss=0.0,
    )


def view(*open_now, **policy):
    window = a_window([TICK])
    scored = score_host(window, a_host(), 7.5)
    return View(100.0, TICK, window, scored, open_now, Policy(mode=Mode.ACT, **policy))


def test_where_nothing_is_open_nothing_is_ever_due():
    assert due_s(view(), Plan(), Patience(), Patience()) == math.inf


def test_the_next_expiry_or_end_of_a_cooldown_is_due():
    after = Patience(cooldown_until_s={"id-b": 150.0})
    assert due_s(view(mitigation()), Plan(), Patience(), Patience()) == 180.0
    assert due_s(view(mitigation()), Plan(), Patience(), after) == 150.0


def test_an_expiry_that_is_put_off_is_due_at_its_new_time():
    scene = view(mitigation(expires_at_s=100.0))
    assert due_s(scene, Plan((Extend("m", 220.0),)), Patience(), Patience()) == 220.0


@pytest.mark.parametrize(
    ("scene", "plan", "before", "after"),
    [
        (view(), Plan((Undo("m", MitigationState.ROLLED_BACK, ""),)), Patience(), Patience()),
        (view(mitigation(MitigationState.ACTIVE)), Plan(), Patience(), Patience()),
        (view(mitigation()), Plan(), Patience(), Patience(calm={"m": 1})),
        (view(), Plan(), Patience(), Patience(above={PAIR: 1})),
        (view(probe=True), Plan(), Patience(), Patience()),
    ],
    ids=["a step", "an effect to judge", "a calm counted", "an alarm counted", "experiments"],
)
def test_whatever_is_under_way_is_due_now(scene, plan, before, after):
    assert due_s(scene, plan, before, after) == 100.0


def test_a_count_that_stands_still_or_is_full_keeps_nobody_awake():
    stands = Patience(above={PAIR: 1})
    assert due_s(view(), Plan(), stands, replace(stands)) == math.inf
    assert due_s(view(), Plan(), stands, Patience(above={PAIR: 2})) == math.inf
