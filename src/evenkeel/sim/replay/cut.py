"""A part of a recording: some hours of it, with those VMs alone that are there then."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from evenkeel.domain.arrays import F64, Ints
from evenkeel.domain.errors import TraceInvalid
from evenkeel.domain.recording import NEVER, Recording, SlotDemand, VmTable


@dataclass(frozen=True, slots=True, eq=False)
class _Later:
    """Demand of some VMs from a slot on."""

    whole: SlotDemand
    vms: Ints
    first: int

    def at(self, slot: int) -> F64:
        return self.whole.at(self.first + slot)[self.vms]


def cut(recording: Recording, from_s: float, hours: float | None) -> Recording:
    """From the slot that holds `from_s` (UTC), for `hours` (None: to the end).

    Raises TraceInvalid for a time that is not recorded.
    """
    first = int((from_s - recording.start_s) // recording.slot_s)
    n_slots = recording.n_slots - first
    if hours is not None:
        asked = hours * 3600.0 / recording.slot_s if hours > 0 else 0.0
        n_slots = round(min(float(n_slots), asked))
    if first < 0 or n_slots < 1:
        end_s = recording.start_s + recording.n_slots * recording.slot_s
        raise TraceInvalid(
            f"{recording.source}: nothing is recorded then",
            hint=f"It goes from {_say(recording.start_s)} to {_say(end_s)}, in slots of "
            f"{recording.slot_s:g} s.",
        )
    if first == 0 and n_slots == recording.n_slots:
        return recording
    vms = recording.vms
    kept = np.flatnonzero((vms.arrives < first + n_slots) & (vms.leaves > first))
    stays = vms.leaves[kept] == NEVER
    table = VmTable(
        ids=tuple(vms.ids[i] for i in kept.tolist()),
        vcpus=vms.vcpus[kept],
        memory_mib=vms.memory_mib[kept],
        arrives=np.maximum(vms.arrives[kept] - first, 0),
        leaves=np.where(stays, NEVER, vms.leaves[kept] - first),
        host=vms.host[kept],
        tenant=tuple(vms.tenant[i] for i in kept.tolist()),
        kind=tuple(vms.kind[i] for i in kept.tolist()),
    )
    return replace(
        recording,
        start_s=recording.start_s + first * recording.slot_s,
        n_slots=n_slots,
        vms=table,
        demand=_Later(recording.demand, kept, first),
    )


def _say(instant_s: float) -> str:
    return str(np.datetime64(int(instant_s), "s"))
