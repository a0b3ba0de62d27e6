"""Whom to probe for whom, whether that is allowed now, and by what throttle. Pure."""

from __future__ import annotations

from typing import Final

import numpy as np

from evenkeel.control.candidates import loss_with
from evenkeel.control.throttle import throttles
from evenkeel.control.view import JUDGE_HALF_LIFE_S, UNTRUSTED, View
from evenkeel.domain.host import Mode
from evenkeel.domain.ids import HOST_ITSELF, MitigationId, VmId
from evenkeel.domain.plan import (
    ActionKind,
    Apply,
    Instruction,
    Mitigation,
    MitigationState,
    Plan,
)
from evenkeel.domain.resources import CPU_AXIS, Resource
from evenkeel.domain.score import PairScore
from evenkeel.domain.vm import CpuTuning, Vm, VmState
from evenkeel.interference.loads import Tunings, cpu_demand

MIN_PROBABILITY: Final = 0.1
MIN_LOSS: Final = 0.05
MIN_ROWS: Final = 2
MIN_DROP: Final = 0.02
"""A smaller effect would not be seen: such a suspect is not troubled."""
Drop = tuple[float, float]
"""What the victim should win back: by the physics, and at most, if it got all that is set free."""


def doubtful(view: View) -> list[PairScore]:
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


def objection(view: View, plan: Plan, victim: VmId, suspect: VmId, own: MitigationId | None) -> str:
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


def throttle(view: View, victim: VmId, suspect: VmId, nonce: str) -> tuple[Mitigation, Drop] | None:
    """A throttle of the suspect and the drop of the victim's loss it should bring.

    None where physics expects nothing that could be seen.
    """
    window, host = view.window, view.tick.host
    row, column = view.tick.index_of(suspect), window.index_of(victim)
    assert row is not None, "it was looked for"
    assert column is not None, "it was looked for"
    vm = view.tick.vms[row]
    weights = window.weights(JUDGE_HALF_LIFE_S)
    use = float(view.tick.usage[row, CPU_AXIS])
    wanted = float(weights @ cpu_demand(window)[:, column])
    ways = list(throttles(vm, use, view.policy.probe_depth, host.capabilities))
    worlds: list[Tunings] = [{}, *({suspect: tuning} for _, tuning in ways)]
    (before, _), *afters = loss_with(window, host, weights, column, worlds)
    for (instruction, tuning), (after, _) in zip(ways, afters, strict=True):
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
