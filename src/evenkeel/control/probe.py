"""Probes: throttle a suspect a little and for seconds, watch the victim, put it back, and judge.

A throttle is a mitigation like any other (journal, expiry, roll-back), of kind `probe`. An
experiment alternates throttles with pauses of the same length, at most `Policy.probe_rounds` times,
and ends early when it knows. Pure: the agent calls `decide` after the remedies have been decided.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from evenkeel.control.probe_judge import judge
from evenkeel.control.suspects import Drop, doubtful, objection, throttle
from evenkeel.control.view import View
from evenkeel.domain.host import Mode
from evenkeel.domain.ids import MitigationId, VmId
from evenkeel.domain.plan import (
    ActionKind,
    Apply,
    Mitigation,
    MitigationState,
    Plan,
    Step,
    Undo,
)
from evenkeel.domain.probe import Finding, Throttle, Verdict

FINDING_LIFE_S: Final = 1800.0
CLOCK_SLACK_S: Final = 2.0
Span = tuple[float, float]


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
    again = throttle(view, on.victim, on.suspect, nonce)
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
    return objection(view, plan, on.victim, on.suspect, on.open_id)


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
    for pair in doubtful(view):
        key = (pair.victim, pair.aggressor)
        if pair.aggressor in spared or key in asked or pair.victim in settled:
            continue
        if objection(view, plan, *key, None):
            continue
        found = throttle(view, *key, nonce)
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
