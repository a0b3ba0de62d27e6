"""Carries out checked steps: re-observe, write the journal, change, read back, write again.

The journal entry is on disk before anything is touched, so whatever instant the process dies at,
the next start finds what may have been changed and puts it back. Undoing never clobbers a knob that
somebody else has turned meanwhile.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from evenkeel.control.knobs import holds, inverse, restored
from evenkeel.domain.errors import EvenkeelError, HypervisorError, VmGone
from evenkeel.domain.events import Event, Severity
from evenkeel.domain.plan import (
    Apply,
    Confirm,
    Extend,
    Mitigation,
    MitigationState,
    Step,
    Undo,
)
from evenkeel.ports import Hypervisor, Journal

log = logging.getLogger(__name__)


class Executor:
    """Executes steps one at a time; every method returns the events that tell what happened."""

    def __init__(self, hypervisor: Hypervisor, journal: Journal) -> None:
        self._hypervisor = hypervisor
        self._journal = journal
        self._failing: set[str] = set()
        """Mitigations whose undoing failed: tried every tick, told once."""

    def execute(self, step: Step, now_s: float) -> list[Event]:
        """Carry out one step. Raises JournalUnavailable; hypervisor trouble becomes an event."""
        if isinstance(step, Apply):
            return self._apply(step.mitigation, now_s)
        for mitigation in self._journal.open_mitigations():
            if mitigation.id == step.mitigation_id:
                if isinstance(step, Undo):
                    if step.measured_loss is not None:
                        mitigation = replace(mitigation, measured_loss=step.measured_loss)
                    return self.undo(mitigation, step.final_state, step.reason, now_s)
                return self._update(mitigation, step, now_s)
        return []

    def undo_all(self, reason: str, now_s: float) -> tuple[list[Event], bool]:
        """Undo everything that is open. Returns the events and whether all is closed now."""
        events: list[Event] = []
        for mitigation in self._journal.open_mitigations():
            events += self.undo(mitigation, MitigationState.ROLLED_BACK, reason, now_s)
        return events, not self._journal.open_mitigations()

    def undo(
        self, mitigation: Mitigation, final: MitigationState, reason: str, now_s: float
    ) -> list[Event]:
        """Put the target's knob back; on hypervisor trouble it stays open, to be tried again."""
        try:
            tuning = self._hypervisor.tuning(mitigation.target)
            if holds(mitigation.instruction, tuning):
                self._hypervisor.apply(inverse(mitigation.instruction, mitigation.prior))
                tuning = self._hypervisor.tuning(mitigation.target)
            if not restored(mitigation.instruction, mitigation.prior, tuning):
                final = MitigationState.ABANDONED
                reason = f"{reason}; somebody else has changed the same knob meanwhile"
        except VmGone:
            final, reason = MitigationState.ABANDONED, f"{reason}; the VM is gone"
        except HypervisorError as error:
            if mitigation.id in self._failing:
                return []
            self._failing.add(mitigation.id)
            return [_event("rollback_failed", mitigation, now_s, str(error), Severity.ERROR)]
        self._failing.discard(mitigation.id)
        closed = replace(mitigation, state=final, state_at_s=now_s, state_reason=reason)
        self._journal.record(closed)
        return [_event(f"mitigation_{final.value}", closed, now_s, reason, Severity.INFO)]

    def _apply(self, mitigation: Mitigation, now_s: float) -> list[Event]:
        try:
            if self._hypervisor.tuning(mitigation.target) != mitigation.prior:
                return self._refuse(mitigation, now_s, "its tuning changed since it was observed")
        except EvenkeelError as error:
            return self._refuse(mitigation, now_s, error.message)
        intended = replace(mitigation, state=MitigationState.INTENDED, state_at_s=now_s)
        self._journal.record(intended)
        try:
            self._hypervisor.apply(mitigation.instruction)
            if not holds(mitigation.instruction, self._hypervisor.tuning(mitigation.target)):
                undone = self.undo(intended, MitigationState.REFUSED, "it did not take", now_s)
                return [_event("mitigation_failed", intended, now_s, "", Severity.WARNING), *undone]
        except HypervisorError as error:
            # It may or may not have happened: undoing looks first, and is tried until it works.
            return self.undo(intended, MitigationState.REFUSED, error.message, now_s)
        active = replace(intended, state=MitigationState.ACTIVE)
        self._journal.record(active)
        return [_event("mitigation_applied", active, now_s, active.reason, Severity.INFO)]

    def _refuse(self, mitigation: Mitigation, now_s: float, why: str) -> list[Event]:
        refused = replace(
            mitigation, state=MitigationState.REFUSED, state_at_s=now_s, state_reason=why
        )
        self._journal.record(refused)
        return [_event("mitigation_refused", refused, now_s, why, Severity.WARNING)]

    def _update(self, mitigation: Mitigation, step: Extend | Confirm, now_s: float) -> list[Event]:
        if isinstance(step, Extend):
            self._journal.record(replace(mitigation, expires_at_s=step.expires_at_s))
            return []
        verified = replace(
            mitigation,
            state=MitigationState.VERIFIED,
            state_at_s=now_s,
            measured_loss=step.measured_loss,
        )
        self._journal.record(verified)
        said = f"loss {mitigation.loss_before:.0%} -> {step.measured_loss:.0%}"
        return [_event("mitigation_verified", verified, now_s, said, Severity.INFO)]


def _event(kind: str, m: Mitigation, now_s: float, message: str, severity: Severity) -> Event:
    return Event(
        at_s=now_s,
        kind=kind,
        message=message or m.reason,
        severity=severity,
        host=m.host,
        vm=m.target,
        detail={"mitigation": m.id, "kind": m.kind.value, "state": m.state.value},
    )
