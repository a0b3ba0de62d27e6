"""Probes: throttle a suspect a little and for seconds, watch the victim, put it back, and judge.

A throttle is a mitigation like any other (journal, expiry, roll-back), of kind `probe`. An
experiment alternates throttles with pauses of the same length, at most `Policy.probe_rounds` times,
and ends early when it knows. Pure: the agent calls `decide` after the remedies have been decided.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from evenkeel.control.candidates import loss_without
from evenkeel.control.mitigate import JUDGE_HALF_LIFE_S, UNTRUSTED, View
from evenkeel.control.probe_judge import judge
from evenkeel.control.throttle import throttles
from evenkeel.domain.host import Mode
from evenkeel.domain.ids import HOST_ITSELF, MitigationId, VmId
from evenkeel.domain.plan import (
    ActionKind,
    Apply,
    Instruction,
    Mitigation,
    MitigationState,
    Plan,
    Step,
    Undo,
)
from evenkeel.domain.probe import Finding, Throttle, Verdict
from evenkeel.domain.resources import CPU_AXIS, Resource
from evenkeel.domain.score import PairScore
from evenkeel.domain.vm import CpuTuning, Vm, VmState
from evenkeel.interference.contention import cpu_demand

MIN_PROBABILITY: Final = 0.1
MIN_LOSS: Final = 0.05
MIN_ROWS: Final = 2
MIN_DROP: Final = 0.02
"""A smaller effect would not be seen: such a suspect is not troubled."""
FINDING_LIFE_S: Final = 1800.0
CLOCK_SLACK_S: Final = 2.0
Span = tuple[float, float]
Drop = tuple[float, float]
"""What the victim should win back: by the physics, and at most, if it got all that is set free."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """One suspect, one victim. `throttled` are spans of wall time that are over; `open_id` names
    the throttle in force, if any, and `turn_at_s` is when the present pause ends."""

    victim: VmId
    suspect: VmId
    begun_s: float
    drop: Drop
    open_id: MitigationId | None
    open_since_s: float
    turn_at_s: float = 0.0
    throttled: tuple[Span, ...] = ()


@dataclass(frozen=True, slots=True)
class Known:
    """A finding, and the CPUs of victim and suspect that it holds for."""

    finding: Finding
    cpus: tuple[frozenset[int], frozenset[int]]


@dataclass(frozen=True, slots=True)
class Probing:
    """What is remembered between ticks. `not_before_s` is monotonic: after its start an agent,
    which may have been killed in an experiment, waits as if one had just been made."""

    experiment: Experiment | None = None
    known: tuple[Known, ...] = ()
    not_before_s: float | None = None

    def log_odds(self) -> dict[tuple[VmId, VmId], float]:
        """What `score_host` takes: log odds of (victim, suspect) pairs."""
        return {
            (k.finding.victim, k.finding.suspect): k.finding.log_odds
            for k in self.known
            if k.finding.log_odds
        }


@dataclass(frozen=True, slots=True)
class Turn:
    """Steps to take now, what to remember, and what there is to tell."""

    steps: tuple[Step, ...]
    probing: Probing
    started: Mitigation | None = None
    finished: Finding | None = None


def decide(
    view: View,
    plan: Plan,
    probing: Probing,
    ledger: tuple[Throttle, ...],
    monotonic_s: float,
    nonce: str,
) -> Turn:
    """The next move. `plan` is what the remedies do now, `ledger` the throttles made so far."""
    if probing.not_before_s is None:
        wait_s = max(_spacing_s(view), view.policy.probe_cooldown_s)
        probing = replace(probing, not_before_s=monotonic_s + wait_s)
    probing = replace(probing, known=tuple(k for k in probing.known if _still_holds(view, k)))
    mine = probing.experiment.open_id if probing.experiment else None
    strays = tuple(
        Undo(m.id, MitigationState.ROLLED_BACK, "no experiment needs it any more")
        for m in view.open_now
        if m.kind is ActionKind.PROBE and m.id != mine
    )
    if probing.experiment is not None:
        turn = _go_on(view, plan, probing, probing.experiment, nonce)
    elif strays:
        turn = Turn((), probing)
    else:
        turn = _start(view, plan, probing, ledger, monotonic_s, nonce)
    return replace(turn, steps=strays + turn.steps)


def _spacing_s(view: View) -> float:
    return 3600.0 / view.policy.probes_per_hour


def _still_holds(view: View, known: Known) -> bool:
    finding = known.finding
    if not 0 <= view.now_s - finding.at_s <= FINDING_LIFE_S:
        return False
    return _cpus(view, finding.victim, finding.suspect) == known.cpus


def _cpus(view: View, *vms: VmId) -> tuple[frozenset[int], ...]:
    here = {vm.id: vm.tuning.cpuset for vm in view.tick.vms}
    return tuple(here[vm] for vm in vms if vm in here)


# --- an experiment that is under way --------------------------------------------------------------


def _go_on(view: View, plan: Plan, probing: Probing, on: Experiment, nonce: str) -> Turn:
    opened = next((m for m in view.open_now if m.id == on.open_id), None)
    reason = _must_stop(view, plan, on)
    if not reason and on.open_id is not None and opened is None:
        reason = "the suspect could not be throttled"
    if reason:
        undo = (Undo(opened.id, MitigationState.ROLLED_BACK, reason),) if opened else ()
        finding = Finding(
            on.victim,
            on.suspect,
            Verdict.INCONCLUSIVE,
            view.now_s,
            on.drop[0],
            reason=reason,
        )
        return Turn(undo, _finished(view, probing, finding), finished=finding)
    if opened is not None:
        if view.now_s + view.tick.interval_s <= opened.expires_at_s:
            return Turn((), probing)
        lasted_s = view.now_s - on.open_since_s
        paused = replace(
            on,
            open_id=None,
            turn_at_s=view.now_s + lasted_s - view.tick.interval_s / 2,
            throttled=(*on.throttled, (on.open_since_s, view.now_s)),
        )
        undo = (Undo(opened.id, MitigationState.ROLLED_BACK, "this round of the probe is over"),)
        return Turn(undo, replace(probing, experiment=paused))
    if view.now_s < on.turn_at_s:
        return Turn((), probing)
    finding = judge(view.window, on.victim, on.suspect, on.begun_s, on.throttled, on.drop)
    last = len(on.throttled) >= view.policy.probe_rounds
    if last or finding.verdict is not Verdict.INCONCLUSIVE:
        return Turn((), _finished(view, probing, finding), finished=finding)
    again = _throttle(view, on.victim, on.suspect, nonce)
    if again is None:
        finding = replace(finding, reason="the suspect no longer does enough to be throttled")
        return Turn((), _finished(view, probing, finding), finished=finding)
    mitigation = again[0]
    goes_on = replace(on, open_id=mitigation.id, open_since_s=view.now_s)
    return Turn((Apply(mitigation),), replace(probing, experiment=goes_on))


def _must_stop(view: View, plan: Plan, on: Experiment) -> str:
    """Why an experiment must be broken off, or an empty string."""
    if not view.policy.probe:
        return "probes were switched off"
    if view.now_s < on.begun_s - CLOCK_SLACK_S:
        return "the clock went back"
    return _objection(view, plan, on.victim, on.suspect, on.open_id)


def _finished(view: View, probing: Probing, finding: Finding) -> Probing:
    cpus = _cpus(view, finding.victim, finding.suspect)
    if len(cpus) < 2:
        return replace(probing, experiment=None)
    others = tuple(
        k
        for k in probing.known
        if (k.finding.victim, k.finding.suspect) != (finding.victim, finding.suspect)
    )
    known = (*others, Known(finding, (cpus[0], cpus[1])))
    return replace(probing, experiment=None, known=known)


# --- a new one ------------------------------------------------------------------------------------


def _start(
    view: View,
    plan: Plan,
    probing: Probing,
    ledger: tuple[Throttle, ...],
    monotonic_s: float,
    nonce: str,
) -> Turn:
    policy = view.policy
    if not policy.probe or policy.mode is not Mode.ACT:
        return Turn((), probing)
    assert probing.not_before_s is not None
    latest_s = max((t.at_s for t in ledger), default=float("-inf"))
    spared = {t.suspect for t in ledger if monotonic_s < t.at_s + policy.probe_cooldown_s}
    too_early = monotonic_s < max(latest_s + _spacing_s(view), probing.not_before_s)
    if too_early or view.tick.interval_s > policy.probe_max_s:
        return Turn((), probing)
    asked = {(k.finding.victim, k.finding.suspect) for k in probing.known}
    settled = {k.finding.victim for k in probing.known if k.finding.verdict is Verdict.CONFIRMED}
    for pair in _doubtful(view):
        key = (pair.victim, pair.aggressor)
        if pair.aggressor in spared or key in asked or pair.victim in settled:
            continue
        if _objection(view, plan, *key, None):
            continue
        found = _throttle(view, *key, nonce)
        if found is None:
            continue
        mitigation, drop = found
        experiment = Experiment(
            victim=pair.victim,
            suspect=pair.aggressor,
            begun_s=view.now_s,
            drop=drop,
            open_id=mitigation.id,
            open_since_s=view.now_s,
        )
        steps = (Apply(mitigation),)
        return Turn(steps, replace(probing, experiment=experiment), started=mitigation)
    return Turn((), probing)


def _doubtful(view: View) -> list[PairScore]:
    """Pairs that alarm, whose victim really loses, and whose culprit is in doubt; likeliest first.

    A pair whose own score is below the alarm counts where the victim's loss to others as a whole
    is above.
    """
    policy, found = view.policy, view.contention
    expected = found.score[CPU_AXIS, :, :-1].sum(axis=1)
    out = []
    for pair in found.pairs(policy.release_score / 2):
        victim = view.window.index_of(pair.victim)
        if pair.resource is not Resource.CPU or pair.aggressor == HOST_ITSELF or victim is None:
            continue
        if expected[victim] < policy.alarm_for(pair.victim, pair.aggressor):
            continue
        if not _loses_steadily(view, victim):
            continue
        if MIN_PROBABILITY <= pair.confidence < policy.probe_below:
            out.append(pair)
    return sorted(out, key=lambda p: (-p.confidence, p.victim, p.aggressor))


def _loses_steadily(view: View, victim: int) -> bool:
    """Whether the victim has lost for as long as a throttle lasts: else there is nothing to
    compare with."""
    window = view.window
    lately = window.at_s > view.now_s - view.policy.probe_max_s - window.interval_s
    loss = window.loss[lately, victim, CPU_AXIS]
    return len(loss) >= MIN_ROWS and bool((loss >= MIN_LOSS).all())


def _objection(
    view: View, plan: Plan, victim: VmId, suspect: VmId, own: MitigationId | None
) -> str:
    """Why this suspect may not be probed for this victim now, or an empty string."""
    for vm_id in (victim, suspect):
        row = view.tick.index_of(vm_id)
        if row is None:
            return "a VM it concerns left the host"
        vm = view.tick.vms[row]
        if view.policy.mode_for(vm.tenant) is not Mode.ACT:
            return "the mode is not act"
        if view.tick.flaws[row] & UNTRUSTED or np.isnan(view.tick.loss[row, CPU_AXIS]):
            return "its numbers cannot be trusted"
        if vm.state is not VmState.RUNNING:
            return "a VM it concerns does not run"
        if vm_id == suspect and vm.exempt:
            return "the suspect is exempt"
    for mitigation in view.open_now:
        if mitigation.id != own and {victim, suspect} & {mitigation.victim, mitigation.target}:
            return "a mitigation is open on one of the VMs"
    for step in plan.steps:
        if isinstance(step, Apply):
            new = step.mitigation
            if {victim, suspect} & {new.victim, new.target}:
                return "a mitigation begins on one of the VMs"
    return ""


def _throttle(
    view: View, victim: VmId, suspect: VmId, nonce: str
) -> tuple[Mitigation, Drop] | None:
    """A throttle of the suspect and the drop of the victim's loss it should bring.

    None where physics expects nothing that could be seen.
    """
    window, host = view.window, view.tick.host
    row, column = view.tick.index_of(suspect), window.index_of(victim)
    assert row is not None, "it was looked for"
    assert column is not None, "it was looked for"
    vm = view.tick.vms[row]
    weights = window.weights(JUDGE_HALF_LIFE_S)
    before, _ = loss_without(window, host, weights, column, {})
    use = float(view.tick.usage[row, CPU_AXIS])
    wanted = float(weights @ cpu_demand(window)[:, column])
    for instruction, tuning in throttles(vm, use, view.policy.probe_depth, host.capabilities):
        after, _ = loss_without(window, host, weights, column, {suspect: tuning})
        least = max(before - after, 0.0)
        freed = max(use - tuning.quota_cores, 0.0) or view.policy.probe_depth * use / 2
        most = min(freed / max(wanted, 1e-9), before)
        if after < before and (least + most) / 2 >= MIN_DROP:
            made = _mitigation(view, victim, vm, instruction, (before, after), nonce)
            return made, (least, max(least, most))
    return None


def _mitigation(
    view: View,
    victim: VmId,
    suspect: Vm,
    instruction: Instruction,
    loss: tuple[float, float],
    nonce: str,
) -> Mitigation:
    prior: CpuTuning = suspect.tuning
    sick = next(vm.name for vm in view.tick.vms if vm.id == victim)
    return Mitigation(
        id=MitigationId(f"p-{nonce}"),
        host=view.tick.host.id,
        kind=ActionKind.PROBE,
        target=suspect.id,
        victim=victim,
        aggressor=suspect.id,
        resource=Resource.CPU,
        instruction=instruction,
        prior=prior,
        reason=f"to find out whether {suspect.name} is what hurts {sick}",
        created_at_s=view.now_s,
        expires_at_s=view.now_s + view.policy.probe_max_s,
        state=MitigationState.INTENDED,
        loss_before=round(loss[0], 4),
        predicted_loss=round(loss[1], 4),
        state_at_s=view.now_s,
    )
