"""The fast loop's decisions, as plans compared with plans."""

from dataclasses import replace

import pytest
from builders import EVERYTHING, a_host, a_tick, a_vm, a_window

from evenkeel.control.check import check
from evenkeel.control.mitigate import decide
from evenkeel.control.view import Patience, View
from evenkeel.domain.host import Capability, Mode
from evenkeel.domain.plan import (
    ActionKind,
    Apply,
    Confirm,
    Extend,
    MitigationState,
    SetVcpuPins,
    Undo,
)
from evenkeel.domain.policy import PairThreshold, Policy
from evenkeel.domain.sample import Flaw
from evenkeel.interference.contention import score_host

ACT = Policy(mode=Mode.ACT)
VICTIM, NOISY, CALM = a_vm("victim", [0]), a_vm("noisy", [0]), a_vm("calm", [1])
VMS = [VICTIM, NOISY, CALM]


def view(n_noisy, vms=None, policy=ACT, open_now=(), host=None, calm=0.05, flaws=frozenset()):
    vms, host = vms or VMS, host or a_host()
    quiet = [a_tick(5.0 * i, vms, [0.9, 0.05, calm], host=host) for i in range(24)]
    loud = [
        a_tick(120 + 5.0 * i, vms, [0.95, 1.0, calm], [0.5, 0.5, 0], host=host, flaws=flaws)
        for i in range(n_noisy)
    ]
    window = a_window(quiet + loud)
    tick = (quiet + loud)[-1]
    return View(tick.taken_at_s, tick, window, score_host(window, host, 7.5), open_now, policy)


def settle(scene, ticks=2):
    """Decide the same scene until patience has run out."""
    patience = Patience()
    for i in range(ticks):
        plan, patience = decide(scene, patience, f"n{i}")
    return plan, patience


def test_quiet_is_left_alone():
    plan, _ = settle(view(0), 5)
    assert (plan.steps, plan.advice) == ((), ())


def test_a_collision_is_pinned_apart_after_the_hold():
    scene = view(4)
    first, patience = decide(scene, Patience(), "a")
    assert first.steps == ()
    second, _ = decide(scene, patience, "b")
    [step] = second.steps
    assert isinstance(step, Apply)
    m = step.mitigation
    assert (m.kind, m.victim, m.aggressor) == (ActionKind.PIN_APART, VICTIM.id, NOISY.id)
    assert m.instruction == SetVcpuPins(NOISY.id, ((1,),))
    assert m.prior == NOISY.tuning
    assert m.predicted_loss < 0.1 < 0.4 < m.loss_before
    assert check(second, scene.tick, (), ACT, scene.now_s) == {}


def test_advise_shows_the_same_action_and_does_nothing():
    plan, _ = settle(view(4, policy=Policy(mode=Mode.ADVISE)))
    assert plan.steps == ()
    assert plan.advice[0].best.instruction == SetVcpuPins(NOISY.id, ((1,),))
    assert plan.advice[0].best.state is MitigationState.ADVISED


def test_observe_only_scores():
    plan, _ = settle(view(4, policy=Policy(mode=Mode.OBSERVE)))
    assert (plan.steps, plan.advice) == ((), ())


def test_a_tenant_can_hold_us_back_but_not_push_us():
    shy = replace(ACT, tenant_modes={NOISY.tenant: Mode.ADVISE})
    assert settle(view(4, policy=shy))[0].steps == ()
    bold = Policy(mode=Mode.ADVISE, tenant_modes={NOISY.tenant: Mode.ACT})
    assert settle(view(4, policy=bold))[0].steps == ()


def test_an_exempt_vm_is_never_the_target():
    vms = [VICTIM, replace(NOISY, exempt=True), CALM]
    plan, _ = settle(view(4, vms=vms))
    assert plan.steps[0].mitigation.target == VICTIM.id
    both = [replace(VICTIM, exempt=True), replace(NOISY, exempt=True), CALM]
    plan, _ = settle(view(4, vms=both))
    assert plan.steps == ()
    assert plan.advice[0].answer == "no beneficial action: noisy is exempt"


def test_with_no_free_core_the_neighbour_is_not_made_the_next_victim():
    plan, _ = settle(view(4, calm=1.0))
    kinds = [s.mitigation.kind for s in plan.steps]
    assert ActionKind.PIN_APART not in kinds
    assert any("would hurt calm" in r.why for r in plan.advice[0].rejected)


def test_without_capabilities_the_answer_is_no_beneficial_action():
    plan, _ = settle(view(4, host=a_host(capabilities=frozenset())))
    assert plan.steps == ()
    assert plan.advice[0].answer.startswith("no beneficial action")


def test_boost_or_quota_where_pinning_is_impossible():
    plan, _ = settle(view(4, host=a_host(capabilities=EVERYTHING - {Capability.PIN})))
    assert plan.steps[0].mitigation.kind in (ActionKind.BOOST, ActionKind.QUOTA)


def test_a_culprit_that_is_not_sure_is_not_made_to_lose_but_may_be_pinned_apart():
    no_pins = a_host(capabilities=EVERYTHING - {Capability.PIN})
    shy = replace(ACT, min_confidence=1.1)
    assert settle(view(4, host=no_pins))[0].steps != ()
    plan, _ = settle(view(4, host=no_pins, policy=shy))
    assert plan.steps == ()
    assert any("is the culprit with" in r.why for r in plan.advice[0].rejected)
    [step] = settle(view(4, policy=shy))[0].steps
    assert step.mitigation.kind is ActionKind.PIN_APART


def test_doubtful_numbers_close_the_gate():
    assert settle(view(4, flaws=frozenset({Flaw.IMPLAUSIBLE})))[0].steps == ()


def test_a_pair_may_have_its_own_threshold():
    deaf = replace(ACT, pair_thresholds=(PairThreshold(VICTIM.id, NOISY.id, 90.0),))
    assert settle(view(4, policy=deaf))[0].steps == ()


def applied(state=MitigationState.ACTIVE, **kw):
    scene = view(4)
    m = settle(scene)[0].steps[0].mitigation
    return replace(m, state=state, **{"state_at_s": m.created_at_s, **kw})


def after(m, cpu_noisy, loss, seconds, policy=ACT, background=0.0):
    """The same host `seconds` after the mitigation was applied."""
    moved = replace(NOISY, tuning=replace(NOISY.tuning, vcpu_pins=((1,),)))
    vms = [VICTIM, moved, CALM]
    start = m.created_at_s
    ticks = [
        a_tick(
            start + 5.0 * (i + 1),
            vms,
            [0.95, cpu_noisy, 0.05],
            [loss, 0, 0],
            background=background,
        )
        for i in range(int(seconds // 5))
    ]
    window = a_window(ticks)
    scored = score_host(window, a_host(), 7.5)
    return View(ticks[-1].taken_at_s, ticks[-1], window, scored, (m,), policy)


def test_it_is_confirmed_when_it_helped():
    m = applied()
    plan, _ = decide(after(m, 1.0, 0.02, 20), Patience(), "x")
    assert plan.steps == (Confirm(m.id, 0.02),)


def test_it_is_undone_when_it_did_not_help_and_the_victim_is_left_alone():
    m = applied()
    plan, patience = decide(after(m, 1.0, 0.45, 20), Patience(), "x")
    [step] = plan.steps
    assert (step.mitigation_id, step.final_state) == (m.id, MitigationState.INEFFECTIVE)
    assert VICTIM.id in patience.cooldown_until_s


def test_it_is_undone_when_no_longer_needed_but_not_at_the_first_calm_tick():
    m = applied(MitigationState.VERIFIED)
    scene = after(m, 0.02, 0.0, 60)
    first, patience = decide(scene, Patience(), "x")
    assert first.steps == ()
    second, _ = decide(scene, patience, "y")
    assert second.steps == (Undo(m.id, MitigationState.ROLLED_BACK, "no longer needed"),)


def test_it_is_undone_when_what_the_victim_loses_now_is_the_fault_of_others():
    """Undoing it would take nothing from the victim that the host does not take anyway."""
    m = applied(MitigationState.VERIFIED)
    scene = after(m, 0.02, 0.3, 60, background=1.2)
    _, patience = decide(scene, Patience(), "x")
    second, _ = decide(scene, patience, "y")
    assert Undo(m.id, MitigationState.ROLLED_BACK, "no longer needed") in second.steps


def test_at_its_expiry_it_is_extended_if_needed():
    m = applied(MitigationState.VERIFIED)
    scene = after(m, 1.0, 0.0, 130)
    plan, _ = decide(scene, Patience(), "x")
    assert plan.steps == (Extend(m.id, scene.now_s + ACT.ttl_s),)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"policy": Policy(mode=Mode.ADVISE)}, "the mode is no longer act"),
        ({"now_s": 1.0}, "the clock went back: its expiry cannot be trusted"),
    ],
)
def test_it_ends_whatever_it_brings(change, reason):
    m = applied(MitigationState.VERIFIED)
    plan, _ = decide(replace(after(m, 1.0, 0.0, 30), **change), Patience(), "x")
    assert plan.steps[0] == Undo(m.id, MitigationState.ROLLED_BACK, reason)


def test_a_cooldown_is_kept():
    scene = view(4)
    _, patience = settle(scene, 1)
    plan, _ = decide(scene, patience.leaving_alone(VICTIM.id, scene.now_s + 60), "z")
    assert plan.steps == ()
    assert plan.advice[0].best is not None


def test_check_refuses_what_a_careless_planner_would_do():
    scene = view(4)
    plan, _ = settle(scene)
    m = plan.steps[0].mitigation

    def verdict(**kw):
        broken = replace(plan, steps=(Apply(replace(m, **kw)),))
        return check(broken, scene.tick, (), ACT, scene.now_s).get(0, "")

    assert "off the host" in verdict(instruction=SetVcpuPins(NOISY.id, ((9,),)))
    assert "another VM" in verdict(instruction=SetVcpuPins(CALM.id, ((1,),)))
    assert "prior" in verdict(prior=CALM.tuning)
    assert "expiry" in verdict(expires_at_s=scene.now_s + 1e6)
    assert "not on this host" in verdict(target="id-nobody")
    twice = replace(plan, steps=plan.steps * 2)
    assert "already turned" in check(twice, scene.tick, (), ACT, scene.now_s)[1]
    assert "mode" in check(plan, scene.tick, (), Policy(), scene.now_s)[0]
    ghost = replace(plan, steps=(Undo("m-none", MitigationState.ROLLED_BACK, ""),))
    assert check(ghost, scene.tick, (), ACT, scene.now_s) == {0: "no such open mitigation"}
