"""The demand window: what every VM on a host wanted lately, as arrays in a fixed layout.

Two depths: `recent` rows (one a tick) that scores are computed from, and coarse `slots` (means
over `SLOT_S`) from which a VM's norm, its usual demand, is taken. The norm leaves out the newest
slots, so that a surge cannot hide in its own baseline. A tick much longer than usual, since some
were lost, goes in as so many rows and slots of its means. Immutable: `append` returns a new one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64, Ints, median_known
from evenkeel.domain.ids import VmId
from evenkeel.domain.resources import N_RESOURCES
from evenkeel.domain.sample import HostTick
from evenkeel.domain.vm import CpuTuning, Vm

SLOT_S: Final = 10.0
N_SLOTS: Final = 60
SLOTS_TOO_NEW: Final = 2
"""Newest slots that the norm ignores (20 s): longer than it takes to notice a surge."""
MIN_NORM_SLOTS: Final = 2


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """Rows are ticks, oldest first; columns are `vms`. NaN where a VM was absent or unmeasured.

    Shapes: `at_s` (T,), `demand` `loss` `self_limited` (T, N, R), `background` (T, R),
    `slots` (S, N, R), `slot_sum` `slot_weight` (N, R), the slot in the making,
    `inside_loss` (T, N), `host_slots` (S, R) and `host_sum` (R,): slots of the background.
    `tick_s`: seconds of a usual tick.
    """

    vms: tuple[Vm, ...]
    at_s: F64
    interval_s: F64
    demand: F64
    loss: F64
    self_limited: F64
    background: F64
    slots: F64
    slot_sum: F64
    slot_weight: F64
    slot_age_s: float
    window_s: float
    inside_loss: F64
    host_slots: F64
    host_sum: F64
    tick_s: float = math.inf

    @classmethod
    def empty(cls, window_s: float, tick_s: float = math.inf) -> Window:
        """Nothing was seen yet. Without `tick_s` a tick is a row, however long it took."""
        cube = np.empty((0, 0, N_RESOURCES))
        flat = np.empty((0, N_RESOURCES))
        none = np.empty(0)
        return cls(
            vms=(),
            at_s=none,
            interval_s=none,
            demand=cube,
            loss=cube,
            self_limited=cube,
            background=flat,
            slots=cube,
            slot_sum=flat,
            slot_weight=flat,
            slot_age_s=0.0,
            window_s=window_s,
            inside_loss=np.empty((0, 0)),
            host_slots=flat,
            host_sum=np.zeros(N_RESOURCES),
            tick_s=tick_s,
        )

    def cleared(self) -> Window:
        """The same, before anything was seen."""
        return Window.empty(self.window_s, self.tick_s)

    def append(self, tick: HostTick) -> Window:
        """Add a tick, forget rows older than `window_s`, follow VMs that came and went."""
        columns = _columns(self.vms, tick.vms)
        row_s, at_s = self._rows_of(tick)
        keep = self.at_s > tick.taken_at_s - self.window_s
        # A wall clock set back would leave rows from "the future": they are dropped as well.
        keep &= self.at_s < tick.taken_at_s

        def grown(rows: F64, row: F64) -> F64:
            return np.concatenate([_realign(rows[keep], columns), *[row[None]] * len(at_s)])

        silent = np.full(len(tick.vms), np.nan)
        inside = silent if tick.inside_loss is None else tick.inside_loss
        slot_sum = _realign(self.slot_sum[None], columns, fill=0.0)[0]
        slot_weight = _realign(self.slot_weight[None], columns, fill=0.0)[0]
        known = ~np.isnan(tick.demand)
        slot_sum = slot_sum + np.where(known, tick.demand, 0.0) * tick.interval_s
        slot_weight = slot_weight + known * tick.interval_s
        slots, host_slots = _realign(self.slots, columns), self.host_slots
        host_sum = self.host_sum + np.nan_to_num(tick.background) * tick.interval_s
        age_s = self.slot_age_s + tick.interval_s
        if age_s >= SLOT_S:
            with np.errstate(invalid="ignore"):
                mean = np.where(slot_weight > 0, slot_sum / np.maximum(slot_weight, 1e-9), np.nan)
            n = min(N_SLOTS, max(1, int(age_s / max(SLOT_S, row_s))))
            slots = np.concatenate([slots, *[mean[None]] * n])[-N_SLOTS:]
            host_slots = np.concatenate([host_slots, *[host_sum[None] / age_s] * n])[-N_SLOTS:]
            host_sum = np.zeros(N_RESOURCES)
            slot_sum, slot_weight = np.zeros_like(slot_sum), np.zeros_like(slot_weight)
            age_s = 0.0
        return replace(
            self,
            vms=tick.vms,
            at_s=np.concatenate([self.at_s[keep], at_s]),
            interval_s=np.concatenate([self.interval_s[keep], np.full(len(at_s), row_s)]),
            demand=grown(self.demand, tick.demand),
            loss=grown(self.loss, tick.loss),
            self_limited=grown(self.self_limited, tick.self_limited),
            background=np.concatenate(
                [self.background[keep], *[tick.background[None]] * len(at_s)]
            ),
            slots=slots,
            slot_sum=slot_sum,
            slot_weight=slot_weight,
            slot_age_s=age_s,
            inside_loss=grown(self.inside_loss[..., None], inside[:, None])[..., 0],
            host_slots=host_slots,
            host_sum=host_sum,
        )

    def _rows_of(self, tick: HostTick) -> tuple[float, F64]:
        """Length of each row that a tick makes, and when they end: those within the window."""
        n = max(1, round(tick.interval_s / self.tick_s))
        row_s = tick.interval_s / n
        n_kept = min(n, max(1, math.ceil(self.window_s / row_s - 1e-6)))
        before: F64 = np.arange(n_kept - 1, -1, -1, dtype=np.float64)
        return row_s, tick.taken_at_s - row_s * before

    def weights(self, half_life_s: float) -> F64:
        """(T,) recency weights that sum to 1: a row's weight halves every `half_life_s`."""
        if len(self.at_s) == 0:
            return np.empty(0)
        age_s = self.at_s[-1] - self.at_s
        raw = np.asarray(self.interval_s * np.exp2(-age_s / half_life_s), dtype=np.float64)
        return np.asarray(raw / raw.sum(), dtype=np.float64)

    def norm(self) -> F64:
        """(N, R) usual demand: the median of settled slots; NaN before there are enough."""
        settled = self.slots[: max(0, len(self.slots) - SLOTS_TOO_NEW)]
        out = np.full((len(self.vms), N_RESOURCES), np.nan)
        if len(settled) < MIN_NORM_SLOTS:
            return out
        enough = (~np.isnan(settled)).sum(axis=0) >= MIN_NORM_SLOTS
        if enough.any():
            out[enough] = median_known(settled[:, enough])
        return out

    def host_norm(self) -> F64:
        """(R,) usual load outside all VMs, as `norm`."""
        settled = self.host_slots[: max(0, len(self.host_slots) - SLOTS_TOO_NEW)]
        if len(settled) < MIN_NORM_SLOTS:
            return np.full(N_RESOURCES, np.nan)
        return np.asarray(np.median(settled, axis=0), dtype=np.float64)

    def tuned(self, changed: Mapping[VmId, CpuTuning]) -> Window:
        """The same demand under other tunings: what a VM's old limits held back it wants again."""
        columns = [i for i, vm in enumerate(self.vms) if vm.id in changed]
        held = self.self_limited.copy()
        held[:, columns] = 0.0
        vms = tuple(replace(vm, tuning=changed.get(vm.id, vm.tuning)) for vm in self.vms)
        return replace(self, vms=vms, self_limited=held)

    def index_of(self, vm_id: VmId) -> int | None:
        for i, vm in enumerate(self.vms):
            if vm.id == vm_id:
                return i
        return None


def _columns(old: tuple[Vm, ...], new: tuple[Vm, ...]) -> Ints:
    """For each new column the old one with the same VM, or -1."""
    where = {vm.id: i for i, vm in enumerate(old)}
    return np.array([where.get(vm.id, -1) for vm in new], dtype=np.intp)


def _realign(rows: F64, columns: Ints, fill: float = np.nan) -> F64:
    """(T, N_old, R) -> (T, N_new, R); columns that are new get `fill`."""
    out = np.full((len(rows), len(columns), rows.shape[2]), fill)
    known = columns >= 0
    if known.any():
        out[:, known] = rows[:, columns[known]]
    return out
