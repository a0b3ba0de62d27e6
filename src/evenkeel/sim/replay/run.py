"""A recorded fleet under a policy, slot by slot.

A slot: who leaves is gone; who comes is placed; the policy, which knows the slots before this one,
says who moves; then time passes on all hosts at once, in stretches that end as moves do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from evenkeel.domain.arrays import F64, Ints
from evenkeel.domain.recording import NOWHERE, Recording
from evenkeel.domain.resources import CPU_AXIS, MEMORY_AXIS
from evenkeel.sim.replay.corun import Residual
from evenkeel.sim.replay.meter import Meter
from evenkeel.sim.replay.policy import Given, InPlace, Outcome, Past, Policy, Seen, Sizes
from evenkeel.sim.replay.stretch import Stretch, World
from evenkeel.sim.replay.world import Hosts, State

__all__ = ["Given", "InPlace", "Outcome", "Past", "Policy", "Report", "Seen", "Sizes", "run"]

Report = Callable[[int, int], None]
"""(slots done, of how many)"""


def run(
    recording: Recording,
    hosts: Hosts,
    policy: Policy,
    seed: int = 0,
    report: Report = lambda done, of: None,
    corun: Residual | None = None,
) -> Outcome:
    """Replay the whole recording. `corun`: contention that no pool explains; None: there is none.

    VMs that were recorded on a host in the first slot begin there, whatever the policy.
    """
    replay = Replay(recording, hosts, policy, seed, corun or Residual.none())
    for slot in range(recording.n_slots):
        replay.slot(slot)
        report(slot + 1, recording.n_slots)
    return replay.outcome()


@dataclass(slots=True, eq=False)
class Replay:
    """Mutable: a run so far."""

    recording: Recording
    hosts: Hosts
    policy: Policy
    seed: int
    corun: Residual
    state: State = field(init=False)
    meter: Meter = field(init=False)
    world: World = field(init=False)
    refused: Ints = field(init=False)

    def __post_init__(self) -> None:
        recording, n = self.recording, len(self.recording.vms.ids)
        self.state = State.empty(n)
        self.meter = Meter(n, recording.n_slots, recording.slot_s)
        kind = self.corun.kinds_of(recording.vms.kind, self.seed)
        self.world = World(self.hosts, recording.vms, kind, self.corun, self.policy.in_place)
        self.refused = np.zeros(0, dtype=np.intp)

    def slot(self, slot: int) -> None:
        """Slots are asked for in turn."""
        vms, state = self.recording.vms, self.state
        gone = np.flatnonzero(vms.leaves == slot)
        state.host[gone] = state.target[gone] = NOWHERE
        self.refused = self.refused[vms.leaves[self.refused] > slot]
        self._arrive(slot, np.flatnonzero(vms.arrives == slot))
        if slot:
            self._begin_moves(slot, *self.policy.move(self._seen(slot)))
        self._pass(slot)

    def _arrive(self, slot: int, come: Ints) -> None:
        if slot == 0:
            known = come[self.recording.vms.host[come] != NOWHERE]
            self.state.host[known] = self.recording.vms.host[known]
            come = come[self.recording.vms.host[come] == NOWHERE]
        if not len(come):
            return
        chosen = self.policy.place(self._seen(slot, come), come)
        assert chosen.shape == come.shape
        assert (chosen >= NOWHERE).all()
        assert (chosen < self.hosts.n).all(), "no such host"
        self.state.host[come] = chosen
        refused = come[chosen == NOWHERE]
        self.refused = np.concatenate([self.refused, refused])
        self.meter.n_refused += len(refused)

    def _begin_moves(self, slot: int, vms: Ints, targets: Ints) -> None:
        """What a policy may not ask for is a bug of its own, hence assertions."""
        state = self.state
        assert len(vms) == len(targets) == len(np.unique(vms)), "a VM moves once"
        if not len(vms):
            return
        assert (state.host[vms] != NOWHERE).all(), "who is nowhere cannot move"
        assert (state.target[vms] == NOWHERE).all(), "who moves already cannot move"
        assert (targets >= 0).all()
        assert (targets < self.hosts.n).all(), "no such host"
        assert (state.host[vms] != targets).all(), "who is there cannot move there"
        state.target[vms] = targets
        state.left_mib[vms] = self.world.held[vms]
        state.moved_slot[vms] = slot
        self.meter.moves[vms] += 1
        self.meter.by_slot["moves"][slot] = len(vms)

    def _pass(self, slot: int) -> None:
        recording, meter = self.recording, self.meter
        wanted = recording.wanted(slot)
        size = recording.vms.memory_mib
        wanted[:, MEMORY_AXIS] = np.minimum(wanted[:, MEMORY_AXIS], size)
        self.world.hold(recording.demand.at(slot)[:, MEMORY_AXIS])
        there = np.flatnonzero(self.state.there)
        meter.refused_core_s += float(wanted[self.refused, CPU_AXIS].sum()) * recording.slot_s
        start_s = recording.start_s + slot * recording.slot_s
        meter.start(there)
        stretch = Stretch(self.world, self.state, meter, slot, start_s, recording.slot_s)
        stretch.pass_all(there, wanted[there])
        meter.end(slot, there)

    def _seen(self, slot: int, come: Ints | None = None) -> Seen:
        """With nothing of VMs that are still to come."""
        recording, vms = self.recording, self.recording.vms
        later = vms.arrives > slot
        recorded = np.full(len(vms.ids), NOWHERE, dtype=np.intp)
        if come is not None:
            recorded[come] = vms.host[come]
        return Seen(
            slot=slot,
            start_s=recording.start_s + slot * recording.slot_s,
            slot_s=recording.slot_s,
            hosts=self.hosts,
            vms=Sizes(
                vms.ids,
                np.where(later, np.nan, vms.vcpus),
                np.where(later, np.nan, vms.memory_mib),
                vms.tenant,
                vms.kind,
            ),
            recorded=recorded,
            state=self.state.copy(),
            past=Measured(recording, slot, self.refused),
        )

    def outcome(self) -> Outcome:
        notes = self.world.notes()
        return Outcome(
            self.policy.name,
            self.meter.metrics(),
            dict(self.meter.by_slot),
            self.meter.by_vm(),
            (*self.recording.notes, *notes),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """`Past` of a recording."""

    recording: Recording
    n_slots: int
    refused: Ints

    def wanted(self, slot: int) -> F64:
        if not 0 <= slot < self.n_slots:
            raise IndexError(f"slot {slot} is not over: {self.n_slots} are")
        vms = self.recording.vms
        wanted = self.recording.demand.at(slot).copy()
        wanted[:, CPU_AXIS] = np.minimum(wanted[:, CPU_AXIS], vms.vcpus)
        wanted[(vms.arrives > slot) | (vms.leaves <= slot)] = np.nan
        wanted[self.refused] = np.nan
        return np.maximum(wanted, 0.0)
