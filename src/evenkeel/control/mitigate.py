"""The fast loop's decision: what to start, extend, confirm and undo on one host, now.

Pure: everything comes in as arguments, the plan and the new state go out. Patience is explicit:
a pair must stay above its threshold for `hold_ticks`, a victim is left alone for `cooldown_s` after
its mitigation ended (longer where that had come to nothing), and a mitigation ends when, without
it, the victim would be well. Every step is judged as if those before it were done.
"""

from __future__ import annotations

from dataclasses import replace

from evenkeel.control.candidates import NEEDS, Outcome, judge, propose
from evenkeel.control.knobs import turned
from evenkeel.control.upkeep import upkeep
from evenkeel.control.view import JUDGE_HALF_LIFE_S, UNTRUSTED, PairKey, Patience, View
from evenkeel.domain.host import Mode
from evenkeel.domain.ids import HOST_ITSELF, MitigationId, VmId
from evenkeel.domain.plan import (
    Advice,
    Apply,
    Mitigation,
    MitigationState,
    Plan,
    Rejection,
    Step,
    Undo,
)
from evenkeel.domain.resources import SPECS, Resource
from evenkeel.domain.score import PairScore
from evenkeel.domain.vm import Vm
from evenkeel.interference.loads import cpu_demand


def decide(view: View, patience: Patience, nonce: str) -> tuple[Plan, Patience]:
    """The plan for now. `nonce` makes the ids of new mitigations unique."""
    kept = upkeep(view, patience.cooling(view.now_s))
    patience, tuned = kept.patience, dict(kept.tuned)
    pairs = _pairs(view)
    above = _above(view, pairs, patience)
    steps: list[Step] = list(kept.steps)
    advice: list[Advice] = []
    n_open = len(view.open_now) - sum(isinstance(s, Undo) for s in kept.steps)
    busy = {vm for m in view.open_now for vm in (m.victim, m.target)}
    for pair in _alarms(view, pairs, above):
        if pair.victim in busy or view.policy.mode is Mode.OBSERVE:
            continue
        given = _advise(view.after(tuned), pair, busy, f"{nonce}-{len(advice)}")
        advice.append(given)
        busy.add(pair.victim)
        if given.best is None or not _may_act(view, given.best, patience.cooldown_until_s):
            continue
        if n_open >= view.policy.max_open_per_host:
            continue
        n_open += 1
        busy.add(given.best.target)
        tuned[given.best.target] = turned(given.best.instruction, given.best.prior)
        steps.append(Apply(replace(given.best, state=MitigationState.INTENDED)))
    return Plan(tuple(steps), tuple(advice)), replace(patience, above=above)


def _pairs(view: View) -> list[PairScore]:
    """Pairs that are not calm, worst first: only CPU can be acted on."""
    pairs = view.contention.pairs(min(view.policy.release_score, view.policy.alarm_score))
    return [pair for pair in pairs if pair.resource is Resource.CPU]


def _above(view: View, pairs: list[PairScore], patience: Patience) -> dict[PairKey, int]:
    """Consecutive ticks above threshold, with hysteresis: only below `release_score` forgets."""
    above: dict[PairKey, int] = {}
    for pair in pairs:
        key = (pair.victim, pair.aggressor)
        if pair.score >= view.policy.alarm_for(*key):
            above[key] = patience.above.get(key, 0) + 1
        elif key in patience.above:
            above[key] = patience.above[key]
    return above


def _alarms(view: View, pairs: list[PairScore], above: dict[PairKey, int]) -> list[PairScore]:
    """Pairs that have been above their threshold long enough, worst first."""
    return [
        pair
        for pair in pairs
        if pair.score >= view.policy.alarm_for(pair.victim, pair.aggressor)
        and above.get((pair.victim, pair.aggressor), 0) >= view.policy.hold_ticks
    ]


def _may_act(view: View, best: Mitigation, cooldown: dict[VmId, float]) -> bool:
    """Act mode for everybody involved, no cooldown, and numbers that can be trusted."""
    if best.victim in cooldown:
        return False
    for vm_id in {best.victim, best.target}:
        row = view.tick.index_of(vm_id)
        if row is None or view.tick.flaws[row] & UNTRUSTED:
            return False
        if view.policy.mode_for(view.tick.vms[row].tenant) is not Mode.ACT:
            return False
    return True


def _advise(view: View, pair: PairScore, busy: set[VmId], nonce: str) -> Advice:
    """The best candidate for a pair, or that nothing helps, with the roads not taken."""
    window, host, policy = view.window, view.tick.host, view.policy
    victim = window.index_of(pair.victim)
    aggressor = None if pair.aggressor == HOST_ITSELF else window.index_of(pair.aggressor)
    if victim is None:
        return Advice(pair.victim, pair.aggressor, pair.resource, pair.score, None, (), "VM left")
    weights = window.weights(JUDGE_HALF_LIFE_S)
    outcomes: list[Outcome] = []
    rejected: list[Rejection] = []
    candidates = list(dict.fromkeys(propose(window, host, victim, aggressor)))
    for outcome in judge(window, host, policy, weights, (victim, aggressor), candidates):
        candidate, objection = outcome.candidate, outcome.objection
        if NEEDS[candidate.kind] not in host.capabilities:
            objection = f"this host cannot {candidate.kind.value.replace('_', ' ')}"
        elif candidate.kind not in policy.allowed:
            objection = "the policy does not allow it"
        elif candidate.target.id in busy:
            objection = f"{candidate.target.name} is already part of a mitigation"
        elif not objection and (doubt := _doubt(view, pair, outcome, aggressor)):
            objection = doubt
        elif not objection and outcome.net <= 0:
            objection = "would harm others more than it helps"
        if objection:
            rejected.append(_rejection(outcome, victim, objection))
        else:
            outcomes.append(outcome)
    outcomes.sort(key=lambda o: -o.net)
    rejected += [_rejection(o, victim, "another action brings more") for o in outcomes[1:]]
    if not outcomes:
        answer = "no beneficial action" + (f": {rejected[0].why}" if rejected else "")
        return Advice(
            pair.victim, pair.aggressor, pair.resource, pair.score, None, tuple(rejected), answer
        )
    best = _mitigation(view, pair, outcomes[0], victim, nonce)
    answer = (
        f"{best.kind.value.replace('_', ' ')} of {outcomes[0].candidate.target.name}: loss from "
        f"{best.loss_before:.0%} to {best.predicted_loss:.0%}"
    )
    return Advice(
        pair.victim, pair.aggressor, pair.resource, pair.score, best, tuple(rejected), answer
    )


def _doubt(view: View, pair: PairScore, outcome: Outcome, aggressor: int | None) -> str:
    """Why a culprit that is not sure enough is not made to lose anything, or an empty string."""
    if aggressor is None or pair.confidence >= view.policy.min_confidence:
        return ""
    wanted = view.window.weights(JUDGE_HALF_LIFE_S) @ cpu_demand(view.window)
    worse = float((outcome.after[aggressor] - outcome.before[aggressor]) * wanted[aggressor])
    if worse < SPECS[Resource.CPU].shard:
        return ""
    name = view.window.vms[aggressor].name
    return f"{name} would lose by it and is the culprit with {pair.confidence:.0%} only"


def _rejection(outcome: Outcome, victim: int, why: str) -> Rejection:
    return Rejection(
        kind=outcome.candidate.kind,
        target=outcome.candidate.target.id,
        predicted_loss=round(float(outcome.after[victim]), 4),
        why=why,
    )


def _mitigation(
    view: View, pair: PairScore, outcome: Outcome, victim: int, nonce: str
) -> Mitigation:
    sick, host = view.window.vms[victim], view.tick.host
    who = _name(view.window.vms, pair.aggressor)
    return Mitigation(
        id=MitigationId(f"m-{nonce}"),
        host=host.id,
        kind=outcome.candidate.kind,
        target=outcome.candidate.target.id,
        victim=pair.victim,
        aggressor=pair.aggressor,
        resource=pair.resource,
        instruction=outcome.candidate.instruction,
        prior=outcome.candidate.target.tuning,
        reason=(
            f"{sick.name} is expected to lose {outcome.before[victim]:.0%} of its CPU demand, "
            f"mostly to {who} (score {pair.score:.0f}, confidence {pair.confidence:.2f})"
        ),
        created_at_s=view.now_s,
        expires_at_s=view.now_s + view.policy.ttl_s,
        state=MitigationState.ADVISED,
        loss_before=round(float(outcome.before[victim]), 4),
        predicted_loss=round(float(outcome.after[victim]), 4),
        state_at_s=view.now_s,
    )


def _name(vms: tuple[Vm, ...], vm_id: VmId) -> str:
    return next((vm.name for vm in vms if vm.id == vm_id), "the host itself")
