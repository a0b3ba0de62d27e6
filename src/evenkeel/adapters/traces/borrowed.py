"""Azure's arrivals as a `Recording`: who came when is the trace's, what they want is borrowed.

Nobody recorded both. A burst of one tenant borrows one VM of the lender's recording, because such
a burst does one kind of work; each of its VMs has its own day of it, where there are several.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from evenkeel.adapters.traces.azure import Arrivals
from evenkeel.adapters.traces.gridded import check_span
from evenkeel.domain.arrays import F32, F64, Bools, Ints
from evenkeel.domain.errors import TraceInvalid
from evenkeel.domain.panel import DAY_S, SLOT_S
from evenkeel.domain.recording import NEVER, NOWHERE, Recording, VmTable
from evenkeel.domain.resources import CPU_AXIS, MEMORY_AXIS, N_RESOURCES

KNOWN_SHARE: Final = 0.9
"""A lender's VM is lent where its CPU is known for at least so much of the time."""
MIB_A_GIB: Final = 1024.0
A_DAY: Final = round(DAY_S / SLOT_S)


@dataclass(frozen=True, slots=True, eq=False)
class Borrowed:
    """Demand of V VMs, looked up slot by slot, and only for those that are there.

    VM i wants `scale[i]` (R,) times what VM `row[i]` of `lent` (L, R, T) wanted `ahead[i]` slots
    later; after its last slot the lender begins anew.
    """

    lent: F32
    row: Ints
    ahead: Ints
    scale: F32
    arrives: Ints
    leaves: Ints

    def at(self, slot: int) -> F64:
        wanted = np.zeros(self.scale.shape)
        here = np.flatnonzero((self.arrives <= slot) & (slot < self.leaves))
        when = (slot + self.ahead[here]) % self.lent.shape[2]
        wanted[here] = self.lent[self.row[here], :, when] * self.scale[here]
        return wanted


def borrowed(
    arrivals: Arrivals, lender: Recording, seed: int, notes: Sequence[str] = ()
) -> Recording:
    """Slots of five minutes from the first arrival to the end of the trace.

    Raises TraceInvalid when the lender has other slots, or no VM that is there long enough.
    """
    if lender.slot_s != SLOT_S:
        raise TraceInvalid(
            f"{lender.source} has slots of {lender.slot_s:g} s",
            hint=f"Borrow from a recording with slots of {SLOT_S:g} s.",
        )
    rng = np.random.default_rng(seed)
    start_s = float(arrivals.start_s[0])
    arrives = ((arrivals.start_s - start_s) // SLOT_S).astype(np.intp)
    n_slots = int(arrives[-1]) + 1
    check_span("the arrivals", n_slots * SLOT_S)
    stay = np.maximum(1, np.round(arrivals.life_s / SLOT_S)).astype(np.intp)
    leaves = np.where(arrivals.stays, NEVER, arrives + stay)
    lent, of_lender = _lent(lender)
    row, ahead = _pairing(arrivals, lent.shape, lender, start_s, rng)
    memory_mib = arrivals.memory_gib * MIB_A_GIB
    vcpus_of, memory_of = lender.vms.vcpus[of_lender], lender.vms.memory_mib[of_lender]
    scale = np.repeat((arrivals.vcpus / vcpus_of[row])[:, None], N_RESOURCES, axis=1)
    scale[:, MEMORY_AXIS] = memory_mib / memory_of[row]
    kind = [f"{v:g}x{m:.0f}MiB" for v, m in zip(arrivals.vcpus, memory_mib, strict=True)]
    return Recording(
        source="Azure V1 arrivals",
        start_s=start_s,
        slot_s=SLOT_S,
        n_slots=n_slots,
        hosts=(),
        vms=VmTable(
            ids=tuple(f"vm{i}" for i in range(len(arrivals))),
            vcpus=arrivals.vcpus,
            memory_mib=memory_mib,
            arrives=arrives,
            leaves=leaves,
            host=np.full(len(arrivals), NOWHERE),
            tenant=tuple(f"burst{b}" for b in arrivals.burst.tolist()),
            kind=tuple(kind),
        ),
        demand=Borrowed(lent, row, ahead, scale.astype(np.float32), arrives, leaves),
        notes=(*notes, *_notes(arrivals, lender)),
    )


def _lent(lender: Recording) -> tuple[F32, Ints]:
    """(L, R, T) of VMs that are there and known nearly all the time, and which they are."""
    there = np.maximum(0, np.minimum(lender.vms.leaves, lender.n_slots) - lender.vms.arrives)
    long = np.flatnonzero(there >= KNOWN_SHARE * lender.n_slots)
    values: F32 = np.full((len(long), N_RESOURCES, lender.n_slots), np.nan, np.float32)
    for slot in range(lender.n_slots):
        is_there = (lender.vms.arrives[long] <= slot) & (slot < lender.vms.leaves[long])
        values[is_there, :, slot] = lender.demand.at(slot)[long[is_there]]
    known: Bools = np.isfinite(values[:, CPU_AXIS]).mean(axis=1) >= KNOWN_SHARE
    if not known.any():
        raise TraceInvalid(
            f"{lender.source}: no VM is known for {KNOWN_SHARE:.0%} of its {lender.n_slots} slots",
            hint="Borrow from a shorter stretch, or from a recording with fewer holes.",
        )
    # Whole days, so that beginning anew keeps the time of day.
    n_slots = lender.n_slots // A_DAY * A_DAY or lender.n_slots
    return values[known, :, :n_slots], long[known]


def _pairing(
    arrivals: Arrivals,
    shape: tuple[int, ...],
    lender: Recording,
    start_s: float,
    rng: np.random.Generator,
) -> tuple[Ints, Ints]:
    """Which VM of the lender each has, by burst; and how many slots ahead of it, by whole days."""
    n_lent, _, n_slots = shape
    row = rng.integers(n_lent, size=int(arrivals.burst.max()) + 1)[arrivals.burst]
    # The time of day is kept: the trace is taken to begin at midnight.
    phase = round(((start_s - lender.start_s) % DAY_S) / SLOT_S) if n_slots >= A_DAY else 0
    n_days = max(1, n_slots // A_DAY)
    return row, phase + A_DAY * rng.integers(n_days, size=len(arrivals))


def _notes(arrivals: Arrivals, lender: Recording) -> tuple[str, ...]:
    return (
        f"Which VM wants what is an assumption: the arrivals say nothing of demand, so each burst "
        f"of a tenant has the demand of one VM of {lender.source}, drawn at random and scaled to "
        "its vCPUs and memory, each VM on a day of its own where the lender has several.",
        "A lifetime is the middle of its bin, and one slot at least. "
        f"{int(arrivals.stays.sum()):,} of {len(arrivals):,} VMs were still there at the end of "
        "the trace, and stay.",
        "VMs that were there before the first arrival are not in the trace: the fleet fills up.",
        *(f"The lender, {lender.source}: {note}" for note in lender.notes),
    )
