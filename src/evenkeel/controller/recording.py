"""What a recording of this fleet is made of, in pieces: hosts, VMs, demand slot by slot.

The controller holds one piece at a time; whoever asks puts them together (`evenkeel record`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F32, Ints
from evenkeel.domain.errors import InvalidRequest, NotFound
from evenkeel.domain.ids import VmId
from evenkeel.domain.resources import N_RESOURCES
from evenkeel.ports_history import History
from evenkeel.ports_store import Store
from evenkeel.records import HostRecord, VmRecord

MAX_SPAN_S: Final = 366 * 86_400
MAX_PIECE_S: Final = 3600
MAX_VMS: Final = 1000
"""VMs that are asked about at once."""


@dataclass(frozen=True, slots=True)
class Span:
    """What is kept of a stretch of time: from the first slot to the last, `n_kept` of them."""

    start_s: int
    end_s: int
    slot_s: int
    n_kept: int


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """N rows, one a VM and slot: `slot` (N,) UTC seconds, `vm` and `host` (N,) positions in
    `vms` and `hosts`; `demand` (N, R), NaN: not known. A host "" is not known."""

    vms: tuple[str, ...]
    hosts: tuple[str, ...]
    slot: Ints
    vm: Ints
    host: Ints
    demand: F32


class Recorder:
    """Thread-safe. All methods raise StoreUnavailable or HistoryUnavailable."""

    def __init__(self, store: Store, history: History) -> None:
        self._store = store
        self._history = history
        self._slot_s = history.step_s

    def span(self, since_s: float, until_s: float) -> Span:
        """What is kept between the two. Raises InvalidRequest, NotFound when it is nothing."""
        if not (0 <= since_s < until_s and until_s - since_s <= MAX_SPAN_S):
            raise InvalidRequest(
                f"from {since_s:.0f} to {until_s:.0f}: not a stretch of at most a year",
                hint="since_s lies before until_s, at most 366 days.",
            )
        first = int(since_s) // self._slot_s * self._slot_s
        kept = self._history.slots(first, -(-int(until_s) // self._slot_s) * self._slot_s)
        if not kept:
            raise NotFound(
                "no slot of that time is in the telemetry history",
                hint="A slot is there when it is over (`forecast.slot_s`); old ones go after "
                "`forecast.retention_days`.",
            )
        return Span(min(kept), max(kept) + self._slot_s, self._slot_s, len(kept))

    def hosts(self, after: str, limit: int) -> list[HostRecord]:
        """By id, those beyond `after`."""
        with self._store.read() as session:
            return session.inventory.hosts(after, limit)

    def vms(self, ids: Sequence[str]) -> list[VmRecord]:
        """Those that are known, in the order asked for; those that left as well."""
        with self._store.read() as session:
            found = session.inventory.vms_by_id(map(VmId, ids))
        return [found[VmId(vm)] for vm in ids if VmId(vm) in found]

    def piece(self, start_s: int, end_s: int) -> Piece:
        """Rows of [start_s, end_s), slot by slot. Raises InvalidRequest for more than an hour."""
        step_s = self._slot_s
        if start_s % step_s or end_s % step_s or not 0 <= start_s < end_s:
            raise InvalidRequest(f"from {start_s} to {end_s}: not whole slots of {step_s} s")
        if end_s - start_s > max(MAX_PIECE_S, step_s):
            raise InvalidRequest(
                f"{end_s - start_s} s are more than an hour", hint="Ask for an hour at a time."
            )
        rollups = self._history.rollups(start_s, end_s)
        vms: dict[str, int] = {}
        hosts: dict[str, int] = {}
        rows = [len(rollup.ids) for rollup in rollups]
        empty = np.empty((0, N_RESOURCES), np.float32)
        return Piece(
            slot=np.repeat(np.array([r.slot_s for r in rollups], np.intp), rows),
            vm=_numbers(vms, [vm for r in rollups for vm in r.ids]),
            host=_numbers(hosts, [host for r in rollups for host in r.hosts]),
            demand=np.concatenate([empty, *(r.demand for r in rollups)]),
            vms=tuple(vms),
            hosts=tuple(hosts),
        )


def _numbers(known: dict[str, int], words: list[str]) -> Ints:
    return np.array([known.setdefault(word, len(known)) for word in words], np.intp)
