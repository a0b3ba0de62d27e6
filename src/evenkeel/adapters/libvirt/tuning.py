"""Reads and turns a running VM's CPU knobs: pins, shares and the vCPU quota, and nothing else.

Everything is set on the running VM alone (AFFECT_LIVE): its stored configuration stays, so a VM
that is started anew is free of us. What is read here, given back to `apply`, reads the same again.
"""

from __future__ import annotations

from typing import Any, Final

import libvirt

from evenkeel.adapters.libvirt import faults
from evenkeel.domain.errors import (
    ActionRefused,
    ActionUnsupported,
    HypervisorError,
    VmGone,
)
from evenkeel.domain.ids import VmId
from evenkeel.domain.plan import Instruction, SetCpuQuota, SetCpuShares, SetVcpuPins
from evenkeel.domain.vm import CpuTuning

LIVE: Final = libvirt.VIR_DOMAIN_AFFECT_LIVE
SHARES: Final = "cpu_shares"
PERIOD: Final = "vcpu_period"
QUOTA: Final = "vcpu_quota"
WHOLE_QUOTA: Final = "global_quota"
NO_QUOTA: Final = -1
_UNLIMITED_US: Final = 17_592_186_044_415
"""libvirt also says "no quota" by this number (cgroup v1) or a greater one (v2: 2**64 / 1000)."""


def look_up(connection: Any, vm_id: VmId) -> Any:
    """The libvirt domain. Raises VmGone, HypervisorError."""
    try:
        return connection.lookupByUUIDString(vm_id)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_INVALID_ARG:
            raise VmGone(f"{vm_id!r} is not a domain UUID") from error
        raise faults.on_call(error, f"look up VM {vm_id}") from error


def read(domain: Any) -> tuple[CpuTuning, bool]:
    """A running VM's knobs, and whether the VM as a whole has a quota (which is not ours to set).

    Raises VmGone, HypervisorError.
    """
    try:
        bitmaps = domain.vcpuPinInfo(LIVE)
        scheduler = _scheduler(domain)
    except libvirt.libvirtError as error:
        raise _explain(domain, error, "read tuning") from error
    pins = tuple(tuple(cpu for cpu, may in enumerate(bitmap) if may) for bitmap in bitmaps)
    tuning = CpuTuning(
        vcpu_pins=pins,
        shares=scheduler.get(SHARES),
        period_us=scheduler.get(PERIOD),
        quota_us=_quota(scheduler.get(QUOTA)),
    )
    whole = _quota(scheduler.get(WHOLE_QUOTA))
    return tuning, whole is not None and whole != NO_QUOTA


def apply(domain: Any, instruction: Instruction) -> None:
    """Turn one knob. Raises VmGone, ActionUnsupported, ActionRefused, HypervisorError."""
    try:
        match instruction:
            case SetVcpuPins():
                _pin(domain, instruction)
            case SetCpuShares():
                _schedule(domain, {SHARES: instruction.shares})
            case SetCpuQuota():
                wanted = {PERIOD: instruction.period_us, QUOTA: _quota(instruction.quota_us)}
                _schedule(domain, wanted)
    except libvirt.libvirtError as error:
        what = f"{type(instruction).__name__} for VM {instruction.vm}"
        raise _explain(domain, error, what) from error
    except OverflowError as error:  # a number that libvirt's C types cannot hold
        raise ActionRefused(f"{instruction}: {error}") from error


def _scheduler(domain: Any) -> dict[str, int]:
    """Scheduler parameters; none where the host has no CPU controller."""
    try:
        parameters: dict[str, int] = domain.schedulerParametersFlags(LIVE)
    except libvirt.libvirtError as error:
        explained = _explain(domain, error, "read scheduler parameters")
        if isinstance(explained, ActionUnsupported):
            return {}
        raise
    return parameters


def _pin(domain: Any, instruction: SetVcpuPins) -> None:
    present = domain.vcpuPinInfo(LIVE)
    if len(instruction.vcpu_pins) > len(present):
        raise ActionRefused(
            f"VM {instruction.vm} has {len(present)} vCPUs, not {len(instruction.vcpu_pins)}"
        )
    for vcpu, pins in enumerate(instruction.vcpu_pins):
        n_cpus = len(present[vcpu])
        if not pins or min(pins) < 0 or max(pins) >= n_cpus:
            raise ActionRefused(f"{pins} are not CPUs of a host with {n_cpus}")
    for vcpu, pins in enumerate(instruction.vcpu_pins):
        wanted = tuple(cpu in pins for cpu in range(len(present[vcpu])))
        if wanted != present[vcpu]:
            domain.pinVcpuFlags(vcpu, wanted, LIVE)


def _schedule(domain: Any, wanted: dict[str, int | None]) -> None:
    present = _scheduler(domain)
    if not wanted.keys() <= present.keys():
        raise ActionUnsupported(f"{', '.join(sorted(wanted))}: the host has no CPU controller")
    domain.setSchedulerParametersFlags(wanted, LIVE)


def _quota(quota_us: int | None) -> int | None:
    """libvirt has three ways to say "no quota"; we have one."""
    if quota_us is None or 0 < quota_us < _UNLIMITED_US:
        return quota_us
    return NO_QUOTA


def _explain(domain: Any, error: Any, what: str) -> HypervisorError:
    """Like `faults.on_call`, and tells a VM that has stopped from an operation that is refused."""
    if error.get_error_code() == libvirt.VIR_ERR_OPERATION_INVALID:
        try:
            running = bool(domain.isActive())
        except libvirt.libvirtError as second:
            return faults.on_call(second, what)
        if not running:
            return VmGone(f"{what}: the VM is not running")
    return faults.on_call(error, what)
