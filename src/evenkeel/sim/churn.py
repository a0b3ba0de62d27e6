"""A fleet's ordinary unrest, seeded: VMs reboot, pause, move and leave, and clocks are set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from evenkeel.domain.ids import VmId
from evenkeel.domain.vm import VmState
from evenkeel.sim.fleet import SimFleet


class ChurnKind(StrEnum):
    REBOOT = "reboot"
    PAUSE = "pause"
    MIGRATE = "migrate"
    VANISH = "vanish"
    CLOCK_JUMP = "clock_jump"


@dataclass(frozen=True, slots=True)
class ChurnRates:
    """Events per hour in the whole fleet; a pause lasts up to `longest_pause_s`, a clock jump
    goes up to `largest_jump_s` either way."""

    reboot: float = 0.0
    pause: float = 0.0
    migrate: float = 0.0
    vanish: float = 0.0
    clock_jump: float = 0.0
    longest_pause_s: float = 60.0
    largest_jump_s: float = 3600.0


@dataclass(frozen=True, slots=True)
class ChurnEvent:
    """What happened, and to which VM (None: to the clock)."""

    at_s: float
    kind: ChurnKind
    vm: VmId | None


SECONDS_PER_HOUR: Final = 3600.0


def plan_churn(
    fleet: SimFleet, rates: ChurnRates, *, seed: int, until_s: float
) -> list[ChurnEvent]:
    """Put random events on the fleet's agenda until `until_s`.

    The list that is returned grows as they happen; an event that finds nobody to happen to is
    left out.
    """
    happened: list[ChurnEvent] = []
    for number, kind in enumerate(ChurnKind):
        rate = float(getattr(rates, kind))
        rng = np.random.default_rng([seed, number])
        time_s = fleet.now_s
        while rate > 0:
            time_s += float(rng.exponential(SECONDS_PER_HOUR / rate))
            if time_s > until_s:
                break
            fleet.at(time_s, _event(fleet, kind, rates, rng, happened))
    return happened


def _event(
    fleet: SimFleet,
    kind: ChurnKind,
    rates: ChurnRates,
    rng: np.random.Generator,
    happened: list[ChurnEvent],
) -> Callable[[], None]:
    def happen() -> None:
        if kind is ChurnKind.CLOCK_JUMP:
            fleet.clock.jump_wall(float(rng.uniform(-1, 1)) * rates.largest_jump_s)
            happened.append(ChurnEvent(fleet.now_s, kind, None))
            return
        running = [
            vm.id
            for host in fleet.hosts.values()
            for vm in host.vms.values()
            if vm.state is VmState.RUNNING
        ]
        if not running or (kind is ChurnKind.MIGRATE and len(fleet.hosts) < 2):
            return
        vm_id = running[int(rng.integers(len(running)))]
        _strike(fleet, kind, vm_id, rng, rates)
        happened.append(ChurnEvent(fleet.now_s, kind, vm_id))

    return happen


def _strike(
    fleet: SimFleet, kind: ChurnKind, vm_id: VmId, rng: np.random.Generator, rates: ChurnRates
) -> None:
    if kind is ChurnKind.REBOOT:
        fleet.reboot_vm(vm_id)
    elif kind is ChurnKind.VANISH:
        fleet.remove_vm(vm_id)
    elif kind is ChurnKind.MIGRATE:
        here = fleet.host_of(vm_id)
        others = [host_id for host_id, host in fleet.hosts.items() if host is not here]
        fleet.migrate_vm(vm_id, others[int(rng.integers(len(others)))])
    else:
        fleet.pause_vm(vm_id)
        until_s = fleet.now_s + float(rng.uniform(0, rates.longest_pause_s))
        fleet.at(until_s, lambda: _resume(fleet, vm_id))


def _resume(fleet: SimFleet, vm_id: VmId) -> None:
    """Unless it left, or something else woke it meanwhile."""
    host = next((h for h in fleet.hosts.values() if vm_id in h.vms), None)
    if host is not None and host.vms[vm_id].state is VmState.PAUSED:
        fleet.resume_vm(vm_id)
