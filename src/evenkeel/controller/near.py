"""The next slots of a host's VMs, for its agent: what it needs to foresee the next minute by."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from evenkeel.domain.quantiles import N_QUANTILES
from evenkeel.domain.rdv import FleetDemand
from evenkeel.domain.resources import AXIS, N_RESOURCES, Resource
from evenkeel.domain.vm import Vm
from evenkeel.wire import SlotsAhead

AGENT_AHEAD_S: Final = 60.0
SPARE_S: Final = 5.0
"""A forecast takes a while, and reaches the agent with the answer to a batch."""


@dataclass(frozen=True, slots=True, eq=False)
class Latest:
    """One resource's newest forecast, and in which row each VM is."""

    fleet: FleetDemand
    row_of: Mapping[str, int]

    @classmethod
    def of(cls, fleet: FleetDemand) -> Latest:
        return cls(fleet, {vm: k for k, vm in enumerate(fleet.ids)})


def n_near_slots(slot_s: float, grace_s: float) -> int:
    """Slots from the origin that agents ask for until the next forecast reaches them."""
    return math.ceil((slot_s + grace_s + SPARE_S + AGENT_AHEAD_S) / slot_s)


def slots_ahead(
    latest: Mapping[Resource, Latest], vms: Sequence[Vm], n_slots: int, newer_than_s: float
) -> SlotsAhead | None:
    """Slots 1 to `n_slots` of these VMs, by the newest origin; None when there is none newer."""
    origin_s = max((each.fleet.origin_s for each in latest.values()), default=-math.inf)
    if origin_s <= newer_than_s or not vms:
        return None
    values = np.full((len(vms), N_RESOURCES, n_slots, N_QUANTILES), np.nan)
    step_s = 0.0
    for r, resource in enumerate(AXIS):
        found = latest.get(resource)
        if found is None or found.fleet.origin_s != origin_s:
            continue
        step_s = found.fleet.step_s
        column = {round(h / step_s): k for k, h in enumerate(found.fleet.horizons_s)}
        slots = [k for k in range(n_slots) if k + 1 in column]
        chosen = [column[k + 1] for k in slots]
        for i, vm in enumerate(vms):
            row = found.row_of.get(vm.id, found.row_of.get(vm.name))
            if row is not None:
                values[i, r, slots] = found.fleet.values[row, chosen]
    known = np.flatnonzero(~np.isnan(values).all(axis=(1, 2, 3))).tolist()
    if not known:
        return None
    return SlotsAhead.of(origin_s, step_s, [vms[i].id for i in known], values[known])
