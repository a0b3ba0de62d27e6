"""The real agent on a replayed host: skipping changes nothing, and nothing is left behind."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from evenkeel.domain.host import Mode
from evenkeel.domain.policy import Policy
from evenkeel.domain.recording import Recorded
from evenkeel.domain.resources import CPU_AXIS, IOPS_AXIS, MEMORY_AXIS, NET_AXIS
from evenkeel.sim.crowded import SLOT_S, Crowd, crowded
from evenkeel.sim.replay.world import Hosts
from evenkeel.wiring.replay_agents import AgentsInPlace

CROWD = Crowd(n_hosts=1, n_slots=5, n_cpus=6, n_vms=(10, 14), sold=(3.0, 4.0))
TOLERANCE = 0.01
"""Of the host's CPUs: how far a VM's mean cores in a slot may be off when ticks are skipped."""


def pools(spec):
    """Pinned by an operator to two pools of cores, the large VMs with some small ones."""
    cores = (0, 1, 2, 3) if spec.n_vcpus > 1 or hash_of(spec.name) % 2 else (4, 5)
    return replace(spec, vcpu_pins=(cores,) * spec.n_vcpus)


def hash_of(name):
    return sum(name.encode())


def agents(recording, **kw):
    return AgentsInPlace(recording, Hosts.of(recording.hosts), define=pools, **kw)


def replayed(recording, in_place, slots=None):
    every = np.arange(len(recording.vms.ids))
    out = []
    for slot in range(recording.n_slots) if slots is None else slots:
        start_s = recording.start_s + slot * SLOT_S
        out.append(in_place.slot(0, every, recording.wanted(slot), start_s, SLOT_S))
    return out


def calm_after(recording, slot):
    """The same, with next to nothing wanted from `slot` on."""
    values = recording.demand.values.copy()
    values[:, CPU_AXIS, slot:] = 0.01
    return replace(recording, demand=Recorded(values))


@pytest.mark.parametrize("seed", range(4))
def test_skipping_what_is_settled_changes_nothing(seed):
    recording = crowded(CROWD, seed)
    skipped = replayed(recording, agents(recording))
    ticked = replayed(recording, agents(recording, every_tick=True))
    for short, long in zip(skipped, ticked, strict=True):
        done = short.n_actions, short.n_rolled_back
        assert done == (long.n_actions, long.n_rolled_back), f"seed {seed}"
        off = np.abs(short.got - long.got)[:, CPU_AXIS]
        assert off.max() < TOLERANCE * CROWD.n_cpus, f"seed {seed}"


def test_the_agent_does_act_there():
    given = [replayed(crowded(CROWD, s), agents(crowded(CROWD, s))) for s in range(4)]
    assert sum(slot.n_actions for slots in given for slot in slots) > 0


def test_the_same_seed_gives_the_same_bytes():
    def story():
        recording = crowded(CROWD, 1)
        given = replayed(recording, agents(recording, seed=3))
        return [(g.got.tobytes(), g.n_actions, g.n_rolled_back, g.events) for g in given]

    assert story() == story()


@pytest.mark.parametrize("seed", range(4))
def test_nothing_stays_tuned_once_the_host_is_calm(seed):
    recording = calm_after(crowded(CROWD, seed), 3)
    in_place = agents(recording)
    given = replayed(recording, in_place)
    assert not in_place.is_open(0)
    assert in_place.hosts[0].is_as_defined
    n_done, n_undone = (sum(getattr(g, f"n_{what}") for g in given) for what in DONE)
    assert n_undone == n_done, f"seed {seed}"


DONE = ("actions", "rolled_back")


def test_who_watches_only_changes_nothing():
    recording = crowded(CROWD, 0)
    in_place = agents(recording, policy=Policy(mode=Mode.OBSERVE))
    given = replayed(recording, in_place)
    assert {(g.n_actions, g.n_rolled_back, g.events) for g in given} == {(0, 0, ())}
    assert in_place.hosts[0].n_changes == 0


def test_a_host_that_was_never_short_was_never_built():
    recording = crowded(CROWD, 0)
    in_place = agents(recording)
    assert not in_place.is_open(0)
    assert in_place.hosts == {}


def test_what_is_wanted_is_got_where_there_is_enough():
    recording = calm_after(crowded(CROWD, 0), 0)
    given = replayed(recording, agents(recording), slots=[0])
    wanted = recording.wanted(0)
    for axis in (CPU_AXIS, MEMORY_AXIS, NET_AXIS, IOPS_AXIS):
        np.testing.assert_allclose(given[0].got[:, axis], wanted[:, axis], rtol=1e-6, atol=1e-9)
    assert (given[0].got <= wanted).all()


def test_vms_come_and_go_and_come_back():
    recording = crowded(CROWD, 1)
    in_place = agents(recording)
    every = np.arange(len(recording.vms.ids))
    for slot, here in enumerate((every, every[::2], every[1:], every)):
        wanted = recording.wanted(slot)[here]
        start_s = recording.start_s + slot * SLOT_S
        given = in_place.slot(0, here, wanted, start_s, SLOT_S)
        assert given.got.shape == wanted.shape
        assert (given.got <= wanted).all()


def test_a_host_that_slept_knows_what_is_usual():
    """Its agent looks at the slot before, and is not taken in by the hours in which none looked."""
    recording = crowded(CROWD, 1)
    in_place = agents(recording)
    first, late = (replayed(recording, in_place, slots=[slot])[0] for slot in (0, 4))
    fresh = replayed(recording, agents(recording), slots=[4])[0]
    assert first.got.shape == late.got.shape
    window = in_place.hosts[0].agent.snapshot.tick
    assert window is not None
    np.testing.assert_allclose(late.got, fresh.got, atol=TOLERANCE * CROWD.n_cpus)


def test_a_part_of_a_slot_is_passed_as_asked():
    """Moves end within slots, so a slot may come in pieces."""
    recording = crowded(CROWD, 1)
    every = np.arange(len(recording.vms.ids))
    wanted, start_s = recording.wanted(0), recording.start_s
    pieces = agents(recording)
    parts = [
        pieces.slot(0, every, wanted, start_s + at_s, span_s)
        for at_s, span_s in ((0.0, 30.0), (30.0, 87.0), (117.0, 183.0))
    ]
    whole = agents(recording).slot(0, every, wanted, start_s, SLOT_S)
    spans = np.array([30.0, 87.0, 183.0]) / SLOT_S
    got = sum(part.got * span for part, span in zip(parts, spans, strict=True))
    np.testing.assert_allclose(
        got[:, CPU_AXIS], whole.got[:, CPU_AXIS], atol=3 * TOLERANCE * CROWD.n_cpus
    )
