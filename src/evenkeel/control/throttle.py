"""The gentlest throttles of a suspect that could show anything."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from evenkeel.domain.host import Capability
from evenkeel.domain.plan import Instruction, SetCpuQuota, SetCpuShares
from evenkeel.domain.vm import CpuTuning, Vm

PERIOD_US: Final = 100_000
FLOOR_CORES: Final = 0.1
"""A throttled VM keeps at least this much of a core on every vCPU."""
MIN_SHARES: Final = 2


def throttles(
    vm: Vm, use_cores: float, depth: float, capabilities: frozenset[Capability]
) -> Iterator[tuple[Instruction, CpuTuning]]:
    """Quota, then weight, where the host has them and they can be put back.

    The quota holds for each vCPU: one vCPU may carry all of the VM's use, so each keeps
    `(1 - depth) * min(1, use)` cores, and none loses more than `depth` of what it has. A smaller
    weight only takes what somebody else asks for at that moment.
    """
    tuning = vm.tuning
    keeps = max((1.0 - depth) * min(1.0, use_cores), FLOOR_CORES)
    quota_us = math.ceil(keeps * PERIOD_US)
    restorable = tuning.quota_us is not None and tuning.period_us is not None
    tighter = quota_us / PERIOD_US * max(1, vm.n_vcpus) < tuning.quota_cores
    if Capability.QUOTA in capabilities and restorable and tighter and quota_us < PERIOD_US:
        yield (
            SetCpuQuota(vm.id, PERIOD_US, quota_us),
            replace(tuning, period_us=PERIOD_US, quota_us=quota_us),
        )
    if Capability.SHARES in capabilities and tuning.shares is not None:
        shares = max(MIN_SHARES, math.ceil((1.0 - depth) * tuning.shares))
        if shares < tuning.shares:
            yield SetCpuShares(vm.id, shares), replace(tuning, shares=shares)
