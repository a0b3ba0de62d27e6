"""Probes as plans compared with plans; their bounds; what an experiment says."""

import math
from dataclasses import replace

import numpy as np
import pytest
from builders import EVERYTHING, a_host, a_tick, a_vm, a_window

from evenkeel.control.check import check
from evenkeel.control.check_probe import ProbeRecord
from evenkeel.control.probe import Probing, decide
from evenkeel.control.probe_judge import judge
from evenkeel.control.throttle import throttles
from evenkeel.control.view import View
from evenkeel.domain.host import Capability, Mode
from evenkeel.domain.plan import (
    ActionKind,
    Apply,
    Extend,
    MitigationState,
    Plan,
    SetCpuQuota,
    SetCpuShares,
    SetVcpuPins,
    Undo,
)
from evenkeel.domain.policy import Policy
from evenkeel.domain.probe import Throttle, Verdict
from evenkeel.domain.sample import Flaw
from evenkeel.domain.vm import CpuTuning
from evenkeel.interference.contention import score_host

POLICY = Policy(mode=Mode.ACT, probe=True)
VICTIM, ONE, TWO = a_vm("victim", [0]), a_vm("one", [0]), a_vm("two", [0])
VMS = [VICTIM, ONE, TWO]
READY = Probing(not_before_s=0.0)
NOW_S = 10_000.0


def view(vms=VMS, policy=POLICY, open_now=(), flaws=frozenset(), n=6, host=None):
    host = host or a_host()
    calm = [a_tick(5.0 * i, vms, [0.6, 0.03, 0.03], host=host) for i in range(24)]
    loud = [
        a_tick(120 + 5.0 * i, vms, [0.7, 0.8, 0.8], [0.5, 0.5, 0.5], host=host, flaws=flaws)
        for i in range(n)
    ]
    window = a_window(calm + loud)
    tick = (calm + loud)[-1]
    return View(tick.taken_at_s, tick, window, score_host(window, host, 7.5), open_now, policy)


def turn(scene, probing=READY, plan=None, ledger=(), now_s=NOW_S):
    return decide(scene, plan or Plan(), probing, ledger, now_s, "x")


def applied(scene=None):
    [step] = turn(scene or view()).steps
    return step.mitigation


def test_one_of_two_twins_is_throttled_a_little_for_seconds():
    scene = view()
    m = applied(scene)
    assert (m.kind, m.target, m.victim) == (ActionKind.PROBE, m.aggressor, VICTIM.id)
    assert m.target in (ONE.id, TWO.id)
    used = scene.tick.usage[scene.tick.index_of(m.target), 0]
    assert m.instruction == SetCpuQuota(m.target, 100_000, math.ceil(0.8 * used * 100_000))
    assert m.expires_at_s == scene.now_s + POLICY.probe_max_s
    assert m.prior == ONE.tuning


@pytest.mark.parametrize(
    "change",
    [
        {"policy": replace(POLICY, probe=False)},
        {"policy": replace(POLICY, mode=Mode.ADVISE)},
        {"policy": replace(POLICY, tenant_modes={ONE.tenant: Mode.ADVISE})},
        {"policy": replace(POLICY, probe_below=0.2)},
        {"policy": replace(POLICY, probe_max_s=2.0)},
        {"flaws": frozenset({Flaw.IMPLAUSIBLE})},
        {"n": 1},
        {"host": a_host(capabilities=EVERYTHING - {Capability.QUOTA, Capability.SHARES})},
        {"vms": [VICTIM, replace(ONE, exempt=True), replace(TWO, exempt=True)]},
    ],
)
def test_nothing_is_tried_where_it_may_not_be(change):
    assert turn(view(**change)).steps == ()


def test_not_within_the_budget_nor_right_after_the_start_nor_beside_a_remedy():
    scene = view()
    m = applied(scene)
    assert turn(scene, Probing(not_before_s=NOW_S + 1)).steps == ()
    fresh = turn(scene, Probing())
    assert fresh.steps == ()
    assert fresh.probing.not_before_s == NOW_S + POLICY.probe_cooldown_s
    elsewhere = Throttle(NOW_S - 299, "id-a", "id-b")
    assert turn(scene, ledger=(elsewhere,)).steps == ()
    assert turn(scene, ledger=(replace(elsewhere, at_s=NOW_S - 301),)).steps != ()
    both = tuple(Throttle(NOW_S - 800, "id-a", vm.id) for vm in VMS)
    assert turn(scene, ledger=both).steps == ()
    remedy = replace(m, kind=ActionKind.QUOTA, id="m-1", target=VICTIM.id, victim=VICTIM.id)
    assert turn(replace(scene, open_now=(remedy,))).steps == ()
    assert turn(scene, plan=Plan((Apply(remedy),))).steps == ()


def test_a_round_ends_before_its_expiry_and_an_intruder_ends_the_experiment():
    scene = view()
    begun = turn(scene)
    m = begun.steps[0].mitigation
    held = replace(m, state=MitigationState.ACTIVE)
    later = replace(scene, now_s=scene.now_s + 5, open_now=(held,))
    ended = turn(later, begun.probing)
    assert ended.steps == (
        Undo(m.id, MitigationState.ROLLED_BACK, "this round of the probe is over"),
    )
    assert ended.finished is None
    remedy = replace(m, kind=ActionKind.QUOTA, id="m-1")
    broken = turn(replace(later, open_now=(held, remedy)), begun.probing)
    assert [s.mitigation_id for s in broken.steps] == [m.id]
    assert broken.finished.verdict is Verdict.INCONCLUSIVE
    assert "open on one of the VMs" in broken.finished.reason
    refused = turn(replace(later, open_now=()), begun.probing)
    assert refused.finished.reason == "the suspect could not be throttled"


def test_a_throttle_that_nobody_knows_of_is_undone():
    m = replace(applied(), state=MitigationState.ACTIVE)
    [step] = turn(view(open_now=(m,))).steps
    assert (step.mitigation_id, step.final_state) == (m.id, MitigationState.ROLLED_BACK)


# --- the independent check ------------------------------------------------------------------------

FREE = ProbeRecord((), 0.0, NOW_S)


def refused(m, record=FREE, scene=None, policy=POLICY, open_now=()):
    scene = scene or view()
    found = check(Plan((Apply(m),)), scene.tick, open_now, policy, scene.now_s, record)
    return found.get(0, "")


def test_check_passes_what_the_planner_makes():
    assert refused(applied()) == ""


def test_check_refuses_a_probe_that_breaks_a_bound():
    scene = view()
    m = applied(scene)
    other = TWO if m.target == ONE.id else ONE
    deep = SetCpuQuota(m.target, 100_000, 20_000)
    assert "switched off" in refused(m, policy=replace(POLICY, probe=False))
    assert "nobody knows" in refused(m, record=None)
    assert "too long" in refused(replace(m, expires_at_s=scene.now_s + 7))
    assert "too much" in refused(replace(m, instruction=deep))
    assert "cannot pin" in refused(replace(m, instruction=SetVcpuPins(m.target, ((1,),))))
    assert "small step" in refused(replace(m, instruction=SetCpuShares(m.target, 512)))
    assert "small step" in refused(replace(m, instruction=SetCpuShares(m.target, 2048)))
    assert "other than the victim" in refused(replace(m, aggressor=other.id))
    assert "exempt" in refused(
        m, scene=view(vms=[VICTIM, replace(ONE, exempt=True), replace(TWO, exempt=True)])
    )
    assert "trusted" in refused(m, scene=view(flaws=frozenset({Flaw.RESET})))
    assert "mode" in refused(m, policy=replace(POLICY, tenant_modes={ONE.tenant: Mode.ADVISE}))
    remedy = replace(m, kind=ActionKind.BOOST, target=VICTIM.id, id="m-1")
    assert "open already" in refused(m, open_now=(remedy,))
    assert "probe is open" in refused(m, open_now=(replace(m, id="p-0"),))
    apart = replace(m, id="p-0", target="id-a", victim="id-b")
    assert "open already" in refused(m, open_now=(apart,)), "never two at once on a host"
    longer = Plan((Extend(m.id, scene.now_s + 60),))
    assert check(longer, scene.tick, (m,), POLICY, scene.now_s) == {0: "a probe is never extended"}
    quota = replace(m, kind=ActionKind.QUOTA, id="m-2")
    assert "probe is open" in refused(quota, open_now=(m,))


def test_check_keeps_the_budgets_by_its_own_reckoning():
    m = applied()
    mine = [Throttle(NOW_S - 12 * (3 - i), m.victim, m.target) for i in range(3)]
    assert refused(m, ProbeRecord(tuple(mine[1:]), 0.0, NOW_S)) == "", "the third round"
    assert "rounds" in refused(m, ProbeRecord(tuple(mine), 0.0, NOW_S))
    elsewhere = Throttle(NOW_S - 299, "id-a", "id-b")
    assert "for now" in refused(m, ProbeRecord((elsewhere,), 0.0, NOW_S))
    before = Throttle(NOW_S - 800, "id-a", m.target)
    assert "short time ago" in refused(m, ProbeRecord((before,), 0.0, NOW_S))
    assert "started" in refused(m, ProbeRecord((), NOW_S - 800, NOW_S))


# --- what it says ---------------------------------------------------------------------------------


def experiment(free, throttled, noise=0.0, drop=(0.05, 0.15)):
    """Five free ticks, five throttled, five free, five throttled, five free, of a second each."""
    rng = np.random.default_rng(1)
    ticks, spans = [], []
    for block in range(5):
        level = throttled if block % 2 else free
        if block % 2:
            spans.append((5.0 * block, 5.0 * block + 5))
        for k in range(5):
            loss = float(np.clip(level + noise * rng.standard_normal(), 0, 0.9))
            at_s = 5.0 * block + k + 1
            ticks.append(a_tick(at_s, VMS, [0.7, 0.8, 0.8], [loss, 0.5, 0.5], interval_s=1.0))
    return judge(a_window(ticks), VICTIM.id, ONE.id, 5.0, tuple(spans), drop)


def test_a_clear_drop_confirms_and_none_clears():
    confirmed = experiment(0.4, 0.3, 0.02)
    assert confirmed.verdict is Verdict.CONFIRMED
    assert (confirmed.n_free, confirmed.n_throttled) == (15, 10)
    assert confirmed.loss_free - confirmed.loss_throttled == pytest.approx(0.1, abs=0.03)
    cleared = experiment(0.4, 0.4, 0.02)
    assert cleared.verdict is Verdict.CLEARED
    assert cleared.log_odds < -2


def test_in_much_noise_nothing_is_said():
    assert experiment(0.4, 0.35, 0.25).verdict is Verdict.INCONCLUSIVE
    assert experiment(0.4, 0.47, 0.02).verdict is Verdict.CLEARED, "a rise confirms nobody"


def test_how_often_chance_confirms_an_innocent():
    """In 300 experiments on an innocent, under noise as large as the effect, hardly ever."""
    rng = np.random.default_rng(7)
    n_confirmed = 0
    for _ in range(300):
        loss = np.clip(0.4 + 0.1 * rng.standard_normal(15), 0, 0.9)
        ticks = [
            a_tick(5.0 * (i + 1), VMS, [0.7, 0.8, 0.8], [loss[i], 0.5, 0.5]) for i in range(15)
        ]
        spans = tuple((5.0 * k, 5.0 * k + 5) for k in (5, 8, 11))
        found = judge(a_window(ticks, 100.0), VICTIM.id, ONE.id, 25.0, spans, (0.05, 0.15))
        n_confirmed += found.verdict is Verdict.CONFIRMED
    assert n_confirmed <= 9


def test_a_quota_spares_the_vcpu_that_carries_everything():
    wide = a_vm("wide", [0, 1], n_vcpus=4)
    [(quota, tuning), (shares, _)] = throttles(wide, 1.0, 0.2, EVERYTHING)
    assert quota == SetCpuQuota(wide.id, 100_000, 80_000)
    assert tuning.quota_cores == pytest.approx(3.2)
    assert shares == SetCpuShares(wide.id, 820)
    assert next(i for i, _ in throttles(wide, 0.01, 0.2, EVERYTHING)).quota_us == 10_000


def test_what_could_not_be_put_back_is_not_touched():
    bare = replace(ONE, tuning=CpuTuning(((0,),)))
    assert list(throttles(bare, 0.5, 0.2, EVERYTHING)) == []
    capped = replace(ONE, tuning=replace(ONE.tuning, quota_us=30_000))
    kinds = [type(i) for i, _ in throttles(capped, 0.5, 0.2, EVERYTHING)]
    assert kinds == [SetCpuShares], "a quota above the one it has would throttle nothing"
