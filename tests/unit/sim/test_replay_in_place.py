"""Agents on the hosts of a replay: whose physics counts, and when they are asked."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from tests.replay_made import Scripted, constant, recording, shapes

from evenkeel.domain.arrays import F64, Ints
from evenkeel.sim.replay.run import Given, run
from evenkeel.sim.replay.world import Hosts


@dataclass
class Halving:
    """Gives half of what is wanted, whenever it is asked; acts in the slots it is told to."""

    acts_in: tuple[int, ...]
    asked: list[int] = field(default_factory=list)

    def is_open(self, host: int) -> bool:
        return len(self.asked) - 1 in self.acts_in

    def slot(self, host: int, vms: Ints, wanted: F64, start_s: float, span_s: float) -> Given:
        self.asked.append(host)
        return Given(wanted / 2, n_actions=int(len(self.asked) - 1 in self.acts_in))


def unserved(agents: Halving | None) -> float:
    """Percent of the CPU that two VMs want on one host, where a fifth is lacking."""
    wanted = constant(3, (5.0, 0, 0, 0), (5.0, 0, 0, 0))
    record = recording(wanted, shapes(1), vcpus=8.0)
    policy = Scripted([0, 0])
    policy.in_place = agents
    return run(record, Hosts.of(record.hosts), policy).metrics["unserved_pct.cpu"]


def test_an_agent_that_does_nothing_changes_nothing() -> None:
    agents = Halving(acts_in=())
    assert unserved(agents) == unserved(None) == pytest.approx(20, abs=2)
    assert agents.asked == [0, 0, 0]


def test_what_an_agent_does_counts() -> None:
    assert unserved(Halving(acts_in=(0, 1, 2))) == pytest.approx(50, abs=2)


def test_while_something_is_open_the_agent_says_what_vms_get() -> None:
    agents = Halving(acts_in=(0,))
    first, rest = 50.0, unserved(None)
    # Open after the first slot, and closed by having been asked in the second.
    assert unserved(agents) == pytest.approx((2 * first + rest) / 3, abs=2)
