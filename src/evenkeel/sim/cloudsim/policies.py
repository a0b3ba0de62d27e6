"""What a policy of the benchmark is asked and knows, and the opponents in that form."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from evenkeel.domain.arrays import F64, Ints
from evenkeel.sim.cloudsim import mmt
from evenkeel.sim.cloudsim.first import first_hosts
from evenkeel.sim.cloudsim.world import State, World, is_recorded


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """At a tick: the world with the samples of the past alone, `share` (V, n), and the state as
    it was just looked at."""

    world: World
    state: State
    now_s: float


class Policy(Protocol):
    """Decides who goes where; one object a day."""

    def place(self, world: World) -> Ints:
        """(V,) hosts at the start; nothing was seen yet."""
        ...

    def decide(self, seen: Seen) -> tuple[Ints, Ints]:
        """(M,) VMs and the hosts they move to, all at once, in the order they arrive."""
        ...


class Fixed:
    """VMs stay on the first host that had room: DVFS, and NPA without power management."""

    def place(self, world: World) -> Ints:
        return first_hosts(world, by_power=False)

    def decide(self, seen: Seen) -> tuple[Ints, Ints]:
        nobody = np.zeros(0, dtype=np.intp)
        return nobody, nobody


@dataclass(slots=True)
class Mmt:
    """THR-MMT or LR-MMT."""

    rule: mmt.Rule
    shares: list[F64] = field(default_factory=list)
    """(V,) at each tick that VMs remember, the newest first."""

    def place(self, world: World) -> Ints:
        return first_hosts(world, by_power=True)

    def decide(self, seen: Seen) -> tuple[Ints, Ints]:
        if is_recorded(seen.now_s):
            share = seen.state.wanted / seen.world.mips
            self.shares = [share, *self.shares[: mmt.KEPT - 1]]
        recent = (
            np.stack(self.shares, axis=1) if self.shares else np.zeros((len(seen.world.mips), 0))
        )
        return mmt.decide(seen.world, seen.state, self.rule, recent)
