"""One host of a replay with a real agent on it: ports in memory, and time that skips the settled.

A live agent ticks every 5 s for ever. Here what VMs want is constant over a slot, so that after a
while nothing is left to decide until a mitigation expires, a cooldown ends or the slot does
(`control.due`): that stretch passes in one step. The agent takes its long tick for so many lost
ones (`interference.window`), of which all was the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from evenkeel.agent.contending import Contending
from evenkeel.agent.foresight import Foresight
from evenkeel.agent.service import Agent
from evenkeel.control.measure import MAX_GAP_S
from evenkeel.domain.ids import VmId
from evenkeel.domain.plan import OPEN_STATES, Mitigation, MitigationState
from evenkeel.domain.policy import Policy
from evenkeel.interference.window import Window
from evenkeel.sim.clock import SimClock
from evenkeel.sim.fleet import SimFleet
from evenkeel.sim.host import HostSpec
from evenkeel.sim.hypervisor import SimHypervisor
from evenkeel.sim.memory import MemoryJournal, MemoryModels, MemoryPolicy, MemorySpool, MemoryTraits
from evenkeel.sim.vm import VmSpec, Work
from evenkeel.wire import decode_batch

TICK_S: Final = 5.0
WINDOW_S: Final = 60.0
HALF_LIFE_S: Final = 7.5
SETTLING_S: Final = 45.0
"""After a change of demand or of a knob: what was before weighs under 2 % in the window then."""
LONGEST_S: Final = MAX_GAP_S - TICK_S
MOST_STEPS: Final = 200
"""Of a long stretch: enough for the cores to go round."""
ALL_TURNS_S: Final = 0.05
TURNED: Final = frozenset({MitigationState.ROLLED_BACK, MitigationState.INEFFECTIVE})


class Tally(MemoryJournal):
    """A journal that counts what was done and what was undone again, other than at the end of the
    VM that it was done to."""

    def __init__(self) -> None:
        super().__init__()
        self.n_actions = self.n_rolled_back = 0

    def record(self, mitigation: Mitigation) -> None:
        known = {m.id: m.state for m in self.open_mitigations()}.get(mitigation.id)
        if known is MitigationState.INTENDED and mitigation.state is MitigationState.ACTIVE:
            self.n_actions += 1
        if known in OPEN_STATES and mitigation.state in TURNED:
            self.n_rolled_back += 1
        super().record(mitigation)


@dataclass(frozen=True, slots=True)
class Passed:
    """What came of a stretch: each VM's work, its share of the memory it wants, what was done."""

    work: dict[str, Work]
    resident: dict[str, float]
    n_actions: int
    n_rolled_back: int
    events: tuple[str, ...]


class ReplayedHost:
    """VMs by their names; `every_tick` skips nothing."""

    def __init__(
        self, spec: HostSpec, policy: Policy, now_s: float, seed: int, every_tick: bool = False
    ) -> None:
        self._clock = SimClock(now_s, now_s)
        self._fleet = SimFleet(seed, clock=self._clock, step_s=ALL_TURNS_S)
        self._host = self._fleet.add_host(spec)
        self._every_tick = every_tick
        self._vms: dict[str, VmId] = {}
        self._journal, self._spool = Tally(), MemorySpool()
        self._hypervisor = SimHypervisor(self._fleet, self._host)
        self._changed_s = now_s
        self._is_watched = False
        self._n_told = 0
        self._said: list[str] = []
        self.agent = Agent(
            host=self._fleet.hosts[self._host].describe(),
            hypervisor=self._hypervisor,
            journal=self._journal,
            spool=self._spool,
            policies=MemoryPolicy(policy),
            clock=self._clock,
            epoch="1",
            window=Window.empty(WINDOW_S, TICK_S),
            contending=Contending(MemoryTraits(), HALF_LIFE_S),
            foresight=Foresight(MemoryModels(), self._clock, TICK_S),
            on_batch=self._deliver,
        )

    @property
    def now_s(self) -> float:
        return self._clock.wall_s()

    @property
    def n_open(self) -> int:
        return len(self._journal.open_mitigations())

    @property
    def n_changes(self) -> int:
        """Of knobs, undone ones included."""
        return len(self._hypervisor.applied)

    @property
    def is_as_defined(self) -> bool:
        """Whether every knob stands where its VM's definition has it."""
        vms, cpus = self._fleet.hosts[self._host].vms, self._fleet.hosts[self._host].spec.cpus
        return all(vm.tuning == vm.spec.tuning(cpus) for vm in vms.values())

    def sleep(self, seconds: float) -> None:
        """Time in which nobody looks, and VMs do what does not matter."""
        self._clock.advance(seconds)
        self._is_watched = False

    def host(self, specs: Mapping[str, VmSpec]) -> None:
        """From now on these VMs are here, and want what they say."""
        for name in sorted(self._vms.keys() - specs.keys()):
            self._fleet.forget_vm(self._vms.pop(name))
            self._changed_s = self.now_s
        for name, spec in specs.items():
            if name not in self._vms:
                self._vms[name] = self._fleet.add_vm(self._host, spec)
            elif spec == self._fleet.vm(self._vms[name]).spec:
                continue
            self._fleet.set_spec(self._vms[name], spec)
            self._changed_s = self.now_s

    def adopt(self, policy: Policy) -> None:
        self.agent.adopt(policy)

    def catch_up(self, seconds: float) -> None:
        """Pass time in which nothing was short, so that the agent knows what is usual."""
        left_s = seconds
        while left_s > TICK_S / 2:
            left_s -= self._pass(min(left_s, LONGEST_S))

    def pass_(self, seconds: float) -> Passed:
        """Let time pass under the agent's eyes."""
        before = {name: self._fleet.work(vm) for name, vm in self._vms.items()}
        done, undone = self._journal.n_actions, self._journal.n_rolled_back
        end_s = self.now_s + seconds
        while (left_s := end_s - self.now_s) > TICK_S / 1000:
            self._pass(min(left_s, self._stride_s(left_s)))
        said, self._said = tuple(self._said), []
        return Passed(
            work={name: self._fleet.work(vm) - before[name] for name, vm in self._vms.items()},
            resident={name: self._resident(vm) for name, vm in self._vms.items()},
            n_actions=self._journal.n_actions - done,
            n_rolled_back=self._journal.n_rolled_back - undone,
            events=said,
        )

    def _stride_s(self, left_s: float) -> float:
        """Until the next tick that may decide anything."""
        if self._every_tick or not self._is_settled():
            return TICK_S
        due_in_s = min(self.agent.due_s - self.now_s, LONGEST_S) / TICK_S
        far_s = min(left_s, math.ceil(due_in_s - 1e-6) * TICK_S)
        return max(TICK_S, math.floor(far_s / TICK_S + 1e-6) * TICK_S)

    def _is_settled(self) -> bool:
        """Whether going on as now will not change what the agent makes of it."""
        since_s = self.now_s - self._changed_s
        return self.agent.due_s > self.now_s and since_s >= SETTLING_S - 1e-6

    def _pass(self, seconds: float) -> float:
        if not self._is_watched:
            self.agent.tick()  # rates need a reading to begin with
            self._is_watched = True
        n_changes = self.n_changes
        self._fleet.advance(seconds, max(ALL_TURNS_S, seconds / MOST_STEPS))
        self.agent.tick()
        if self.n_changes > n_changes:
            self._changed_s = self.now_s
        return seconds

    def _resident(self, vm: VmId) -> float:
        """Share of its working set that is in memory."""
        sim = self._fleet.vm(vm)
        return sim.resident_mib / sim.working_set_mib if sim.working_set_mib > 0 else 1.0

    def _deliver(self) -> None:
        """A controller that takes every batch at once."""
        while (oldest := self._spool.oldest()) is not None:
            ticket, body = oldest
            if self.n_changes != self._n_told:
                self._n_told = self.n_changes
                self._said += [
                    f"{e.kind} {e.vm}: {e.message}"
                    for e in decode_batch(body).events
                    if e.kind.startswith("mitigation_")
                ]
            self.agent.acknowledged(ticket)
            self._spool.drop(ticket)
