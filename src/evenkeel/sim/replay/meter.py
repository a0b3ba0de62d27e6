"""What a policy is judged by: work not done, energy, hosts, moves, refusals, slot by slot.

Within a slot several stretches of time are added up; the loss of a VM in a slot is that of the
resource of which it got the smallest part.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64, Ints
from evenkeel.domain.resources import AXIS, CPU_AXIS, N_RESOURCES

JOULES_A_KWH: Final = 3.6e6
HOUR_S: Final = 3600.0
CONTENDED: Final = 0.1
"""Of what it wants: a VM that loses more in a slot is contended."""
LOSS_BINS: Final = 10_000
CAUSES: Final = ("pools", "overlap", "corun", "moves")
"""Why CPU work was lost: there was none left, neighbours were busy at the same moments, they
shared what no pool shows, or the VM was moved."""


@dataclass(slots=True, eq=False)
class Meter:
    """Of V VMs over T slots; `start` and `end` a slot, in between `add` what passes."""

    n_vms: int
    n_slots: int
    slot_s: float
    wanted: F64 = field(init=False)
    got: F64 = field(init=False)
    """(V, R) in unit seconds over all slots; `slot_*` of the slot at hand."""
    slot_wanted: F64 = field(init=False)
    slot_got: F64 = field(init=False)
    loss_slots: F64 = field(init=False)
    here_slots: F64 = field(init=False)
    contended: F64 = field(init=False)
    """(V,) sums of losses over slots, slots in which a VM was there, slots of large loss."""
    moves: Ints = field(init=False)
    losses: Ints = field(init=False)
    by_cause: F64 = field(init=False)
    by_slot: dict[str, F64] = field(init=False)
    sent_mib: float = 0.0
    on_s: float = 0.0
    short_s: float = 0.0
    joules: float = 0.0
    most_on: int = 0
    n_refused: int = 0
    refused_core_s: float = 0.0
    n_actions: int = 0
    n_rolled_back: int = 0
    max_over: float = 0.0
    """Of any pool, what was given beyond what is there, in parts of it: never above rounding."""

    def __post_init__(self) -> None:
        shape = (self.n_vms, N_RESOURCES)
        self.wanted, self.got = np.zeros(shape), np.zeros(shape)
        self.slot_wanted, self.slot_got = np.zeros(shape), np.zeros(shape)
        self.loss_slots, self.here_slots, self.contended = np.zeros((3, self.n_vms))
        self.moves = np.zeros(self.n_vms, dtype=np.intp)
        self.losses = np.zeros(LOSS_BINS + 1, dtype=np.intp)
        self.by_cause = np.zeros(len(CAUSES))
        names = ("hosts_on", "watts", "wanted_cores", "lost_cores", "contended_vms", "moves")
        self.by_slot = {name: np.zeros(self.n_slots) for name in (*names, "mitigations")}

    def start(self, vms: Ints) -> None:
        """`vms` are there in this slot."""
        self.slot_wanted[vms] = 0.0
        self.slot_got[vms] = 0.0

    def add(self, vms: Ints, wanted: F64, got: F64, span_s: float) -> None:
        """`wanted`, `got` (n, R) for `span_s` seconds."""
        self.slot_wanted[vms] += wanted * span_s
        self.slot_got[vms] += got * span_s

    def add_hosts(self, slot: int, n_on: int, n_short: int, watts: float, span_s: float) -> None:
        part = span_s / self.slot_s
        self.on_s += n_on * span_s
        self.short_s += n_short * span_s
        self.joules += watts * span_s
        self.most_on = max(self.most_on, n_on)
        self.by_slot["hosts_on"][slot] += n_on * part
        self.by_slot["watts"][slot] += watts * part

    def end(self, slot: int, vms: Ints) -> None:
        """The slot is over for `vms`."""
        wanted, got = self.slot_wanted[vms], self.slot_got[vms]
        self.wanted[vms] += wanted
        self.got[vms] += got
        kept = np.divide(got, wanted, out=np.ones_like(wanted), where=wanted > 0)
        loss = np.clip(1.0 - kept.min(axis=1, initial=1.0), 0.0, 1.0)
        large = loss > CONTENDED
        self.loss_slots[vms] += loss
        self.here_slots[vms] += 1.0
        self.contended[vms] += large
        self.losses += np.bincount(
            np.ceil(loss * LOSS_BINS - 1e-6).astype(np.intp), minlength=LOSS_BINS + 1
        )
        of_slot = self.by_slot
        of_slot["wanted_cores"][slot] = wanted[:, CPU_AXIS].sum() / self.slot_s
        of_slot["lost_cores"][slot] = (wanted - got)[:, CPU_AXIS].sum() / self.slot_s
        of_slot["contended_vms"][slot] = large.sum()

    def metrics(self) -> dict[str, float]:
        """By name; percents of demand (unserved, lost), of the time hosts ran (slatah), of VM-slots
        (loss_p99)."""
        wanted, got = self.wanted.sum(axis=0), self.got.sum(axis=0)
        unserved = 100.0 * np.divide(
            wanted - got, wanted, out=np.zeros(N_RESOURCES), where=wanted > 0
        )
        mean_loss = self.mean_loss()
        cpu = max(float(wanted[CPU_AXIS]), 1e-12)
        return {
            "energy_kwh": self.joules / JOULES_A_KWH,
            "wh_per_core_hour": self.joules / max(float(got[CPU_AXIS]), 1e-12),
            "host_hours": self.on_s / HOUR_S,
            "hosts_peak": float(self.most_on),
            "migrations": float(self.moves.sum()),
            "migrated_gib": self.sent_mib / 1024.0,
            "unserved_pct": float(unserved.max()),
            **{f"unserved_pct.{r.value}": float(unserved[i]) for i, r in enumerate(AXIS)},
            **{
                f"lost_pct.{cause}": 100.0 * float(self.by_cause[i]) / cpu
                for i, cause in enumerate(CAUSES)
            },
            "slatah_pct": 100.0 * self.short_s / max(self.on_s, 1e-12),
            "contended_vm_hours": float(self.contended.sum()) * self.slot_s / HOUR_S,
            "loss_p99_pct": self._quantile(0.99),
            "worst_vm_loss_pct": 100.0 * float(mean_loss.max(initial=0.0)),
            "refused": float(self.n_refused),
            "refused_pct": 100.0 * self.refused_core_s / max(cpu + self.refused_core_s, 1e-12),
            "mitigations": float(self.n_actions),
            "rolled_back": float(self.n_rolled_back),
        }

    def mean_loss(self) -> F64:
        """(V,) over the slots in which each VM was there."""
        return np.asarray(self.loss_slots / np.maximum(self.here_slots, 1.0))

    def by_vm(self) -> dict[str, F64]:
        cpu, lost = self.wanted[:, CPU_AXIS], (self.wanted - self.got)[:, CPU_AXIS]
        return {
            "wanted_core_h": cpu / HOUR_S,
            "lost_core_h": lost / HOUR_S,
            "loss_pct": 100.0 * self.mean_loss(),
            "contended_h": self.contended * self.slot_s / HOUR_S,
            "here_h": self.here_slots * self.slot_s / HOUR_S,
            "moves": self.moves.astype(np.float64),
        }

    def _quantile(self, level: float) -> float:
        """Of VM-slots' losses in percent, to a hundredth, rounded up."""
        count = np.cumsum(self.losses)
        if not count[-1]:
            return 0.0
        return 100.0 * float(np.searchsorted(count, level * count[-1])) / LOSS_BINS
