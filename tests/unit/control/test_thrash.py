"""What a crowd of VMs on one host once made the agent do and undo for ever."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from builders import a_host, a_tick, a_vm, a_window
from hypothesis import given
from hypothesis import strategies as st

from evenkeel.control.candidates import mean_lost
from evenkeel.control.mitigate import decide
from evenkeel.control.upkeep import upkeep
from evenkeel.control.view import MOST_DOUBLINGS, Patience, View
from evenkeel.domain.host import Mode
from evenkeel.domain.plan import (
    ActionKind,
    Apply,
    Mitigation,
    MitigationState,
    SetCpuShares,
    SetVcpuPins,
    Undo,
)
from evenkeel.domain.policy import Policy
from evenkeel.domain.resources import Resource
from evenkeel.interference.contention import score_host

ACT = Policy(mode=Mode.ACT)
TICK_S = 5.0


def view(vms, cpu, loss, *, n_cpus, open_now=(), policy=ACT, calm=None, minutes=1.0):
    """Everybody wants `cpu` for a while, after two minutes of `calm`."""
    host = a_host(n_cpus)
    before = [a_tick(TICK_S * i, vms, calm, host=host) for i in range(24)] if calm else []
    ticks = before + [
        a_tick(TICK_S * (len(before) + i), vms, cpu, loss, host=host)
        for i in range(int(60 * minutes / TICK_S))
    ]
    window = a_window(ticks)
    scored = score_host(window, host, 7.5)
    return View(ticks[-1].taken_at_s, ticks[-1], window, scored, tuple(open_now), policy)


def held(scene):
    """The plan once patience has run out."""
    _, patience = decide(scene, Patience(), "a")
    return decide(scene, patience, "b")[0]


def made(target, victim, aggressor, instruction, prior, state=MitigationState.VERIFIED, **kw):
    base = Mitigation(
        id=f"m-{target.name}",
        host="h1",
        kind=ActionKind.PIN_APART,
        target=target.id,
        victim=victim.id,
        aggressor=aggressor.id,
        resource=Resource.CPU,
        instruction=instruction,
        prior=prior,
        reason="",
        created_at_s=0.0,
        expires_at_s=1e6,
        state=state,
        loss_before=0.5,
        predicted_loss=0.0,
    )
    return replace(base, **kw)


def test_two_remedies_of_one_tick_are_not_sent_to_the_same_core():
    vms = [a_vm(name, [core]) for name, core in (("a", 0), ("b", 0), ("c", 1), ("d", 1))]
    scene = view(vms, [0.9, 1.0] * 2, [0.5] * 4, n_cpus=3, calm=[0.9, 0.02] * 2)
    steps = [s.mitigation.instruction for s in held(scene).steps if isinstance(s, Apply)]
    assert steps, "somebody is to be helped"
    pinned = [step.vcpu_pins for step in steps if isinstance(step, SetVcpuPins)]
    assert pinned.count(((2,),)) == 1


def apart(on_a, on_b):
    """Two hogs whose own core is 0, each of which was put on another one for the other's sake."""
    a, b = a_vm("a", [on_a]), a_vm("b", [on_b])
    prior = a_vm("a", [0]).tuning
    moved = [
        made(a, b, a, SetVcpuPins(a.id, ((on_a,),)), prior),
        made(b, a, b, SetVcpuPins(b.id, ((on_b,),)), prior),
    ]
    return view([a, b], [1.0, 1.0], [0.0, 0.0], n_cpus=3, open_now=moved)


def test_of_two_mitigations_that_make_up_for_each_other_one_stays():
    scene = apart(1, 2)
    first, patience = decide(scene, Patience(), "a")
    assert first.steps == ()
    second, patience = decide(scene, patience, "b")
    assert [type(step) for step in second.steps] == [Undo]
    assert patience.calm == {"m-b": 0}


def test_a_remedy_that_brings_what_starting_it_took_is_kept():
    """Eight rivals on one core: double weight wins a tenth of a core, 9 % of the demand."""
    rivals = [a_vm(f"r{i}", [0]) for i in range(8)]
    boosted = a_vm("victim", [0], shares=2048)
    instruction = SetCpuShares(boosted.id, 2048)
    prior = a_vm("victim", [0]).tuning
    boost = made(boosted, boosted, rivals[0], instruction, prior, kind=ActionKind.BOOST)
    scene = view([boosted, *rivals], [0.95] + [1.0] * 8, [0.8] * 9, n_cpus=2, open_now=[boost])
    kept = upkeep(scene, Patience())
    assert (kept.steps, kept.patience.calm) == ((), {boost.id: 0})


def test_what_is_above_a_fair_share_is_not_shifted_from_one_to_another():
    """Two that want four cores each, and six small ones that get what they want."""
    greedy = [a_vm(name, range(4), 4) for name in ("a", "b")]
    small = [a_vm(f"s{i}", range(4)) for i in range(6)]
    wants = [4.0, 4.0, *[0.04] * 6]
    calm = [4.0, 0.1, *[0.04] * 6]
    no_pins = replace(ACT, allowed=frozenset({ActionKind.BOOST, ActionKind.QUOTA}))
    lost = [0.5, 0.5, *[0.0] * 6]
    scene = view([*greedy, *small], wants, lost, n_cpus=4, calm=calm, policy=no_pins)
    assert scene.contention.pairs(20.0), "it does alarm"
    assert held(scene).steps == ()


def test_a_small_neighbour_is_not_crushed_for_a_large_one():
    """It would lose less than a tenth of a core, which is most of what it wants."""
    vms = [a_vm("victim", [0]), a_vm("noisy", [0]), a_vm("small", [1])]
    only_pins = replace(ACT, allowed=frozenset({ActionKind.PIN_APART}))
    calm = [0.9, 0.02, 0.15]
    scene = view(vms, [0.9, 1.0, 0.15], [0.5, 0.5, 0], n_cpus=2, calm=calm, policy=only_pins)
    plan = held(scene)
    assert plan.steps == ()
    assert any("would hurt small" in why.why for why in plan.advice[0].rejected)


def test_what_came_to_nothing_is_tried_again_ever_later():
    waits, patience, now_s = [], Patience(), 0.0
    for _ in range(MOST_DOUBLINGS + 3):
        patience = patience.ended("v", now_s, 60.0, in_vain=True)
        waits.append((patience.cooldown_until_s["v"] - now_s) / 60.0)
        now_s = patience.cooldown_until_s["v"] + 1.0
        patience = patience.cooling(now_s)
    assert waits == [1, 2, 4, 8, 16, 32, 32, 32]
    proven = patience.ended("v", now_s, 60.0, in_vain=False)
    assert proven.futile == {}
    assert proven.cooldown_until_s["v"] == now_s + 60.0
    long_after = patience.cooling(now_s + 32 * 60.0)
    assert long_after == Patience()


@pytest.mark.parametrize(
    ("state", "n"), [(MitigationState.ACTIVE, 1), (MitigationState.VERIFIED, 0)]
)
def test_a_mitigation_that_was_never_confirmed_came_to_nothing(state, n):
    a, b = a_vm("a", [0]), a_vm("b", [1])
    moved = made(b, a, b, SetVcpuPins(b.id, ((1,),)), a.tuning, state, state_at_s=1e6)
    scene = view([a, b], [0.5, 0.02], [0.0, 0.0], n_cpus=2, open_now=[moved])
    _, patience = decide(scene, Patience(), "a")
    plan, patience = decide(scene, patience, "b")
    assert [step.reason for step in plan.steps] == ["no longer needed"]
    assert {vm: futile.n for vm, futile in patience.futile.items()} == ({a.id: n} if n else {})


@given(st.data())
def test_what_ifs_asked_together_are_answered_as_one_by_one(data):
    n_cpus = data.draw(st.integers(1, 4))
    sets = st.sets(st.integers(0, n_cpus - 1), min_size=1).map(sorted)
    n = data.draw(st.integers(1, 6))
    vms = [a_vm(f"v{i}", data.draw(sets), data.draw(st.integers(1, 2))) for i in range(n)]
    cpu = data.draw(st.lists(st.floats(0, 2), min_size=n, max_size=n))
    window = a_window([a_tick(TICK_S * k, vms, cpu, host=a_host(n_cpus)) for k in range(3)])
    worlds = [
        {vm.id: a_vm("x", data.draw(sets), vm.n_vcpus, data.draw(st.integers(2, 9999))).tuning}
        for vm in vms
    ]
    seen = window, a_host(n_cpus), window.weights(7.5)
    together = mean_lost(*seen, [{}, *worlds])
    alone = [mean_lost(*seen, [world])[0] for world in ({}, *worlds)]
    np.testing.assert_allclose(together, alone, atol=1e-9)
