"""An independent check of a plan before it is carried out. Shares no code with the planner.

It knows nothing of why; it asks only whether each step is allowed, possible and reversible.
"""

from __future__ import annotations

from typing import Final

from evenkeel.control.check_probe import ProbeRecord, check_probe
from evenkeel.domain.host import Capability, Mode
from evenkeel.domain.ids import MitigationId
from evenkeel.domain.plan import (
    ActionKind,
    Apply,
    Extend,
    Mitigation,
    Plan,
    SetCpuQuota,
    SetCpuShares,
    SetVcpuPins,
    Step,
)
from evenkeel.domain.policy import Policy
from evenkeel.domain.sample import HostTick
from evenkeel.domain.vm import VmState

MAX_LIFE_S: Final = 3600.0
SHARES_RANGE: Final = (2, 10_000)
PERIOD_RANGE_US: Final = (1_000, 1_000_000)


def check(
    plan: Plan,
    tick: HostTick,
    open_now: tuple[Mitigation, ...],
    policy: Policy,
    now_s: float,
    probes: ProbeRecord | None = None,
) -> dict[int, str]:
    """Index of each step that must not be carried out -> why. An empty dict: all may.

    Without a record of former throttles no probe may be made.
    """
    problems: dict[int, str] = {}
    known = {mitigation.id for mitigation in open_now}
    probe_ids = {m.id for m in open_now if m.kind is ActionKind.PROBE}
    touched = {(m.target, m.kind) for m in open_now}
    involved = {vm for m in open_now for vm in (m.target, m.victim)}
    probed = {vm for m in open_now if m.kind is ActionKind.PROBE for vm in (m.target, m.victim)}
    n_open = len(open_now)
    for i, step in enumerate(plan.steps):
        if isinstance(step, Apply):
            problem = _check_apply(step.mitigation, tick, policy, now_s)
            key = (step.mitigation.target, step.mitigation.kind)
            sides = {step.mitigation.target, step.mitigation.victim}
            is_probe = step.mitigation.kind is ActionKind.PROBE
            if not problem and sides & probed:
                problem = "a probe is open on one of the VMs"
            if not problem and is_probe and (probed or sides & involved):
                problem = "a probe or another mitigation is open already"
            if not problem and is_probe:
                problem = check_probe(step.mitigation, tick, policy, now_s, probes)
            if not problem and key in touched:
                problem = "the same knob of this VM is already turned"
            if not problem and n_open >= policy.max_open_per_host:
                problem = "the host has its fill of mitigations"
            if not problem:
                touched.add(key)
                involved |= sides
                probed |= sides if is_probe else set()
                n_open += 1
        else:
            problem = _check_known(step, known, now_s)
            if isinstance(step, Extend) and step.mitigation_id in probe_ids:
                problem = "a probe is never extended"
        if problem:
            problems[i] = problem
    return problems


def _check_known(step: Step, known: set[MitigationId], now_s: float) -> str:
    if not isinstance(step, Apply) and step.mitigation_id not in known:
        return "no such open mitigation"
    if isinstance(step, Extend) and not now_s < step.expires_at_s <= now_s + MAX_LIFE_S:
        return "expiry is not in the near future"
    return ""


def _check_apply(m: Mitigation, tick: HostTick, policy: Policy, now_s: float) -> str:
    rows = {vm.id: vm for vm in tick.vms}
    target, victim = rows.get(m.target), rows.get(m.victim)
    if target is None or victim is None or m.host != tick.host.id:
        return "target or victim is not on this host"
    if target.state is not VmState.RUNNING:
        return "the target is not running"
    if target.exempt:
        return "the target is exempt"
    if {policy.mode_for(target.tenant), policy.mode_for(victim.tenant)} != {Mode.ACT}:
        return "the mode does not allow acting"
    if m.kind not in policy.allowed and m.kind is not ActionKind.PROBE:
        return "the policy does not allow this kind of action"
    if not now_s < m.expires_at_s <= now_s + MAX_LIFE_S:
        return "expiry is not in the near future"
    if m.instruction.vm != m.target:
        return "the instruction is for another VM than the target"
    if m.prior != target.tuning:
        return "the recorded prior is not the target's tuning"
    return _check_instruction(m, tick)


def _check_instruction(m: Mitigation, tick: HostTick) -> str:
    has = tick.host.capabilities
    instruction = m.instruction
    if isinstance(instruction, SetVcpuPins):
        cpus = set(tick.host.cpus)
        if m.kind is not ActionKind.PIN_APART or Capability.PIN not in has:
            return "this host cannot pin"
        if len(instruction.vcpu_pins) != len(m.prior.vcpu_pins):
            return "pins do not match the VM's vCPUs"
        if any(not pins or not set(pins) <= cpus for pins in instruction.vcpu_pins):
            return "pins are empty or off the host's CPUs"
    elif isinstance(instruction, SetCpuShares):
        if m.kind not in (ActionKind.BOOST, ActionKind.PROBE) or Capability.SHARES not in has:
            return "this host has no CPU shares"
        if not SHARES_RANGE[0] <= instruction.shares <= SHARES_RANGE[1] or m.prior.shares is None:
            return "shares are out of range or could not be restored"
    elif isinstance(instruction, SetCpuQuota):
        if m.kind not in (ActionKind.QUOTA, ActionKind.PROBE) or Capability.QUOTA not in has:
            return "this host has no CPU quota"
        low, high = PERIOD_RANGE_US
        if not low <= instruction.period_us <= high or instruction.quota_us < low:
            return "quota or period is out of range"
        if m.prior.quota_us is None or m.prior.period_us is None:
            return "the quota could not be restored"
    return ""
