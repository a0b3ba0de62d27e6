"""Evenkeel in a replay: what it remembers, where it places, when it moves."""

from __future__ import annotations

import numpy as np
import pytest
from replay_made import Scripted, constant, made, recording, shapes

from evenkeel.domain.recording import NEVER, NOWHERE
from evenkeel.domain.resources import CPU_AXIS, MEMORY_AXIS
from evenkeel.sim.replay.corun import Residual
from evenkeel.sim.replay.run import Replay
from evenkeel.sim.replay.world import Hosts
from evenkeel.wiring.replay_past import Window
from evenkeel.wiring.replay_policy import Evenkeel


def test_the_window_holds_what_was_wanted_newest_last() -> None:
    record = made(3, n_vms=20, n_slots=14)
    script = Scripted([0] * 20)
    replay = Replay(record, Hosts.of(record.hosts), script, 0, Residual.none())
    window = Window(n_slots=4)
    for slot in range(record.n_slots):
        replay.slot(slot)
        if not slot:
            continue
        seen = script.seen[-1]
        window.see(seen)
        there = np.intersect1d(window.rows(), np.flatnonzero(replay.state.there))
        assert len(window.values) <= 20
        kept = window.of(there, CPU_AXIS)
        n = min(slot, 4)
        for k in range(n):
            then = slot - n + k
            was = record.demand.at(then)[there, CPU_AXIS]
            was = np.minimum(was, record.vms.vcpus[there])
            was[(record.vms.arrives[there] > then) | (record.vms.leaves[there] <= then)] = np.nan
            assert kept[:, k] == pytest.approx(was, nan_ok=True)
        assert (window.most(MEMORY_AXIS, record.vms.memory_mib) > 0).all()


def test_rows_of_those_who_left_are_used_again() -> None:
    """100 VMs, one after the other: one row, or two as one comes while another leaves."""
    n = 100
    record = recording(
        constant(n + 1, *[(1.0, 100.0, 0.0, 0.0)] * n),
        shapes(1),
        arrives=list(range(n)),
        leaves=list(range(1, n + 1)),
    )
    policy = Evenkeel()
    replay = Replay(record, Hosts.of(record.hosts), policy, 0, Residual.none())
    for slot in range(record.n_slots):
        replay.slot(slot)
    assert len(policy.window.values) <= 4


def test_idle_hosts_are_emptied_and_a_short_one_relieved() -> None:
    rows = constant(40, *[(0.3, 500.0, 0.0, 0.0)] * 12)
    rows[:4, CPU_AXIS, 20:] = 4.0
    record = recording(rows, shapes(6), host=[0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5])
    replay = Replay(record, Hosts.of(record.hosts), Evenkeel(), 0, Residual.none())
    for slot in range(record.n_slots):
        replay.slot(slot)
        if slot == 19:
            assert len(set(replay.state.host.tolist())) < 4
    assert replay.meter.by_slot["lost_cores"][19] == 0
    assert replay.meter.by_slot["lost_cores"][-1] < 0.05 * replay.meter.by_slot["wanted_cores"][-1]


def test_a_vm_that_fits_nowhere_is_refused() -> None:
    record = recording(
        constant(3, (1.0, 100.0, 0.0, 0.0), (1.0, 100.0, 0.0, 0.0)),
        shapes(1),
        memory_mib=[30_000.0, 30_000.0],
        arrives=[0, 0],
        leaves=[NEVER, NEVER],
    )
    replay = Replay(record, Hosts.of(record.hosts), Evenkeel(), 0, Residual.none())
    replay.slot(0)
    assert sorted(replay.state.host.tolist()) == [NOWHERE, 0]
