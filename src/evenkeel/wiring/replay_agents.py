"""Hosts of a replay that run short, with the agent of a live host on each: `InPlace`.

A host costs nothing until it is short for the first time. Its agent then gets to know the last
minutes before, as a live one would have, by ticks that are long and in which nothing is done.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64, Ints
from evenkeel.domain.host import Mode
from evenkeel.domain.ids import TenantId
from evenkeel.domain.policy import Policy
from evenkeel.domain.recording import Recording
from evenkeel.domain.resources import CPU_AXIS, IOPS_AXIS, MEMORY_AXIS, N_RESOURCES, NET_AXIS
from evenkeel.sim.host import HostSpec
from evenkeel.sim.replay.run import Given
from evenkeel.sim.replay.world import Hosts
from evenkeel.sim.vm import KERNEL_SHARE, VmSpec
from evenkeel.sim.workload import Steady
from evenkeel.wiring.replayed_host import Passed, ReplayedHost

ACT: Final = Policy(mode=Mode.ACT)
KNOWN_S: Final = 300.0
"""What an agent knows of the time before its host ran short: half of what makes a VM's norm."""


class AgentsInPlace:
    """Implements `sim.replay`'s `InPlace`; one object a run."""

    def __init__(
        self,
        recording: Recording,
        hosts: Hosts,
        policy: Policy = ACT,
        *,
        seed: int = 0,
        every_tick: bool = False,
        define: Callable[[VmSpec], VmSpec] = lambda spec: spec,
    ) -> None:
        """`every_tick`: nothing is skipped. `define`: what a recording does not say, as pins."""
        self._recording = recording
        self._shapes = hosts
        self._policy = policy
        self._seed = seed
        self._every_tick = every_tick
        self._define = define
        self.hosts: dict[int, ReplayedHost] = {}
        self._wanted = lru_cache(maxsize=8)(recording.wanted)

    def slot(self, host: int, vms: Ints, wanted: F64, start_s: float, span_s: float) -> Given:
        """See `InPlace`. A host that was not asked for a while slept meanwhile."""
        here = self._awake(host, vms, start_s)
        here.host(self._specs(vms, wanted))
        passed = here.pass_(span_s)
        return Given(
            got=_got(self._names(vms), wanted, passed, span_s),
            n_actions=passed.n_actions,
            n_rolled_back=passed.n_rolled_back,
            events=passed.events,
        )

    def is_open(self, host: int) -> bool:
        """Whether a mitigation is open on it."""
        return host in self.hosts and self.hosts[host].n_open > 0

    def _awake(self, host: int, vms: Ints, start_s: float) -> ReplayedHost:
        """The host at `start_s`, its agent knowing what its VMs wanted just before."""
        recording = self._recording
        known_from_s = max(recording.start_s, start_s - KNOWN_S)
        here = self.hosts.get(host)
        if here is None:
            here = self.hosts[host] = self._new(host, known_from_s)
        if start_s - here.now_s > KNOWN_S:
            here.sleep(known_from_s - here.now_s)
        watching = replace(self._policy, mode=Mode.OBSERVE)
        while here.now_s < start_s - 1e-6:
            here.adopt(watching)
            at = int((here.now_s - recording.start_s) / recording.slot_s + 1e-9)
            until_s = min(start_s, recording.start_s + (at + 1) * recording.slot_s)
            were = vms[(recording.vms.arrives[vms] <= at) & (at < recording.vms.leaves[vms])]
            here.host(self._specs(were, self._wanted(at)[were]))
            here.catch_up(until_s - here.now_s)
        here.adopt(self._policy)
        return here

    def _new(self, host: int, now_s: float) -> ReplayedHost:
        shapes = self._shapes
        spec = HostSpec(
            shapes.ids[host],
            cpus=tuple(range(int(shapes.n_cpus[host]))),
            memory_mib=float(shapes.memory_mib[host]),
            net_mbit_s=float(shapes.net[host]),
            iops=float(shapes.iops[host]),
        )
        return ReplayedHost(spec, self._policy, now_s, self._seed, self._every_tick)

    def _names(self, vms: Ints) -> list[str]:
        return [self._recording.vms.ids[vm] for vm in vms.tolist()]

    def _specs(self, vms: Ints, wanted: F64) -> dict[str, VmSpec]:
        table = self._recording.vms
        memory = table.memory_mib[vms]
        # What a guest's kernel keeps for itself is no reason for it to fault in a trace.
        working_set = np.minimum(wanted[:, MEMORY_AXIS], memory * (1.0 - KERNEL_SHARE))
        columns = vms.tolist(), wanted.tolist(), memory.tolist(), working_set.tolist()
        return {
            table.ids[vm]: self._define(
                VmSpec(
                    table.ids[vm],
                    n_vcpus=max(1, math.ceil(table.vcpus[vm] - 1e-9)),
                    memory_mib=size,
                    cpu=Steady(wants[CPU_AXIS]),
                    iops=Steady(wants[IOPS_AXIS]),
                    net_mbit_s=Steady(wants[NET_AXIS]),
                    working_set_mib=Steady(resident),
                    tenant=TenantId(table.tenant[vm]),
                    in_spells=False,  # what they cost is the replay's own overlap
                )
            )
            for vm, wants, size, resident in zip(*columns, strict=True)
        }


def _got(names: list[str], wanted: F64, passed: Passed, span_s: float) -> F64:
    """(n, R) means over the slot; never more than was wanted, but for rounding."""
    got = np.empty((len(names), N_RESOURCES))
    for i, name in enumerate(names):
        work = passed.work[name]
        got[i, CPU_AXIS] = work.got_core_s / span_s
        got[i, NET_AXIS] = work.got_mbit / span_s
        got[i, IOPS_AXIS] = work.got_requests / span_s
        got[i, MEMORY_AXIS] = wanted[i, MEMORY_AXIS] * passed.resident[name]
    return np.minimum(got, wanted)
