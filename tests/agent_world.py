"""A simulated host with a whole agent on it, which may be killed at any change it makes.

A kill is an exception that nothing catches; the next agent starts with what was on disk.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from evenkeel.agent.contending import Contending
from evenkeel.agent.foresight import Foresight
from evenkeel.agent.service import Agent
from evenkeel.domain.host import Mode
from evenkeel.domain.ids import HostId, VmId
from evenkeel.domain.policy import Policy
from evenkeel.domain.vm import CpuTuning
from evenkeel.interference.window import Window
from evenkeel.sim.faults import FaultKind, Faults
from evenkeel.sim.fleet import SimFleet
from evenkeel.sim.hypervisor import SimHypervisor
from evenkeel.sim.memory import MemoryJournal, MemoryModels, MemoryPolicy, MemorySpool, MemoryTraits
from evenkeel.sim.scenarios import Scenario
from evenkeel.wire import decode_batch

TICK_S = 5.0
ACT = Policy(mode=Mode.ACT)


def an_agent(fleet: SimFleet, host: HostId, spool: MemorySpool, epoch: str, **parts: Any) -> Agent:
    """A whole agent of a simulated host; `parts` replace those it is made of."""
    made: dict[str, Any] = {
        "hypervisor": SimHypervisor(fleet, host),
        "journal": MemoryJournal(),
        "policies": MemoryPolicy(),
        "contending": Contending(MemoryTraits(), 7.5),
        "foresight": Foresight(MemoryModels(), fleet.clock, TICK_S),
    } | parts
    return Agent(
        host=fleet.hosts[host].describe(),
        spool=spool,
        clock=fleet.clock,
        epoch=epoch,
        window=Window.empty(60.0, TICK_S),
        **made,
    )


class Killed(BaseException):
    """The process is gone at this very instant."""


@dataclass
class Deadly:
    """Wraps a port; every call to `methods` may be the last, before it took effect or after."""

    inner: object
    rng: np.random.Generator
    chance: float
    methods: tuple[str, ...]

    def __getattr__(self, name: str):
        found = getattr(self.inner, name)
        if name not in self.methods:
            return found

        def call(*args):
            fate = self.rng.random()
            if fate < self.chance / 2:
                raise Killed
            result = found(*args)
            if fate > 1 - self.chance / 2:
                raise Killed
            return result

        return call


@dataclass
class World:
    """One host of a scenario, its agent, and what survives the agent."""

    scenario: Scenario
    seed: int
    rates: dict[FaultKind, float] = field(default_factory=dict)
    kill_chance: float = 0.0
    starts: int = 0
    policy: Policy = ACT
    tick_s: float = TICK_S
    make_hypervisor: Callable[..., SimHypervisor] = SimHypervisor

    def __post_init__(self) -> None:
        fleet = self.scenario.fleet
        self.host_id = self.scenario.host or next(iter(fleet.hosts))
        self.rng = np.random.default_rng([self.seed, 7])
        self.faults = Faults(lambda: fleet.now_s, seed=self.seed, rates=self.rates)
        self.hypervisor = self.make_hypervisor(fleet, self.host_id, self.faults)
        self.journal = MemoryJournal(self.faults)
        self.spool, self.policies = MemorySpool(), MemoryPolicy(self.policy)
        self.agent = self.start()

    def start(self) -> Agent:
        self.starts += 1
        deadly = ("apply", "tuning"), ("record",)
        return an_agent(
            self.scenario.fleet,
            HostId(self.host_id),
            self.spool,
            f"{self.starts:04}",
            hypervisor=Deadly(self.hypervisor, self.rng, self.kill_chance, deadly[0]),
            journal=Deadly(self.journal, self.rng, self.kill_chance, deadly[1]),
            policies=self.policies,
        )

    def run(self, seconds: float) -> None:
        """Tick on; whoever is killed is started again, perhaps to be killed in its recovery."""
        for _ in range(int(seconds / self.tick_s)):
            self.scenario.fleet.advance(self.tick_s)
            try:
                self.agent.tick()
            except Killed:
                self.agent = self.start()

    def tunings(self) -> dict[VmId, CpuTuning]:
        return {vm: sim.tuning for vm, sim in self.scenario.fleet.hosts[self.host_id].vms.items()}

    def batches(self):
        while (oldest := self.spool.oldest()) is not None:
            self.spool.drop(oldest[0])
            yield decode_batch(oldest[1])
