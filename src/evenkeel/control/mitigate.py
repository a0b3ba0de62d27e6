"""The fast loop's decision: what to start, extend, confirm and undo on one host, now.

Pure: everything comes in as arguments, the plan and the new state go out. Patience is explicit:
a pair must stay above its threshold for `hold_ticks`, a victim is left alone for `cooldown_s` after
its mitigation ended, and a mitigation ends when, without it, the victim would be well.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from evenkeel.control.candidates import NEEDS, Outcome, judge, loss_with, propose
from evenkeel.domain.host import Mode
from evenkeel.domain.ids import HOST_ITSELF, MitigationId, VmId
from evenkeel.domain.plan import (
    ActionKind,
    Advice,
    Apply,
    Confirm,
    Extend,
    Mitigation,
    MitigationState,
    Plan,
    Rejection,
    Step,
    Undo,
)
from evenkeel.domain.policy import Policy
from evenkeel.domain.resources import CPU_AXIS, SPECS, Resource
from evenkeel.domain.sample import Flaw, HostTick
from evenkeel.domain.score import PairScore
from evenkeel.domain.vm import Vm
from evenkeel.interference.contention import ContentionMap
from evenkeel.interference.loads import cpu_demand
from evenkeel.interference.window import Window

JUDGE_HALF_LIFE_S: Final = 7.5
MIN_VERIFY_ROWS: Final = 2
HYSTERESIS: Final = 0.5
"""A mitigation is kept while it wins back at least this part of what would start it."""
WORTH_KEEPING: Final = 0.5
"""A mitigation is confirmed when it brought at least this part of what was predicted."""
CLOCK_SLACK_S: Final = 5.0
UNTRUSTED: Final = frozenset({Flaw.NEW, Flaw.RESET, Flaw.IMPLAUSIBLE, Flaw.NO_DELAY})

PairKey = tuple[VmId, VmId]


@dataclass(frozen=True, slots=True)
class Patience:
    """What the decision remembers: ticks above threshold, ticks of calm, and who is left alone."""

    above: dict[PairKey, int] = field(default_factory=dict)
    calm: dict[MitigationId, int] = field(default_factory=dict)
    cooldown_until_s: dict[VmId, float] = field(default_factory=dict)

    def leaving_alone(self, victim: VmId, until_s: float) -> Patience:
        """The same, with a victim for which nothing is started before `until_s`."""
        return replace(self, cooldown_until_s={**self.cooldown_until_s, victim: until_s})


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """All that a decision sees. `open_now` are the journal's open mitigations."""

    now_s: float
    tick: HostTick
    window: Window
    contention: ContentionMap
    open_now: tuple[Mitigation, ...]
    policy: Policy


def decide(view: View, patience: Patience, nonce: str) -> tuple[Plan, Patience]:
    """The plan for now. `nonce` makes the ids of new mitigations unique."""
    upkeep, calm = _upkeep(view, patience)
    cooldown = {vm: t for vm, t in patience.cooldown_until_s.items() if t > view.now_s}
    for step in upkeep:
        if isinstance(step, Undo):
            undone = next(m for m in view.open_now if m.id == step.mitigation_id)
            cooldown[undone.victim] = view.now_s + view.policy.cooldown_s
    pairs = _pairs(view)
    above = _above(view, pairs, patience)
    steps: list[Step] = list(upkeep)
    advice: list[Advice] = []
    n_open = len(view.open_now) - sum(isinstance(s, Undo) for s in upkeep)
    busy = {vm for m in view.open_now for vm in (m.victim, m.target)}
    for pair in _alarms(view, pairs, above):
        if pair.victim in busy or view.policy.mode is Mode.OBSERVE:
            continue
        given = _advise(view, pair, busy, f"{nonce}-{len(advice)}")
        advice.append(given)
        busy.add(pair.victim)
        if given.best is None or not _may_act(view, given.best, cooldown):
            continue
        if n_open >= view.policy.max_open_per_host:
            continue
        n_open += 1
        busy.add(given.best.target)
        steps.append(Apply(replace(given.best, state=MitigationState.INTENDED)))
    return Plan(tuple(steps), tuple(advice)), Patience(above, calm, cooldown)


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


def _upkeep(view: View, patience: Patience) -> tuple[list[Step], dict[MitigationId, int]]:
    """What to do with mitigations that are open: undo, confirm, extend, or leave."""
    steps: list[Step] = []
    calm: dict[MitigationId, int] = {}
    for mitigation in view.open_now:
        if mitigation.kind is ActionKind.PROBE:
            continue  # an experiment ends by its own rules (control/probe.py)
        reason = _must_end(view, mitigation)
        if reason:
            steps.append(Undo(mitigation.id, MitigationState.ROLLED_BACK, reason))
            continue
        needed = _needed(view, mitigation)
        calm[mitigation.id] = 0 if needed else patience.calm.get(mitigation.id, 0) + 1
        expiring = view.now_s >= mitigation.expires_at_s
        if calm[mitigation.id] >= view.policy.hold_ticks or (expiring and not needed):
            steps.append(Undo(mitigation.id, MitigationState.ROLLED_BACK, "no longer needed"))
            del calm[mitigation.id]
            continue
        verdict = _verdict(view, mitigation) if needed else None
        if isinstance(verdict, Undo):
            steps.append(verdict)
            continue
        if verdict is not None:
            steps.append(verdict)
        if expiring:
            steps.append(Extend(mitigation.id, view.now_s + view.policy.ttl_s))
    return steps, calm


def _must_end(view: View, mitigation: Mitigation) -> str:
    """Why a mitigation must end whatever it brings, or an empty string."""
    for vm_id in (mitigation.target, mitigation.victim):
        row = view.tick.index_of(vm_id)
        if row is None:
            return "a VM it concerns left the host"
        if view.policy.mode_for(view.tick.vms[row].tenant) is not Mode.ACT:
            return "the mode is no longer act"
        if vm_id == mitigation.target and view.tick.vms[row].exempt:
            return "the VM became exempt"
    if mitigation.aggressor != HOST_ITSELF and view.tick.index_of(mitigation.aggressor) is None:
        return "the aggressor left the host"
    if mitigation.created_at_s > view.now_s + CLOCK_SLACK_S:
        return "the clock went back: its expiry cannot be trusted"
    return ""


def _needed(view: View, mitigation: Mitigation) -> bool:
    """Whether undoing this now would hurt the victim, beyond the hysteresis.

    What it loses either way, to the host or to others, is no reason to keep it.
    """
    victim = view.window.index_of(mitigation.victim)
    if victim is None:
        return False
    weights = view.window.weights(JUDGE_HALF_LIFE_S)
    (share, cores), (share_now, cores_now) = loss_with(
        view.window, view.tick.host, weights, victim, [{mitigation.target: mitigation.prior}, {}]
    )
    worth_it = cores - cores_now >= HYSTERESIS * view.policy.min_gain_cores
    return worth_it and 100 * (share - share_now) >= view.policy.release_score


def _verdict(view: View, mitigation: Mitigation) -> Confirm | Undo | None:
    """Judge a mitigation once enough was measured after it; None while there is not."""
    since_s = mitigation.state_at_s
    if (
        mitigation.state is not MitigationState.ACTIVE
        or view.now_s - since_s < view.policy.verify_after_s
    ):
        return None
    victim = view.window.index_of(mitigation.victim)
    if victim is None:
        return None
    begun_s = view.window.at_s - view.window.interval_s
    loss = view.window.loss[begun_s >= since_s, victim, CPU_AXIS]
    loss = loss[~np.isnan(loss)]
    if len(loss) < MIN_VERIFY_ROWS:
        return None
    measured = round(float(loss.mean()), 4)
    promised = mitigation.loss_before - mitigation.predicted_loss
    if mitigation.loss_before - measured >= WORTH_KEEPING * promised:
        return Confirm(mitigation.id, measured)
    reason = f"it brought the loss to {measured:.0%}, not to {mitigation.predicted_loss:.0%}"
    return Undo(mitigation.id, MitigationState.INEFFECTIVE, reason, measured)
