"""The GuestProfiles port of one simulated host: every VM with a profiler reports its CPU work.

What a VM says goes through the same inbox as on a real host, nonsense and floods included.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from evenkeel.domain.ids import HostId, VmId
from evenkeel.domain.sample import GuestReading
from evenkeel.domain.vm import VmState
from evenkeel.guest_wire import GUEST_WIRE_VERSION, MAX_BYTES, Inbox
from evenkeel.sim.faults import FaultKind, Faults
from evenkeel.sim.fleet import SimFleet
from evenkeel.sim.vm import SimVm

UNITS_PER_CORE_S: Final = 1000.0
NONSENSE: Final = b'{"v":1,"t":-1,"work":"a lot"}\n'


class SimGuestProfiles:
    """Implements `ports.GuestProfiles` for the VMs of a host whose spec has a profiler."""

    def __init__(self, fleet: SimFleet, host_id: HostId, faults: Faults | None = None) -> None:
        self._fleet = fleet
        self._host_id = host_id
        self._faults = faults
        self._inboxes: dict[tuple[VmId, int], Inbox] = {}

    def read(self) -> Mapping[VmId, GuestReading]:
        host = self._fleet.hosts[self._host_id]
        now_s = self._fleet.clock.monotonic_s()
        found = {}
        for vm in host.vms.values():
            if not vm.spec.has_profiler:
                continue
            inbox = self._inboxes.setdefault((vm.id, vm.incarnation), Inbox())
            if vm.state is VmState.RUNNING:
                inbox.feed(self._said(vm, now_s))
            found[vm.id] = inbox.take(now_s)
        present = {(vm.id, vm.incarnation) for vm in host.vms.values()}
        self._inboxes = {key: box for key, box in self._inboxes.items() if key in present}
        return found

    def say(self, vm_id: VmId, raw: bytes) -> None:
        """Let a VM send something of its own, beside what its profiler says."""
        vm = self._fleet.hosts[self._host_id].vms[vm_id]
        self._inboxes.setdefault((vm.id, vm.incarnation), Inbox()).feed(raw)

    def close(self) -> None:
        self._inboxes.clear()

    def _said(self, vm: SimVm, now_s: float) -> bytes:
        if self._strikes(FaultKind.PROFILER_NONSENSE, vm.id):
            return NONSENSE
        if self._strikes(FaultKind.PROFILER_FLOOD, vm.id):
            return NONSENSE * (2 * MAX_BYTES // len(NONSENSE))
        work = round(vm.totals.run_s * UNITS_PER_CORE_S, 6)
        line = {"v": GUEST_WIRE_VERSION, "t": round(now_s, 3), "work": work}
        return json.dumps(line).encode() + b"\n"

    def _strikes(self, kind: FaultKind, subject: str) -> bool:
        return self._faults is not None and self._faults.strikes(kind, subject)
