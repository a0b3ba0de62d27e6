"""What becomes of mitigations that are open: undone, confirmed, extended or left. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from evenkeel.control.candidates import loss_with
from evenkeel.control.view import JUDGE_HALF_LIFE_S, Patience, View
from evenkeel.domain.host import Mode
from evenkeel.domain.ids import HOST_ITSELF, MitigationId, VmId
from evenkeel.domain.plan import (
    ActionKind,
    Confirm,
    Extend,
    Mitigation,
    MitigationState,
    Step,
    Undo,
)
from evenkeel.domain.resources import CPU_AXIS
from evenkeel.domain.vm import CpuTuning

MIN_VERIFY_ROWS: Final = 2
HYSTERESIS: Final = 0.5
"""A mitigation is kept while it wins back at least this part of what would start it."""
WORTH_KEEPING: Final = 0.5
"""A mitigation is confirmed when it brought at least this part of what was predicted."""
CLOCK_SLACK_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Upkeep:
    """Steps, what is remembered after them, and the tunings of VMs whose mitigation is undone."""

    steps: tuple[Step, ...]
    patience: Patience
    tuned: Mapping[VmId, CpuTuning]


def upkeep(view: View, patience: Patience) -> Upkeep:
    """One mitigation after the other, each as if the former ones were undone that are to be: two
    that make up for one another are not both found needless."""
    steps: list[Step] = []
    calm: dict[MitigationId, int] = {}
    tuned: dict[VmId, CpuTuning] = {}
    for mitigation in view.open_now:
        if mitigation.kind is ActionKind.PROBE:
            continue  # an experiment ends by its own rules (control/probe.py)
        found, n_calm = _kept(view.after(tuned), mitigation, patience)
        forced = _must_end(view, mitigation)
        if forced:
            found = [Undo(mitigation.id, MitigationState.ROLLED_BACK, forced)]
        steps += found
        if any(isinstance(step, Undo) for step in found):
            in_vain = not forced and mitigation.state is MitigationState.ACTIVE
            patience = patience.ended(
                mitigation.victim, view.now_s, view.policy.cooldown_s, in_vain
            )
            tuned[mitigation.target] = mitigation.prior
        else:
            calm[mitigation.id] = n_calm
    return Upkeep(tuple(steps), replace(patience, calm=calm), tuned)


def _kept(view: View, mitigation: Mitigation, patience: Patience) -> tuple[list[Step], int]:
    """What to do with one that may stay, and for how many ticks it has not been needed."""
    needed = _needed(view, mitigation)
    n_calm = 0 if needed else patience.calm.get(mitigation.id, 0) + 1
    expiring = view.now_s >= mitigation.expires_at_s
    if n_calm >= view.policy.hold_ticks or (expiring and not needed):
        return [Undo(mitigation.id, MitigationState.ROLLED_BACK, "no longer needed")], n_calm
    verdict = _verdict(view, mitigation) if needed else None
    steps: list[Step] = [] if verdict is None else [verdict]
    if expiring and not isinstance(verdict, Undo):
        steps.append(Extend(mitigation.id, view.now_s + view.policy.ttl_s))
    return steps, n_calm


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

    It would if the victim were not well without it, and wins by it at least a part of what a new
    one would have to promise: what it loses either way is no reason to keep it.
    """
    victim = view.window.index_of(mitigation.victim)
    if victim is None:
        return False
    weights = view.window.weights(JUDGE_HALF_LIFE_S)
    (share, cores), (share_now, cores_now) = loss_with(
        view.window, view.tick.host, weights, victim, [{mitigation.target: mitigation.prior}, {}]
    )
    least = HYSTERESIS * view.policy.min_gain_cores, HYSTERESIS * view.policy.min_benefit
    wins = cores - cores_now >= least[0] and share - share_now >= least[1]
    return wins and 100 * share >= view.policy.release_score


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
