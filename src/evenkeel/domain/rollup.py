"""Telemetry rolled up to forecast slots: what the history keeps of many ticks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F32, Bools, Ints
from evenkeel.domain.resources import N_RESOURCES
from evenkeel.domain.vm import Vm

HELD_BACK_LOSS: Final = 0.05
"""A tick in which a VM lost at least this share of what it wanted held it back."""
CENSORED_SHARE: Final = 0.2
"""A slot with at least this share of such ticks is censored: its demand was at least the value."""


@dataclass(frozen=True, slots=True, eq=False)
class RollUp:
    """One slot of N VMs, `[slot_s, slot_s + step_s)`; the matrices are (N, n_resources).

    `demand` is the mean over the slot's ticks, `peak` the largest tick, `loss` the mean share
    lost, `censored` the share of ticks in which the VM was held back, `capacity` what it may use
    at most. NaN: not known. `hosts` says where each was at its last tick, "": not known.
    `n_ticks` (N,) is how many ticks it rests on; a VM's row with more ticks knows more and wins
    over another of the same slot. `rolled_at_s` is when it was made.
    """

    slot_s: int
    step_s: int
    rolled_at_s: float
    ids: tuple[str, ...]
    kinds: tuple[str, ...]
    n_ticks: Ints
    demand: F32
    peak: F32
    loss: F32
    censored: F32
    capacity: F32
    hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.ids)
        if not self.hosts:
            object.__setattr__(self, "hosts", ("",) * n)
        for matrix in (self.demand, self.peak, self.loss, self.censored, self.capacity):
            if matrix.shape != (n, N_RESOURCES):
                raise ValueError(f"a roll-up of {n} VMs with a matrix of {matrix.shape}")
        if len(self.kinds) != n or len(self.n_ticks) != n or len(self.hosts) != n:
            raise ValueError("kinds, hosts and n_ticks need one entry a VM")
        if self.step_s < 1 or self.slot_s % self.step_s:
            raise ValueError(f"slot {self.slot_s} does not start at a multiple of {self.step_s}")

    def merged(self, other: RollUp) -> RollUp:
        """Both, VM by VM the row that rests on more ticks (this one's when they are equal)."""
        theirs = {vm: k for k, vm in enumerate(other.ids)}
        mine = {vm: k for k, vm in enumerate(self.ids)}
        ids = tuple(mine | theirs)
        n_mine = np.array([self.n_ticks[mine[vm]] if vm in mine else -1 for vm in ids], np.intp)
        n_theirs = np.array(
            [other.n_ticks[theirs[vm]] if vm in theirs else -1 for vm in ids], np.intp
        )
        from_mine: Bools = n_mine >= n_theirs
        row: Ints = np.array(
            [
                mine[vm] if first else theirs[vm]
                for vm, first in zip(ids, from_mine.tolist(), strict=True)
            ],
            np.intp,
        )

        def pick(ours: F32, others: F32) -> F32:
            result: F32 = np.empty((len(ids), N_RESOURCES), np.float32)
            result[from_mine] = ours[row[from_mine]]
            result[~from_mine] = others[row[~from_mine]]
            return result

        def words(ours: tuple[str, ...], others: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(
                ours[k] if first else others[k]
                for k, first in zip(row.tolist(), from_mine.tolist(), strict=True)
            )

        return RollUp(
            slot_s=self.slot_s,
            step_s=self.step_s,
            rolled_at_s=max(self.rolled_at_s, other.rolled_at_s),
            ids=ids,
            kinds=words(self.kinds, other.kinds),
            hosts=words(self.hosts, other.hosts),
            n_ticks=np.maximum(n_mine, n_theirs),
            demand=pick(self.demand, other.demand),
            peak=pick(self.peak, other.peak),
            loss=pick(self.loss, other.loss),
            censored=pick(self.censored, other.censored),
            capacity=pick(self.capacity, other.capacity),
        )


def kind_of(vm: Vm) -> str:
    """What a VM has in common with others: its tenant and its size."""
    return f"{vm.tenant}/{vm.n_vcpus}x{vm.memory_mib:.0f}MiB"
