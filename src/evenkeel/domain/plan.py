"""Plans and instructions, as data: what should be done, why, until when, and how to undo it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import msgspec

from evenkeel.domain.ids import HostId, MitigationId, VmId
from evenkeel.domain.resources import Resource
from evenkeel.domain.vm import CpuTuning


class ActionKind(StrEnum):
    PIN_APART = "pin_apart"
    BOOST = "boost"
    QUOTA = "quota"
    PROBE = "probe"
    """An experiment, not a remedy: `Policy.probe` allows it, never `Policy.allowed`."""


REMEDIES = frozenset({ActionKind.PIN_APART, ActionKind.BOOST, ActionKind.QUOTA})


class SetVcpuPins(msgspec.Struct, frozen=True, tag="set_vcpu_pins"):
    vm: VmId
    vcpu_pins: tuple[tuple[int, ...], ...]


class SetCpuShares(msgspec.Struct, frozen=True, tag="set_cpu_shares"):
    vm: VmId
    shares: int


class SetCpuQuota(msgspec.Struct, frozen=True, tag="set_cpu_quota"):
    """`quota_us` per vCPU and `period_us`, as the kernel's CFS bandwidth control takes them."""

    vm: VmId
    period_us: int
    quota_us: int


Instruction = SetVcpuPins | SetCpuShares | SetCpuQuota


class MitigationState(StrEnum):
    ADVISED = "advised"
    """Shown to the operator; nothing was changed."""
    INTENDED = "intended"
    """In the journal, perhaps half done: a restart rolls it back."""
    ACTIVE = "active"
    VERIFIED = "verified"
    """Active, and the measured effect confirms the predicted one."""
    INEFFECTIVE = "ineffective"
    """It did not help, and was rolled back for that."""
    ROLLED_BACK = "rolled_back"
    """Undone: no longer needed, expired, or asked for."""
    REFUSED = "refused"
    """Re-observation or the hypervisor refused it; nothing was changed."""
    ABANDONED = "abandoned"
    """The VM left or somebody else changed the same knob: nothing of ours is left to undo."""


OPEN_STATES = frozenset(
    {MitigationState.INTENDED, MitigationState.ACTIVE, MitigationState.VERIFIED}
)


@dataclass(frozen=True, slots=True)
class Mitigation:
    """One reversible change to one VM (`target`), made for `victim` because of `aggressor`.

    `prior` is the target's tuning to return to. Losses are shares of the victim's demand:
    `loss_before` measured when decided, `predicted_loss` with the change, `measured_loss` after.
    """

    id: MitigationId
    host: HostId
    kind: ActionKind
    target: VmId
    victim: VmId
    aggressor: VmId
    resource: Resource
    instruction: Instruction
    prior: CpuTuning
    reason: str
    created_at_s: float
    expires_at_s: float
    state: MitigationState
    loss_before: float
    predicted_loss: float
    measured_loss: float | None = None
    state_at_s: float = 0.0
    state_reason: str = ""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A candidate that was considered and why it was not chosen."""

    kind: ActionKind
    target: VmId
    predicted_loss: float
    why: str


@dataclass(frozen=True, slots=True)
class Apply:
    mitigation: Mitigation


@dataclass(frozen=True, slots=True)
class Extend:
    """Keep an open mitigation until a later expiry: it is still needed."""

    mitigation_id: MitigationId
    expires_at_s: float


@dataclass(frozen=True, slots=True)
class Confirm:
    """The measured effect is in: mark verified."""

    mitigation_id: MitigationId
    measured_loss: float


@dataclass(frozen=True, slots=True)
class Undo:
    mitigation_id: MitigationId
    final_state: MitigationState
    reason: str
    measured_loss: float | None = None


Step = Apply | Extend | Confirm | Undo


def is_probe(step: Step) -> bool:
    """Whether a step starts a throttle of an experiment."""
    return isinstance(step, Apply) and step.mitigation.kind is ActionKind.PROBE


@dataclass(frozen=True, slots=True)
class Advice:
    """What Evenkeel would do (or that nothing helps) for one victim, with the roads not taken."""

    victim: VmId
    aggressor: VmId
    resource: Resource
    score: float
    best: Mitigation | None
    rejected: tuple[Rejection, ...]
    answer: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps to take now, in order, and the advice they came from."""

    steps: tuple[Step, ...] = ()
    advice: tuple[Advice, ...] = ()
