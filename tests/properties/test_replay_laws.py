"""Laws of a replayed fleet, whoever decides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replay_made import made

from evenkeel.domain.arrays import F64, Ints
from evenkeel.domain.recording import NOWHERE, Recorded, Recording
from evenkeel.domain.resources import CPU_AXIS
from evenkeel.sim.replay import stretch
from evenkeel.sim.replay.corun import Residual
from evenkeel.sim.replay.opponents import Balance, BestFit, Stay
from evenkeel.sim.replay.run import Policy, Replay, Seen, run
from evenkeel.sim.replay.serve import Served, serve
from evenkeel.sim.replay.thr_mmt import ThrMmt
from evenkeel.sim.replay.world import Hosts
from evenkeel.wiring.replay import residual
from evenkeel.wiring.replay_agents import AgentsInPlace
from evenkeel.wiring.replay_policy import Evenkeel

SEEDS = st.integers(0, 10_000)


class Wild(Stay):
    """Moves whomever it may to wherever it may."""

    name = "wild"

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.in_place, self.overcommit = None, 4.0

    def move(self, seen: Seen) -> tuple[Ints, Ints]:
        able = np.flatnonzero(seen.state.there & ~seen.state.moving)
        vms = able[self.rng.random(len(able)) < 0.3]
        targets = self.rng.integers(0, seen.hosts.n, len(vms))
        kept = targets != seen.state.host[vms]
        return vms[kept], targets[kept]


POLICIES: dict[str, Callable[[Recording, Hosts], Policy]] = {
    "stay": lambda record, hosts: Stay(),
    "best-fit": lambda record, hosts: BestFit("best-fit"),
    "balance": lambda record, hosts: Balance(),
    "thr-mmt": lambda record, hosts: ThrMmt("thr-mmt"),
    "wild": lambda record, hosts: Wild(3),
    "evenkeel-moves": lambda record, hosts: Evenkeel("evenkeel-moves"),
    "evenkeel": lambda record, hosts: Evenkeel("evenkeel", AgentsInPlace(record, hosts)),
}
QUICK = [name for name in POLICIES if name != "evenkeel"]


@pytest.mark.parametrize("name", QUICK)
@settings(max_examples=10)
@given(seed=SEEDS)
def test_work_adds_up_and_hosts_give_what_they_have(name: str, seed: int) -> None:
    check_sums(name, seed)


def test_agents_keep_to_the_same_laws() -> None:
    check_sums("evenkeel", 11)
    check_past("evenkeel", 11, 9)


def check_sums(name: str, seed: int) -> None:
    record = made(seed)
    hosts = Hosts.of(record.hosts)
    replay = Replay(record, hosts, POLICIES[name](record, hosts), seed, residual(None))
    called: list[Served] = []

    def checked(*given: Any) -> Served:
        of, at, wanted, held, arriving, _ = given
        served = serve(*given)
        called.append(served)
        assert (served.got <= wanted * (1 + 1e-9) + 1e-9).all()
        for axis in range(wanted.shape[1]):
            sums = np.bincount(at, served.got[:, axis], of.n)
            assert (sums <= of.capacity[:, axis] * (1 + 1e-9)).all()
        going = replay.state.target[replay.state.target != NOWHERE]
        due = np.bincount(going, replay.world.held[replay.state.target != NOWHERE], of.n)
        assert arriving == pytest.approx(due), "memory is kept free where a VM goes"
        there = np.flatnonzero(replay.state.there)
        assert held == pytest.approx(replay.world.held[there]), "and held where it is"
        return served

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(stretch, "serve", checked)
        for slot in range(record.n_slots):
            before = replay.meter.got.copy(), replay.meter.wanted.copy()
            replay.slot(slot)
            state, present = replay.state, record.present(slot)
            absent = np.setdiff1d(np.arange(len(record.vms.ids)), present)
            assert (state.host[absent] == NOWHERE).all()
            assert (state.target[absent] == NOWHERE).all()
            assert (state.host[present] < hosts.n).all()
            assert ((state.target == NOWHERE) | (state.target != state.host)).all()
            for total, was in zip((replay.meter.got, replay.meter.wanted), before, strict=True):
                assert (total[absent] == was[absent]).all(), "nobody is served while absent"
            here = np.flatnonzero(state.there)
            asked = replay.meter.wanted[here] - before[1][here]
            assert asked == pytest.approx(record.wanted(slot)[here] * record.slot_s, abs=1e-6)
    assert called
    meter = replay.meter
    lost = float((meter.wanted - meter.got)[:, CPU_AXIS].sum())
    assert float(meter.by_cause.sum()) == pytest.approx(lost, rel=1e-9, abs=1e-6)
    assert (meter.by_cause >= -1e-6).all()
    assert (meter.got >= 0).all()
    assert (meter.got <= meter.wanted * (1 + 1e-9) + 1e-9).all()


@pytest.mark.parametrize("name", QUICK)
@settings(max_examples=10)
@given(seed=SEEDS, from_slot=st.integers(1, 17))
def test_the_future_changes_nothing_of_the_past(name: str, seed: int, from_slot: int) -> None:
    check_past(name, seed, from_slot)


def check_past(name: str, seed: int, from_slot: int) -> None:
    """VMs that come later and demand from a slot on are others: all until then is the same."""
    record = made(seed)
    values = _values(record)
    later = values.copy()
    later[:, :, from_slot:] = np.random.default_rng(seed).random(later[:, :, from_slot:].shape) * 9
    vms = record.vms
    new = vms.arrives >= from_slot
    other = replace(
        record,
        demand=Recorded(later),
        vms=replace(
            vms,
            vcpus=np.where(new, 1.0, vms.vcpus),
            memory_mib=np.where(new, 512.0, vms.memory_mib),
            leaves=np.where(vms.leaves > from_slot, from_slot + 1, vms.leaves).clip(
                vms.arrives + 1
            ),
        ),
    )
    told = []
    for each in (record, other):
        hosts = Hosts.of(each.hosts)
        replay = Replay(each, hosts, POLICIES[name](each, hosts), 0, Residual.none())
        for slot in range(from_slot):
            replay.slot(slot)
        told.append(replay)
    one, two = told
    assert np.array_equal(one.state.host, two.state.host)
    assert np.array_equal(one.state.target, two.state.target)
    for key in one.meter.by_slot:
        assert np.array_equal(
            one.meter.by_slot[key][:from_slot], two.meter.by_slot[key][:from_slot]
        ), key
    assert np.array_equal(one.meter.got, two.meter.got)


@pytest.mark.parametrize("name", [name for name in POLICIES if name != "wild"])
def test_same_seed_same_outcome(name: str) -> None:
    record = made(5)
    hosts = Hosts.of(record.hosts)
    one, two = (run(record, hosts, POLICIES[name](record, hosts), 4) for _ in range(2))
    assert one.metrics == two.metrics
    for key, values in one.by_slot.items():
        assert np.array_equal(values, two.by_slot[key])


def _values(record: Recording) -> F64:
    assert isinstance(record.demand, Recorded)
    return record.demand.values
