"""Probes by a whole agent in a simulated world in which the hypervisor's word is not the truth.

Two twins turn loud at the same moment. Both are said to share the victim's core; one of them
really runs elsewhere. Nothing but an experiment can tell which.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from agent_world import World

from evenkeel.domain.host import Mode
from evenkeel.domain.ids import HostId, VmId
from evenkeel.domain.plan import ActionKind
from evenkeel.domain.policy import Policy
from evenkeel.domain.score import PRESENT_S
from evenkeel.sim.faults import FaultKind
from evenkeel.sim.fleet import SimFleet
from evenkeel.sim.host import HostSpec
from evenkeel.sim.hypervisor import SimHypervisor
from evenkeel.sim.scenarios import Scenario
from evenkeel.sim.vm import VmSpec
from evenkeel.sim.workload import Noisy, Onset, Steady

ONSET_S = 70.0
PROBING = Policy(
    mode=Mode.ACT, allowed=frozenset(), probe=True, probes_per_hour=90, probe_cooldown_s=60
)


class WrongPins(SimHypervisor):
    """Says that the liar runs on the victim's core."""

    def observe(self):
        told = super().observe()
        return replace(told, vms=tuple(self._lie(counters) for counters in told.vms))

    def tuning(self, vm_id):
        known = next(c.vm for c in self.observe().vms if c.vm.id == vm_id)
        return replace(super().tuning(vm_id), vcpu_pins=known.tuning.vcpu_pins)

    def _lie(self, counters):
        if not counters.vm.name.startswith("liar"):
            return counters
        tuning = replace(counters.vm.tuning, vcpu_pins=((0,),))
        return replace(counters, vm=replace(counters.vm, tuning=tuning))


def twins(seed: int, **liar: object) -> tuple[Scenario, dict[str, VmId]]:
    fleet = SimFleet(seed)
    host = fleet.add_host(HostSpec("h1", cpus=(0, 1)))
    loud = Onset(Steady(0.03), Steady(0.8), ONSET_S)
    names = ("guilty", "liar") if seed % 2 else ("liar", "guilty")
    ids = {
        "victim": fleet.add_vm(
            host, VmSpec("victim", cpu=Noisy(Steady(0.7), 0.05, seed), vcpu_pins=((0,),))
        )
    }
    for name in names:
        core = 1 if name == "liar" else 0
        spec = VmSpec(name, cpu=Noisy(loud, 0.05, seed + core + 1), vcpu_pins=((core,),))
        ids[name] = fleet.add_vm(host, replace(spec, **liar) if name == "liar" else spec)
    return Scenario(fleet, HostId("h1"), ids["guilty"], ids["victim"], ONSET_S), ids


def world(seed: int, policy: Policy = PROBING, tick_s: float = 1.0, **kw) -> World:
    scenario, ids = twins(seed)
    made = World(scenario, seed, policy=policy, tick_s=tick_s, make_hypervisor=WrongPins, **kw)
    made.ids = ids
    return made


def events(made: World, kind: str):
    return [e for b in made.batches() for e in b.events if e.kind == kind]


def confidence(made: World) -> dict[VmId, float]:
    """In each suspect as the victim's culprit, now."""
    scores = made.agent.snapshot.scores
    victim = made.ids["victim"]
    now = [p for p in scores if p.victim == victim and p.horizon_s == PRESENT_S]
    return {p.aggressor: p.confidence for p in now}


@pytest.mark.parametrize("tick_s", [1.0, 5.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_guilty_twin_is_found_and_all_is_put_back(seed, tick_s):
    made = world(seed, replace(PROBING, probe=False), tick_s)
    before = made.tunings()
    made.run(ONSET_S + 25)
    assert max(confidence(made).values()) < 0.7, "nothing tells the twins apart yet"
    made.agent.adopt(PROBING)
    verdicts: dict[VmId, str] = {}
    for _ in range(20):
        made.run(10)
        for event in events(made, "probe_finished"):
            if event.detail["victim"] == made.ids["victim"]:
                verdicts[event.detail["suspect"]] = event.detail["verdict"]
        if verdicts.get(made.ids["guilty"]) == "confirmed":
            break
        if verdicts.get(made.ids["liar"]) == "cleared":
            break
    assert verdicts, "nothing was found out"
    assert verdicts.get(made.ids["guilty"]) in (None, "confirmed", "inconclusive")
    assert verdicts.get(made.ids["liar"]) in (None, "cleared", "inconclusive")
    assert confidence(made)[made.ids["guilty"]] > 0.8
    made.agent.adopt(replace(PROBING, probe=False))
    made.run(2 * tick_s)
    assert made.tunings() == before
    assert made.journal.open_mitigations() == ()


def throttled_spans(made: World, seconds: float):
    """Run on; (from, to, vm) in fleet time for every stretch in which a VM had a quota."""
    fleet, spans, since = made.scenario.fleet, [], {}
    end_s = fleet.now_s + seconds
    while fleet.now_s < end_s:
        made.run(made.tick_s)
        for vm, tuning in made.tunings().items():
            if tuning.quota_us > 0:
                since.setdefault(vm, fleet.now_s)
            elif vm in since:
                spans.append((since.pop(vm), fleet.now_s, vm))
    return spans + [(start, fleet.now_s, vm) for vm, start in since.items()]


@pytest.mark.parametrize("seed", range(5))
def test_budgets_and_bounds_are_kept_through_kills_and_faults(seed):
    rates = {FaultKind.APPLY_REFUSED: 0.1, FaultKind.APPLY_UNCERTAIN: 0.1}
    made = world(seed, rates=rates, kill_chance=0.05)
    before, policy = made.tunings(), made.policy
    spans = throttled_spans(made, 300)
    spans.sort()
    starts = [start for start, _, _ in spans]
    assert all(later[0] >= sooner[1] for sooner, later in pairwise(spans)), "one at a time"
    for start, until, _ in spans:
        # An answer that was lost leaves the throttle to the next tick's undoing.
        assert until - start <= policy.probe_max_s + 4 * made.tick_s, f"seed {seed}"
    rounds, spacing_s = policy.probe_rounds, 3600 / policy.probes_per_hour
    for i in range(len(starts) - rounds):
        assert starts[i + rounds] - starts[i] >= spacing_s / 2, f"seed {seed}: {starts}"
    made.faults.rates.clear()
    made.kill_chance = 0.0
    made.agent = made.start()
    made.run(2)
    made.agent.stop()
    assert made.journal.open_mitigations() == ()
    assert made.tunings() == before


def test_without_faults_no_throttle_outlives_its_expiry_and_one_is_open_at_a_time():
    made = world(3)
    opened = set()
    for _ in range(300):
        made.run(1.0)
        now = made.journal.open_mitigations()
        assert len(now) <= 1
        for m in now:
            assert m.kind is ActionKind.PROBE
            assert m.expires_at_s >= made.scenario.fleet.clock.wall_s()
            opened.add(m.id)
    assert 1 <= len(opened) <= 300 / 40 * PROBING.probe_rounds


@pytest.mark.parametrize(
    "policy",
    [
        replace(PROBING, probe=False),
        replace(PROBING, mode=Mode.ADVISE),
        replace(PROBING, tenant_modes={"default": Mode.OBSERVE}),
        replace(PROBING, probes_per_hour=1),
    ],
)
def test_nothing_is_touched_where_it_may_not_be(policy):
    made = world(1, policy)
    made.run(300)
    assert made.hypervisor.applied == []


def test_an_exempt_suspect_is_never_throttled():
    scenario, ids = twins(1, exempt=True)
    made = World(scenario, 1, policy=PROBING, tick_s=1.0, make_hypervisor=WrongPins)
    made.run(300)
    assert made.hypervisor.applied
    assert ids["liar"] not in {i.vm for i in made.hypervisor.applied}


def test_switching_it_off_ends_the_experiment_at_once():
    made = world(2)
    while not made.journal.open_mitigations():
        made.run(1.0)
        assert made.scenario.fleet.now_s < 300
    made.agent.adopt(replace(PROBING, version=2, probe=False))
    made.run(1.0)
    assert made.journal.open_mitigations() == ()
    [told] = events(made, "probe_finished")
    assert told.detail["reason"] == "probes were switched off"


def test_what_would_take_from_a_suspect_waits_for_the_probe():
    """Boosting the victim takes from whoever is on its core: first it must be sure who that is."""
    policy = replace(PROBING, allowed=frozenset({ActionKind.BOOST}), min_confidence=0.8)
    made = world(0, policy, tick_s=5.0)
    made.run(ONSET_S + 150)
    batches = list(made.batches())
    kinds = [(e.at_s, e.detail.get("kind", e.kind)) for b in batches for e in b.events]
    found_s = min(at_s for at_s, kind in kinds if kind == "probe_finished")
    boosts_s = [at_s for at_s, kind in kinds if kind == "boost"]
    assert boosts_s
    assert min(boosts_s) >= found_s
    boosted = [m for b in batches for m in b.mitigations if m.kind is ActionKind.BOOST]
    assert boosted[0].target == made.ids["victim"]
