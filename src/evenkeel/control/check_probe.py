"""The bounds of a probe, looked at once more before it is made. Shares no code with its planner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from evenkeel.domain.ids import VmId
from evenkeel.domain.plan import Mitigation, SetCpuQuota, SetCpuShares
from evenkeel.domain.policy import Policy
from evenkeel.domain.probe import Throttle
from evenkeel.domain.resources import CPU_AXIS
from evenkeel.domain.sample import Flaw, HostTick
from evenkeel.domain.vm import CpuTuning, Vm

DOUBTFUL: Final = frozenset({Flaw.NEW, Flaw.RESET, Flaw.IMPLAUSIBLE, Flaw.NO_DELAY, Flaw.PAUSED})
FLOOR_CORES_PER_VCPU: Final = 0.1
ROUNDING: Final = 1e-3
SAME_EXPERIMENT: Final = 4.0
"""Throttles of one pair that are closer than this many times `probe_max_s` are one experiment."""


@dataclass(frozen=True, slots=True)
class ProbeRecord:
    """Throttles made on this host, oldest first, and since when the agent runs; monotonic time."""

    throttles: tuple[Throttle, ...]
    agent_since_s: float
    now_s: float


def check_probe(
    m: Mitigation, tick: HostTick, policy: Policy, now_s: float, record: ProbeRecord | None
) -> str:
    """Why this throttle must not be made, or an empty string."""
    if not policy.probe:
        return "probes are switched off"
    if record is None:
        return "nobody knows which probes were made before"
    if m.target != m.aggressor or m.target == m.victim:
        return "a probe is made on a suspect other than the victim"
    if m.expires_at_s > now_s + policy.probe_max_s + ROUNDING:
        return "the probe would last too long"
    rows = {vm.id: i for i, vm in enumerate(tick.vms)}
    if any(tick.flaws[rows[vm]] & DOUBTFUL for vm in (m.target, m.victim)):
        return "the numbers of one of the VMs cannot be trusted"
    used = float(tick.usage[rows[m.target], CPU_AXIS])
    return _too_deep(m, tick.vms[rows[m.target]], used, policy) or _over_budget(m, policy, record)


def _too_deep(m: Mitigation, vm: Vm, used_cores: float, policy: Policy) -> str:
    """A quota binds each vCPU, and one vCPU may carry all the use."""
    least = 1.0 - policy.probe_depth - ROUNDING
    if isinstance(m.instruction, SetCpuQuota):
        keeps = m.instruction.quota_us / m.instruction.period_us
        if not used_cores >= 0:
            return "what the suspect uses is not known"
        if keeps < least * min(1.0, used_cores) or keeps < FLOOR_CORES_PER_VCPU - ROUNDING:
            return "the probe would take too much of the suspect"
        if keeps * max(1, vm.n_vcpus) >= _granted(m.prior, vm):
            return "the probe would give the suspect more than it had"
        return ""
    if isinstance(m.instruction, SetCpuShares):
        had = m.prior.shares or 0
        return "" if least * had <= m.instruction.shares < had else "the probe is not a small step"
    return "a probe only throttles"


def _granted(prior: CpuTuning, vm: Vm) -> float:
    if prior.quota_us is None or prior.quota_us < 0 or not prior.period_us:
        return float("inf")
    return prior.quota_us / prior.period_us * max(1, vm.n_vcpus)


def _over_budget(m: Mitigation, policy: Policy, record: ProbeRecord) -> str:
    spacing_s, rest_s = 3600.0 / policy.probes_per_hour, policy.probe_cooldown_s
    pair: tuple[VmId, VmId] = (m.victim, m.target)
    latest = record.throttles[-1] if record.throttles else None
    if latest is not None and (latest.victim, latest.suspect) == pair:
        near_s = SAME_EXPERIMENT * policy.probe_max_s
        round_no, edge_s = 0, record.now_s
        for one in reversed(record.throttles):
            if (one.victim, one.suspect) != pair or edge_s - one.at_s > near_s:
                break
            round_no, edge_s = round_no + 1, one.at_s
        if round_no:
            return "" if round_no < policy.probe_rounds else "the experiment has had its rounds"
    if record.now_s - record.agent_since_s < max(spacing_s, rest_s):
        return "the agent started too short a time ago"
    for one in record.throttles:
        if record.now_s - one.at_s < spacing_s:
            return "the host has had its probe for now"
        if one.suspect == m.target and record.now_s - one.at_s < rest_s:
            return "the suspect was probed a short time ago"
    return ""
