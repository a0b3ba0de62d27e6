"""The live fleet as planners of moves read it: who is where, what is wanted and reserved ahead.

From each host's newest tick, the latest forecasts and the claims. Laid out when somebody asks.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from evenkeel.controller.present import Present
from evenkeel.domain.arrays import F64
from evenkeel.domain.resources import N_RESOURCES, axis_of
from evenkeel.domain.vm import Vm, VmState
from evenkeel.placement.fleet import Chance, Fleet, Vms
from evenkeel.placement.problem import Problem, over_slots
from evenkeel.records import HostRecord

HOUR_S: Final = 3600.0
AHEAD_S: Final = (0.25 * HOUR_S, HOUR_S, 3 * HOUR_S, 6 * HOUR_S, 12 * HOUR_S, 24 * HOUR_S)
"""Instants that stand for the slots of the calendar: up to the first, between two, and so on."""
UNTIL_S: Final = 48 * HOUR_S
"""The last slot ends here."""


@dataclass(frozen=True, slots=True, eq=False)
class LiveFleet:
    """`problem` at plain costs; `records` (H,) and `vms` (V,) in its order."""

    problem: Problem
    records: tuple[HostRecord, ...]
    vms: tuple[Vm, ...]


class LiveOutlook:
    """Thread-safe: it keeps nothing.

    Parameters
    ----------
    present : what is told of the fleet. Hosts not heard from take nobody, and their VMs stay;
        hosts in maintenance take nobody, and their VMs may leave
    chance : the accepted risk of one slot, (R,)
    """

    def __init__(self, present: Present, chance: Chance) -> None:
        self._present = present
        self._chance = chance

    def lay_out(self, cooldown_s: float) -> LiveFleet:
        """The fleet from now on. VMs of which two hosts tell, or that are paused, stay where they
        are. Raises StoreUnavailable."""
        seen = self._present.look()
        mean, deviation = (np.array(x) for x in zip(*map(seen.ahead, AHEAD_S), strict=True))
        told = Counter(vm.id for vm in seen.vms)
        exempt = np.array(
            [vm.exempt or vm.state is not VmState.RUNNING or told[vm.id] > 1 for vm in seen.vms],
            dtype=bool,
        )
        tenants = {tenant: i for i, tenant in enumerate(sorted({vm.tenant for vm in seen.vms}))}
        fleet = Fleet(
            seen.hosts(),
            Vms(
                ids=tuple(vm.id for vm in seen.vms),
                host=seen.host,
                mean=mean[0],
                deviation=deviation[0],
                tenant=np.array([tenants[vm.tenant] for vm in seen.vms], dtype=np.intp),
                exempt=exempt | ~seen.heard[seen.host],
            ),
        )
        reserved = self._reserved(fleet, seen.at_s) + seen.background
        moved = self._present.moved(cooldown_s)
        problem = replace(
            over_slots(fleet, mean, deviation, reserved),
            chance=Chance(self._chance.epsilon, np.tile(self._chance.correlation, len(AHEAD_S))),
            since_moved_s=np.array([moved.get(vm, np.inf) for vm in fleet.vms.ids]),
        )
        return LiveFleet(problem, seen.records, seen.vms)

    def _reserved(self, fleet: Fleet, now_s: float) -> F64:
        """(S, H, R) lots that hold sometime in a slot, but for those of VMs that run there: these
        take what they want already, and their claims go where they go."""
        place = {host: h for h, host in enumerate(fleet.hosts.ids)}
        home = {
            vm: fleet.hosts.ids[h]
            for vm, h in zip(fleet.vms.ids, fleet.vms.host.tolist(), strict=True)
        }
        begins = np.array([0.0, *AHEAD_S[1:]])
        ends = np.append(begins[1:], UNTIL_S)
        out = np.zeros((len(AHEAD_S), len(place), N_RESOURCES))
        for claim in self._present.claims():
            for lot in claim.lots:
                on = lot.location.host
                if on not in place or (claim.vm and home.get(claim.vm) == on):
                    continue
                held = (lot.start_s < now_s + ends) & (lot.end_s > now_s + begins)
                out[held, place[on], axis_of(lot.resource)] += lot.amount
        return out
