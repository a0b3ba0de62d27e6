"""The whole agent in a seeded world of faults and kills: whatever happens, the host comes back.

A kill is an exception that nothing catches, thrown before or after any change of the hypervisor or
the journal; the next agent starts with what was on disk, as after `kill -9`.
"""

from __future__ import annotations

import pytest
from agent_world import TICK_S, World

from evenkeel.domain.host import Mode
from evenkeel.domain.plan import MitigationState
from evenkeel.domain.policy import Policy
from evenkeel.sim.churn import ChurnRates, plan_churn
from evenkeel.sim.faults import FaultKind
from evenkeel.sim.scenarios import noisy_neighbour, quiet


@pytest.mark.parametrize("seed", range(10))
def test_the_culprit_is_named_acted_on_and_the_host_restored(seed):
    world = World(noisy_neighbour(seed), seed)
    before, fleet = world.tunings(), world.scenario.fleet
    world.run(world.scenario.onset_s + 25)
    opened = world.journal.open_mitigations()
    assert opened, f"seed {seed}: nothing was done 25 s after the onset"
    assert {opened[0].victim, opened[0].aggressor} == {
        world.scenario.victim,
        world.scenario.aggressor,
    }
    assert fleet.now_s - opened[0].created_at_s + fleet.clock.wall_s() - fleet.now_s > 0
    world.agent.stop()
    assert world.tunings() == before
    first = next(b.scores[0] for b in world.batches() if b.scores and b.scores[0].score >= 20)
    assert (first.victim, first.aggressor) == (world.scenario.victim, world.scenario.aggressor)


def test_a_quiet_fleet_is_never_touched():
    world = World(quiet(3), 3)
    world.run(1800)
    assert world.hypervisor.applied == []


FAULTS = {
    FaultKind.HYPERVISOR_AWAY: 0.02,
    FaultKind.HYPERVISOR_HANGS: 0.01,
    FaultKind.APPLY_REFUSED: 0.2,
    FaultKind.APPLY_UNCERTAIN: 0.2,
    FaultKind.COUNTER_NEGATIVE: 0.01,
    FaultKind.COUNTER_NAN: 0.01,
    FaultKind.JOURNAL_UNAVAILABLE: 0.02,
}


@pytest.mark.parametrize("seed", range(20))
def test_through_faults_and_kills_the_host_comes_back_exactly(seed):
    world = World(noisy_neighbour(seed), seed, FAULTS, kill_chance=0.2)
    plan_churn(
        world.scenario.fleet,
        ChurnRates(reboot=10, pause=20, clock_jump=6),
        seed=seed,
        until_s=600,
    )
    before = world.tunings()
    world.run(600)
    world.faults.rates.clear()
    world.kill_chance = 0.0
    world.agent = world.start()
    world.run(2 * TICK_S)
    world.agent.stop()
    assert world.journal.open_mitigations() == ()
    assert world.tunings() == before, f"seed {seed}"
    assert world.starts > 1 or not world.hypervisor.applied, "the kills did not happen"


@pytest.mark.parametrize("seed", range(5))
def test_the_same_seed_tells_the_same_story(seed):
    def story():
        world = World(noisy_neighbour(seed), seed, FAULTS, kill_chance=0.1)
        world.run(300)
        return [(b.seq, b.scores, b.mitigations, b.events) for b in world.batches()]

    assert story() == story()


def test_an_old_mitigation_does_not_outlive_a_change_to_advise():
    world = World(noisy_neighbour(1), 1)
    before = world.tunings()
    world.run(world.scenario.onset_s + 25)
    assert world.journal.open_mitigations()
    world.agent.adopt(Policy(version=2, mode=Mode.ADVISE))
    world.run(TICK_S)
    assert world.journal.open_mitigations() == ()
    assert world.tunings() == before
    states = {m.state for b in world.batches() for m in b.mitigations}
    assert MitigationState.ROLLED_BACK in states


def test_a_journal_that_fails_is_said_once_and_closes_the_gate():
    scenario = noisy_neighbour(2)
    world = World(scenario, 2)
    world.faults.rates[FaultKind.JOURNAL_UNAVAILABLE] = 1.0
    world.run(scenario.onset_s + 60)
    assert world.hypervisor.applied == []
    batches = list(world.batches())
    assert batches[-1].health.problem == "journal_unavailable"
    said = [e.kind for b in batches for e in b.events if e.kind.startswith("journal")]
    assert said == ["journal_unavailable"]
    world.faults.rates.clear()
    world.run(60)
    assert world.hypervisor.applied
    assert "journal_recovered" in [e.kind for b in world.batches() for e in b.events]
