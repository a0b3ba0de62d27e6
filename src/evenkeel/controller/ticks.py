"""The ticks that the store still has: for roll-ups, and as a panel, to learn short models from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F32, F64, Bools, Ints
from evenkeel.domain.errors import HistoryTooShort
from evenkeel.domain.ids import VmId
from evenkeel.domain.panel import Panel
from evenkeel.domain.resources import Resource, axis_of
from evenkeel.ports_store import Store
from evenkeel.records import RosterTicks

CHUNK: Final = 200
"""Rosters, hosts or VMs that are read in one transaction."""
PIECE_S: Final = 600
MAX_CELLS: Final = 20_000_000
"""Older ticks are left out when there are so many: a day of 1,150 VMs."""


def rosters(store: Store, since_s: float, until_s: float) -> Iterator[RosterTicks]:
    """Those with ticks taken in [since_s, until_s). Raises StoreUnavailable."""
    after, more = 0, True
    while more:
        with store.read() as session:
            some = session.history.ticks(since_s, until_s, after, CHUNK)
        yield from (roster for roster in some if len(roster.at_s))
        more = len(some) == CHUNK
        after = some[-1].id if some else after


def tick_panel(store: Store, resource: Resource, since_s: float, until_s: float) -> Panel:
    """Demand by tick, newest first until `MAX_CELLS` are found; a tick's length as they came.

    Raises HistoryTooShort, StoreUnavailable.
    """
    found: list[tuple[tuple[VmId, ...], F64, F32, Bools]] = []
    axis, n_cells = axis_of(resource), 0
    end_s = until_s
    while end_s > since_s and n_cells < MAX_CELLS:
        start_s = max(since_s, end_s - PIECE_S)
        for each in rosters(store, start_s, end_s):
            demand = each.demand[:, :, axis].astype(np.float32)
            found.append((each.vms, each.at_s, demand, each.held_back()[:, :, axis]))
            n_cells += demand.size
        end_s = start_s
    gaps = [np.diff(at_s) for _, at_s, _, _ in found]
    if not sum(map(len, gaps)):
        raise HistoryTooShort("there are no ticks of the last hours in the controller's store")
    step_s = max(0.1, round(float(np.median(np.concatenate(gaps))), 1))
    first_s = min(float(at_s[0]) for _, at_s, _, _ in found)
    last_s = max(float(at_s[-1]) for _, at_s, _, _ in found)
    row_of: dict[str, int] = {}
    for vms, *_ in found:
        for vm in vms:
            row_of.setdefault(vm, len(row_of))
    values: F32 = np.full((len(row_of), round((last_s - first_s) / step_s) + 1), np.nan, np.float32)
    censored = np.zeros(values.shape, bool)
    for vms, at_s, demand, held_back in found:
        rows: Ints = np.array([row_of[vm] for vm in vms], np.intp)
        slots = np.round((at_s - first_s) / step_s).astype(np.intp)
        values[rows[:, None], slots] = demand.T
        censored[rows[:, None], slots] = held_back.T
    return Panel(
        ids=tuple(row_of),
        values=values,
        start_s=first_s,
        resource=resource,
        step_s=step_s,
        censored=censored,
    )
