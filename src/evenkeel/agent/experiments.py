"""The agent's experiments: what it remembers of probes, and the events that tell of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from evenkeel.control.check_probe import ProbeRecord
from evenkeel.control.probe import Probing, decide
from evenkeel.control.view import View
from evenkeel.domain.events import Event, Severity
from evenkeel.domain.ids import VmId
from evenkeel.domain.plan import Apply, Mitigation, Plan, Step, is_probe
from evenkeel.domain.probe import Finding, Throttle
from evenkeel.ports import Clock

MAX_THROTTLES: Final = 10_000
"""More than an hour can hold: the oldest no longer matter to any budget."""


class Experiments:
    """Carries `control.probe`'s memory from tick to tick; one for each agent."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since_s = clock.monotonic_s()
        self._probing = Probing()
        self._throttles: tuple[Throttle, ...] = ()

    def log_odds(self) -> dict[tuple[VmId, VmId], float]:
        """What experiments found, for `score_host`."""
        return self._probing.log_odds()

    @property
    def findings(self) -> tuple[Finding, ...]:
        return tuple(known.finding for known in self._probing.known)

    def plan(self, view: View, plan: Plan, nonce: str) -> tuple[Plan, list[Event]]:
        """The plan with the experiment's steps behind it, and what there is to tell."""
        now_s = self._clock.monotonic_s()
        turn = decide(view, plan, self._probing, self._throttles, now_s, nonce)
        self._probing = turn.probing
        told = []
        if turn.started is not None:
            told.append(_started(view, turn.started))
        if turn.finished is not None:
            told.append(_finished(view, turn.finished))
        return replace(plan, steps=plan.steps + turn.steps), told

    def record(self) -> ProbeRecord:
        """What the check of a new throttle goes by."""
        return ProbeRecord(self._throttles, self._since_s, self._clock.monotonic_s())

    def note(self, step: Step) -> None:
        """A step is about to be carried out: a throttle counts, whatever becomes of it."""
        if is_probe(step) and isinstance(step, Apply):
            m = step.mitigation
            made = Throttle(self._clock.monotonic_s(), m.victim, m.target)
            self._throttles = (*self._throttles, made)[-MAX_THROTTLES:]


def _names(view: View, *vms: VmId) -> list[str]:
    known = {vm.id: vm.name for vm in view.tick.vms}
    return [known.get(vm, vm) for vm in vms]


def _started(view: View, m: Mitigation) -> Event:
    suspect, victim = _names(view, m.target, m.victim)
    return Event(
        at_s=view.now_s,
        kind="probe_started",
        message=f"{suspect} is throttled for seconds to see whether it hurts {victim}",
        severity=Severity.INFO,
        host=m.host,
        vm=m.target,
        detail={"victim": m.victim, "suspect": m.target, "expected_loss": m.predicted_loss},
    )


def _finished(view: View, finding: Finding) -> Event:
    suspect, victim = _names(view, finding.suspect, finding.victim)
    if finding.loss_free is None or finding.loss_throttled is None:
        evidence = finding.reason or "too few ticks to tell"
    else:
        evidence = (
            f"{victim} lost {finding.loss_free:.0%} before and after, {finding.loss_throttled:.0%} "
            f"while it was throttled"
        )
    return Event(
        at_s=view.now_s,
        kind="probe_finished",
        message=f"probe of {suspect} for {victim}: {finding.verdict.value}; {evidence}",
        severity=Severity.INFO,
        host=view.tick.host.id,
        vm=finding.suspect,
        detail={
            "victim": finding.victim,
            "suspect": finding.suspect,
            "verdict": finding.verdict.value,
            "loss_free": finding.loss_free,
            "loss_throttled": finding.loss_throttled,
            "expected_drop": finding.expected_drop,
            "n_free": finding.n_free,
            "n_throttled": finding.n_throttled,
            "log_odds": finding.log_odds,
            "reason": finding.reason,
        },
    )
