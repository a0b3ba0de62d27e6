"""What an instruction does to a VM's knobs, and what takes it back."""

from __future__ import annotations

from dataclasses import replace

from evenkeel.domain.plan import Instruction, SetCpuQuota, SetCpuShares, SetVcpuPins
from evenkeel.domain.vm import CpuTuning


def turned(instruction: Instruction, tuning: CpuTuning) -> CpuTuning:
    """A tuning after the instruction."""
    if isinstance(instruction, SetVcpuPins):
        return replace(tuning, vcpu_pins=instruction.vcpu_pins)
    if isinstance(instruction, SetCpuShares):
        return replace(tuning, shares=instruction.shares)
    return replace(tuning, period_us=instruction.period_us, quota_us=instruction.quota_us)


def inverse(instruction: Instruction, prior: CpuTuning) -> Instruction:
    """The instruction that puts back what `instruction` changed."""
    if isinstance(instruction, SetVcpuPins):
        return SetVcpuPins(instruction.vm, prior.vcpu_pins)
    if isinstance(instruction, SetCpuShares):
        assert prior.shares is not None, "checked before it was applied"
        return SetCpuShares(instruction.vm, prior.shares)
    assert prior.period_us is not None, "checked before it was applied"
    assert prior.quota_us is not None, "checked before it was applied"
    return SetCpuQuota(instruction.vm, prior.period_us, prior.quota_us)


def holds(instruction: Instruction, tuning: CpuTuning) -> bool:
    """Whether the knob stands where the instruction puts it."""
    if isinstance(instruction, SetVcpuPins):
        return tuning.vcpu_pins == instruction.vcpu_pins
    if isinstance(instruction, SetCpuShares):
        return tuning.shares == instruction.shares
    return (tuning.period_us, tuning.quota_us) == (instruction.period_us, instruction.quota_us)


def restored(instruction: Instruction, prior: CpuTuning, tuning: CpuTuning) -> bool:
    """Whether the knob stands where it stood before the instruction."""
    return holds(inverse(instruction, prior), tuning)


def fit(prior: CpuTuning, cpus: tuple[int, ...]) -> CpuTuning:
    """A tuning from another host, on this one: pins to CPUs that are not here become "anywhere"."""
    pins = tuple(p if set(p) <= set(cpus) else tuple(cpus) for p in prior.vcpu_pins)
    return replace(prior, vcpu_pins=pins)
