"""Rolls agents' ticks up to slots of telemetry history, whatever happened in between.

Level-triggered: a slot is due when the store has ticks of it that came after it was last rolled
up. So a killed controller goes on where it was, and what an agent spooled for hours still gets in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from evenkeel.controller.ticks import CHUNK, rosters
from evenkeel.domain.arrays import F32, F64, Bools, Ints
from evenkeel.domain.host import Host
from evenkeel.domain.ids import HostId, VmId
from evenkeel.domain.resources import CPU_AXIS, IOPS_AXIS, MEMORY_AXIS, N_RESOURCES, NET_AXIS
from evenkeel.domain.rollup import RollUp, kind_of
from evenkeel.domain.vm import Vm
from evenkeel.ports import Clock
from evenkeel.ports_history import History
from evenkeel.ports_store import Session, Store
from evenkeel.records import RosterTicks

COMMIT_LAG_S: Final = 10.0
"""A batch may become visible this long after it was received."""
LOOK_BACK_S: Final = 60.0


class RollUps:
    """Brings the history up to date with the store. One thread at a time.

    Parameters
    ----------
    step_s : seconds a slot
    grace_s : how long after its end a slot waits for late batches
    history_hours : how long the store keeps ticks
    """

    def __init__(
        self,
        store: Store,
        history: History,
        clock: Clock,
        step_s: int,
        grace_s: float,
        history_hours: float,
    ) -> None:
        self._store = store
        self._history = history
        self._clock = clock
        self._step_s = step_s
        self._grace_s = grace_s
        self._since_s = clock.wall_s() - history_hours * 3600
        self._pending: dict[int, float] = {}

    def run(self) -> list[int]:
        """Roll up what is due; which slots. Retry: yes.

        Raises StoreUnavailable, HistoryUnavailable; what was not done is done next time.
        """
        now_s = self._clock.wall_s()
        with self._store.read() as session:
            arrived = session.history.arrivals(self._since_s, self._step_s)
        for slot_s, received_s in arrived.items():
            self._pending[slot_s] = max(received_s, self._pending.get(slot_s, received_s))
        self._since_s = now_s - LOOK_BACK_S
        complete = sorted(s for s in self._pending if s + self._step_s + self._grace_s <= now_s)
        if not complete:
            return []
        kept = self._history.slots(complete[0], complete[-1] + self._step_s)
        done = []
        for slot_s in complete:
            if kept.get(slot_s, -np.inf) < self._pending[slot_s]:
                rollup = self._roll_up(slot_s)
                self._history.append(rollup)
                done.append(slot_s)
            del self._pending[slot_s]
        return done

    def _roll_up(self, slot_s: int) -> RollUp:
        rolled_at_s = self._clock.wall_s() - COMMIT_LAG_S
        found = rosters(self._store, slot_s, slot_s + self._step_s)
        # A VM that moved in the slot counts for the host that had it last.
        parts = sorted(((float(r.at_s[-1]), r.id, _summed(r)) for r in found), key=lambda p: p[:2])
        total = _joined([part for _, _, part in parts])
        with self._store.read() as session:
            vms = _vms(session, total.vms)
            hosts = _hosts(session, set(total.hosts.values()))
        known = [vms.get(vm) for vm in total.vms]
        return RollUp(
            slot_s=slot_s,
            step_s=self._step_s,
            rolled_at_s=rolled_at_s,
            ids=total.vms,
            kinds=tuple(kind_of(vm) if vm else "" for vm in known),
            n_ticks=total.n_ticks,
            demand=_ratio(total.demand, total.n_known),
            peak=np.where(total.n_known > 0, total.peak, np.nan).astype(np.float32),
            loss=_ratio(total.loss, total.n_loss),
            censored=_ratio(total.n_held, total.n_known),
            capacity=_capacities(total, known, hosts),
            hosts=tuple(total.hosts[vm] for vm in total.vms),
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Sums:
    """Over ticks: matrices are (n_vms, n_resources); `n_ticks` (n_vms,)."""

    vms: tuple[VmId, ...]
    hosts: dict[VmId, HostId]
    n_ticks: Ints
    n_known: F64
    demand: F64
    peak: F64
    n_loss: F64
    loss: F64
    n_held: F64


def _summed(roster: RosterTicks) -> _Sums:
    demand, loss = roster.demand, roster.loss
    known: Bools = ~np.isnan(demand)
    return _Sums(
        vms=roster.vms,
        hosts=dict.fromkeys(roster.vms, roster.host),
        n_ticks=known.any(axis=2).sum(axis=0).astype(np.intp),
        n_known=known.sum(axis=0).astype(np.float64),
        demand=np.nansum(demand, axis=0),
        peak=np.where(known, demand, -np.inf).max(axis=0),
        n_loss=(~np.isnan(loss)).sum(axis=0).astype(np.float64),
        loss=np.nansum(loss, axis=0),
        n_held=roster.held_back().sum(axis=0).astype(np.float64),
    )


def _joined(sums: Sequence[_Sums]) -> _Sums:
    """A VM that came, left or moved in the slot is in several of them."""
    index: dict[VmId, int] = {}
    rows: Ints = np.array(
        [index.setdefault(vm, len(index)) for each in sums for vm in each.vms], np.intp
    )

    def added(parts: Iterable[F64]) -> F64:
        result = np.zeros((len(index), N_RESOURCES))
        np.add.at(result, rows, np.concatenate([np.empty((0, N_RESOURCES)), *parts]))
        return result

    n_ticks: Ints = np.zeros(len(index), np.intp)
    np.add.at(n_ticks, rows, np.concatenate([np.empty(0, np.intp), *(s.n_ticks for s in sums)]))
    peak = np.full((len(index), N_RESOURCES), -np.inf)
    peaks = np.concatenate([np.empty((0, N_RESOURCES)), *(s.peak for s in sums)])
    np.maximum.at(peak, rows, peaks)
    return _Sums(
        vms=tuple(index),
        hosts={vm: host for each in sums for vm, host in each.hosts.items()},
        n_ticks=n_ticks,
        n_known=added(s.n_known for s in sums),
        demand=added(s.demand for s in sums),
        peak=peak,
        n_loss=added(s.n_loss for s in sums),
        loss=added(s.loss for s in sums),
        n_held=added(s.n_held for s in sums),
    )


def _ratio(total: F64, count: F64) -> F32:
    unknown = np.full_like(total, np.nan)
    return np.divide(total, count, out=unknown, where=count > 0).astype(np.float32)


def _capacities(total: _Sums, vms: Sequence[Vm | None], hosts: dict[HostId, Host]) -> F32:
    """The VM's own size where it has one, else its host's."""
    result: F32 = np.full((len(vms), N_RESOURCES), np.nan, np.float32)
    for k, (vm_id, vm) in enumerate(zip(total.vms, vms, strict=True)):
        host = hosts.get(total.hosts[vm_id])
        if vm is not None:
            result[k, [CPU_AXIS, MEMORY_AXIS]] = vm.n_vcpus, vm.memory_mib
        if host is not None:
            result[k, NET_AXIS] = np.nan if host.net_mbit_s is None else host.net_mbit_s
            result[k, IOPS_AXIS] = np.nan if host.iops is None else host.iops
    return result


def _vms(session: Session, ids: Sequence[VmId]) -> dict[VmId, Vm]:
    found: dict[VmId, Vm] = {}
    for start in range(0, len(ids), CHUNK):
        some = session.inventory.vms_by_id(ids[start : start + CHUNK])
        found |= {vm_id: record.vm for vm_id, record in some.items()}
    return found


def _hosts(session: Session, ids: Iterable[HostId]) -> dict[HostId, Host]:
    names = sorted(ids)
    found: dict[HostId, Host] = {}
    for start in range(0, len(names), CHUNK):
        some = session.inventory.hosts_by_id(names[start : start + CHUNK])
        found |= {name: record.host for name, record in some.items()}
    return found
