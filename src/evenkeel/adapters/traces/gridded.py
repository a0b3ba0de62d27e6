"""From series on a grid of slots to a `Recording`: what all readers of demand share.

A VM is there or not in each slot. Where it goes and comes back, each stay is a VM of its own
(`web`, `web#2`, ...), because nothing says that it comes back to where it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F32, F64, Bools, Ints
from evenkeel.domain.errors import TraceInvalid
from evenkeel.domain.recording import NEVER, NOWHERE, HostShape, Recording, VmTable

MAX_DAYS: Final = 366.0
"""What is further apart does not belong together."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Demand of V stays: stay i wants what row `row[i]` of `values` (N, R, T) says."""

    values: F32
    row: Ints

    def at(self, slot: int) -> F64:
        return self.values[self.row, :, slot].astype(np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """N VMs over T slots: `values` (N, R, T), NaN: not known; `present` (N, T).

    `vcpus` and `memory_mib` are (N, T) or (N, 1): a stay has the largest of its slots. `host`
    (N, T) are positions in `hosts`, or None where nobody knows.
    """

    ids: tuple[str, ...]
    values: F32
    present: Bools
    vcpus: F64
    memory_mib: F64
    tenant: tuple[str, ...]
    kind: tuple[str, ...]
    host: Ints | None = None
    hosts: tuple[HostShape, ...] = ()


def recording_of(
    grid: Grid, source: str, start_s: float, slot_s: float, notes: tuple[str, ...]
) -> Recording:
    """One VM a stay. Raises TraceInvalid for a grid that no VM is in, or without sizes."""
    n_slots = grid.present.shape[1]
    check_span(source, n_slots * slot_s)
    row, first, last = stays_of(grid.present)
    if not len(row):
        raise TraceInvalid(f"{source}: no VM is ever there")
    ids = _ids(grid.ids, row)
    return Recording(
        source=source,
        start_s=start_s,
        slot_s=slot_s,
        n_slots=n_slots,
        hosts=grid.hosts,
        vms=VmTable(
            ids=ids,
            vcpus=_sizes(source, "vCPUs", ids, grid.vcpus, row, first, last),
            memory_mib=_sizes(source, "memory", ids, grid.memory_mib, row, first, last),
            arrives=first,
            leaves=np.where(last == n_slots, NEVER, last),
            host=np.full(len(row), NOWHERE) if grid.host is None else grid.host[row, first],
            tenant=tuple(grid.tenant[i] for i in row),
            kind=tuple(grid.kind[i] for i in row),
        ),
        demand=Rows(grid.values, row),
        notes=notes,
    )


def stays_of(present: Bools) -> tuple[Ints, Ints, Ints]:
    """Runs of presence in (N, T): row, first slot, slot after the last one."""
    edges = np.diff(np.pad(present, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    row, first = np.nonzero(edges == 1)
    return row, first, np.nonzero(edges == -1)[1]


def bridged(is_told: Bools, host: Ints, n_hosts: int) -> tuple[Bools, Ints]:
    """Presence and hosts with gaps filled: stretches between two rows of a VM in which nobody on
    the host where it was before has a row."""
    n_slots = is_told.shape[1]
    slots = np.arange(n_slots)
    before = np.maximum.accumulate(np.where(is_told, slots, -1), axis=1)
    after = np.minimum.accumulate(np.where(is_told, slots, n_slots)[:, ::-1], axis=1)[:, ::-1]
    between = ~is_told & (before >= 0) & (after < n_slots)
    before, after = np.maximum(before, 0), np.minimum(after, n_slots - 1)
    was_on = np.take_along_axis(host, before, axis=1)
    # The last row stands for a host that is not known: silent where nobody has any row.
    speaks = np.zeros((n_hosts + 1, n_slots), dtype=bool)
    row, slot = np.nonzero(is_told)
    speaks[host[row, slot], slot] = True
    speaks[NOWHERE] = is_told.any(axis=0)
    heard = np.cumsum(between & speaks[was_on, slots], axis=1)
    n_heard = np.take_along_axis(heard, after, axis=1) - np.take_along_axis(heard, before, axis=1)
    is_gap = between & (n_heard == 0)
    return is_told | is_gap, np.where(is_gap, was_on, host)


def moves_of(present: Bools, host: Ints) -> Bools:
    """(N, T - 1): on another host in the slot after."""
    both = present[:, 1:] & present[:, :-1] & (host[:, 1:] != NOWHERE) & (host[:, :-1] != NOWHERE)
    return np.asarray(both & (host[:, 1:] != host[:, :-1]))


def check_span(source: str, span_s: float) -> None:
    """Raises TraceInvalid for more than a year: somewhere in there is a hole of years."""
    if span_s > MAX_DAYS * 86_400:
        raise TraceInvalid(
            f"{source}: it spans {span_s / 86_400:,.0f} days, more than {MAX_DAYS:.0f}",
            hint="Give each stretch of time by itself.",
        )


def _ids(names: tuple[str, ...], row: Ints) -> tuple[str, ...]:
    """The VM's name for its first stay, then `name#2`, ...; `row` is sorted."""
    _, start = np.unique(row, return_index=True)
    begins = np.zeros(len(row), np.intp)
    begins[start] = start
    nth = np.arange(len(row)) - np.maximum.accumulate(begins) + 1
    return tuple(
        names[i] if n == 1 else f"{names[i]}#{n}"
        for i, n in zip(row.tolist(), nth.tolist(), strict=True)
    )


def _sizes(
    source: str, what: str, ids: tuple[str, ...], sizes: F64, row: Ints, first: Ints, last: Ints
) -> F64:
    """(V,) the largest known size of each stay."""
    if sizes.shape[1] == 1:
        found: F64 = sizes[row, 0].astype(np.float64)
    else:
        known = np.nan_to_num(sizes, nan=0.0)
        stays = zip(row.tolist(), first.tolist(), last.tolist(), strict=True)
        found = np.array([known[i, a:b].max() for i, a, b in stays], dtype=np.float64)
    bad = ~(found > 0)
    if bad.any():
        raise TraceInvalid(
            f"{source}: VM {ids[int(np.argmax(bad))]!r} has no {what}",
            hint="Leave the VM out, or mend its size.",
        )
    return found
