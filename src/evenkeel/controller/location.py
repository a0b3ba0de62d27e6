"""Where a VM is, when hosts disagree, and what to write in the log about it. Pure.

During a migration two hosts list the VM, and their batches reach the controller in any order. So
the home is elected from what each host's newest tick says, and from nothing else: however batches
are delayed, repeated or reordered, the same batches give the same home.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from evenkeel.domain.events import Event
from evenkeel.domain.ids import HostId
from evenkeel.records import Claim, VmRecord

CONTEST_S: Final = 30.0
"""Two hosts that both claim a running VM within this time are amid a migration."""


def elect(claims: Sequence[Claim]) -> HostId | None:
    """The host a VM is on: one that runs it, before one that only has it; then the latest word."""
    if not claims:
        return None
    return max(claims, key=lambda claim: (claim.running, claim.taken_at_s, claim.host)).host


def contested(claims: Sequence[Claim]) -> bool:
    """Two hosts say at about the same time that they run it; wait before telling anybody."""
    running = [claim.taken_at_s for claim in claims if claim.running]
    return len(running) > 1 and sorted(running)[-2] > max(running) - CONTEST_S


def tell(before: VmRecord | None, after: VmRecord, now_s: float) -> Event | None:
    """The event for a change of home: vm_appeared, vm_moved or vm_left; None without a change."""
    told = before.told if before else None
    vm, home = after.vm, after.home
    if home == told:
        return None
    if home is None:
        return Event(now_s, "vm_left", f"{vm.name} left {told}", host=told, vm=vm.id)
    came_from = told or (before.last_home if before else None)
    if came_from is None or came_from == home:
        return Event(now_s, "vm_appeared", f"{vm.name} appeared on {home}", host=home, vm=vm.id)
    return Event(
        now_s,
        "vm_moved",
        f"{vm.name} moved from {came_from} to {home}",
        host=home,
        vm=vm.id,
        detail={"from": came_from, "to": home},
    )
