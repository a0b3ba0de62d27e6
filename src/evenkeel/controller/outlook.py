"""The live fleet as planners of moves read it: who is where, what is wanted and reserved ahead.

From each host's newest tick, the latest forecasts and the claims. Laid out when somebody asks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from evenkeel.controller.company import company_of
from evenkeel.controller.present import Present, Seen
from evenkeel.domain.arrays import F64
from evenkeel.domain.claim import Claim
from evenkeel.domain.ids import VmId
from evenkeel.domain.placement import Terms
from evenkeel.domain.resources import N_RESOURCES
from evenkeel.domain.shard import Lot
from evenkeel.domain.vm import Vm, VmState
from evenkeel.placement.calendar import capacity_shards
from evenkeel.placement.fleet import Chance, Fleet, Vms
from evenkeel.placement.problem import Problem, Promises, over_slots
from evenkeel.placement.promise_columns import most_held, with_promises
from evenkeel.records import HostRecord

HOUR_S: Final = 3600.0
AHEAD_S: Final = (0.25 * HOUR_S, HOUR_S, 3 * HOUR_S, 6 * HOUR_S, 12 * HOUR_S, 24 * HOUR_S)
"""Instants that stand for the slots of the calendar: up to the first, between two, and so on."""
UNTIL_S: Final = 48 * HOUR_S
"""The last slot ends here."""
FOR_EVER_S: Final = 1 << 40
"""What is promised is promised to its end."""


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
        claims = list(self._present.claims())
        mean, deviation = (np.array(x) for x in zip(*map(seen.ahead, AHEAD_S), strict=True))
        told = Counter(vm.id for vm in seen.vms)
        exempt = np.array(
            [vm.exempt or vm.state is not VmState.RUNNING or told[vm.id] > 1 for vm in seen.vms],
            dtype=bool,
        )
        exempt |= ~seen.heard[seen.host]
        waiting = _waiting(seen, claims)
        terms = [*seen.terms(), *(terms for _, terms, _ in waiting)]
        tenants = {tenant: i for i, tenant in enumerate(sorted({of.tenant for of in terms}))}
        hosts, n_waiting = seen.hosts(), len(waiting)
        nothing = np.zeros((len(AHEAD_S), n_waiting, N_RESOURCES))
        mean = np.concatenate([mean, nothing], axis=1)
        deviation = np.concatenate([deviation, nothing], axis=1)
        fleet = Fleet(
            hosts,
            Vms(
                ids=tuple(vm.id for vm in (*seen.vms, *(vm for vm, _, _ in waiting))),
                host=np.append(seen.host, np.array([h for _, _, h in waiting], dtype=np.intp)),
                mean=mean[0],
                deviation=deviation[0],
                tenant=np.array([tenants[of.tenant] for of in terms], dtype=np.intp),
                exempt=np.append(exempt, np.ones(n_waiting, dtype=bool)),
            ),
        )
        promises = _promises(seen, claims, {vm: i for i, vm in enumerate(fleet.vms.ids)})
        reserved = _reserved(promises, self._chance, hosts.capacity.shape) + seen.background
        moved = self._present.moved(cooldown_s)
        problem = replace(
            over_slots(fleet, mean, deviation, reserved),
            chance=Chance(self._chance.epsilon, np.tile(self._chance.correlation, len(AHEAD_S))),
            since_moved_s=np.array([moved.get(vm, np.inf) for vm in fleet.vms.ids]),
            company=company_of(terms, hosts.ids),
            drain=seen.closed & seen.heard if seen.closed.any() else None,
        )
        if promises.carried:
            problem = with_promises(problem, promises, [*_edges(promises.now_s), FOR_EVER_S])
        return LiveFleet(problem, seen.records, (*seen.vms, *(vm for vm, _, _ in waiting)))


def _edges(now_s: int) -> list[int]:
    """(S + 1,) where the calendar's slots begin, and where the last one ends."""
    return [now_s, *(now_s + int(at_s) for at_s in (*AHEAD_S[1:], UNTIL_S))]


def _reserved(promises: Promises, chance: Chance, shape: tuple[int, ...]) -> F64:
    """(S, H, R) what hosts hold for others in each slot. VMs that run take what they want already,
    and their lots go where they go."""
    edges_s = _edges(promises.now_s)
    out = np.zeros((len(AHEAD_S), *shape))
    for h, lots in enumerate(promises.fixed):
        if lots:
            out[:, h] = most_held(lots, edges_s, chance)
    return out


def _promises(seen: Seen, claims: Sequence[Claim], row: Mapping[VmId, int]) -> Promises:
    """Lots by who has them, a VM that runs on their host or nobody."""
    place = {record.host.id: h for h, record in enumerate(seen.records)}
    by_name = {(vm.name, vm.tenant): vm.id for vm in seen.vms}
    home = dict(zip((vm.id for vm in seen.vms), seen.host.tolist(), strict=True))
    carried: dict[int, list[Lot]] = {}
    fixed: list[list[Lot]] = [[] for _ in seen.records]
    for claim in claims:
        holder = claim.vm if claim.vm in home else by_name.get((claim.vm, claim.owner))
        for lot in claim.lots:
            on = place.get(lot.location.host)
            if on is None:
                continue
            mine = holder is not None and home[holder] == on
            (carried.setdefault(row[holder], []) if holder and mine else fixed[on]).append(lot)
    capacity = [capacity_shards(record.host.capacity) for record in seen.records]
    return Promises(
        now_s=int(seen.at_s),
        capacity=np.array(capacity, dtype=np.intp).reshape(-1, N_RESOURCES),
        fixed=tuple(tuple(lots) for lots in fixed),
        carried={vm: tuple(lots) for vm, lots in carried.items()},
    )


def _waiting(seen: Seen, claims: Sequence[Claim]) -> list[tuple[Vm, Terms, int]]:
    """VMs placed on terms that do not run yet, with their host's position: others keep apart from
    them. What they want is in their lots."""
    place = {record.host.id: h for h, record in enumerate(seen.records)}
    running = {name for vm in seen.vms for name in (vm.id, vm.name)}
    out = []
    for claim in claims:
        hosts = {lot.location.host for lot in claim.lots if lot.start_s <= seen.at_s}
        if claim.vm in seen.placed and claim.vm not in running and len(hosts) == 1:
            host, terms = place.get(hosts.pop()), seen.placed[claim.vm]
            if host is not None:
                vm = Vm(claim.vm, claim.vm, n_vcpus=1, memory_mib=0.0, tenant=terms.tenant)
                out.append((vm, terms, host))
                running.add(claim.vm)
    return out
