"""Opponents of a replay: what they decide on small fleets."""

from __future__ import annotations

import numpy as np
import pytest
from replay_made import constant, recording, shapes

from evenkeel.domain.arrays import F64
from evenkeel.domain.errors import TraceInvalid
from evenkeel.domain.recording import NEVER, HostShape, Recording
from evenkeel.sim.replay.corun import Residual
from evenkeel.sim.replay.cut import cut
from evenkeel.sim.replay.opponents import Balance, BestFit, Stay
from evenkeel.sim.replay.run import Policy, Replay
from evenkeel.sim.replay.sold import enough_hosts
from evenkeel.sim.replay.thr_mmt import ThrMmt
from evenkeel.sim.replay.world import Hosts

IDLE = (0.1, 500.0, 0.0, 0.0)


def slots(record: Recording, policy: Policy, n: int) -> Replay:
    replay = Replay(record, Hosts.of(record.hosts), policy, 0, Residual.none())
    for slot in range(n):
        replay.slot(slot)
    return replay


def fleet(*cpu: float, host: list[int], n_hosts: int = 3, n_slots: int = 6) -> Recording:
    """VMs of 4 vCPUs and 4 GiB that want `cpu`, on hosts of 8 CPUs and 32 GiB."""
    rows: F64 = constant(n_slots, *((c, 500.0, 0.0, 0.0) for c in cpu))
    return recording(rows, shapes(n_hosts), host)


def test_stay_goes_where_a_vm_was_recorded_and_else_to_the_first_that_fits() -> None:
    record = recording(
        constant(3, *[IDLE] * 4),
        shapes(3),
        host=[2, 1, -1, -1],
        memory_mib=[4096, 4096, 30_000, 30_000],
        arrives=[0, 1, 1, 1],
    )
    assert slots(record, Stay(), 2).state.host.tolist() == [2, 1, 0, -1]


def test_what_is_sold_counts_and_what_left_is_sold_again() -> None:
    record = recording(
        constant(4, *[IDLE] * 3),
        shapes(1),
        vcpus=[8, 8, 8],
        arrives=[0, 0, 2],
        leaves=[NEVER, 2, NEVER],
    )
    replay = slots(record, Stay(overcommit=2.0), 3)
    assert replay.state.host.tolist() == [0, -1, 0]
    assert replay.meter.n_refused == 0
    replay = slots(record, Stay(overcommit=1.0), 3)
    assert replay.state.host.tolist() == [0, -1, -1]
    assert replay.meter.n_refused == 2


def test_refused_work_is_told() -> None:
    record = recording(constant(2, IDLE, IDLE), shapes(1), vcpus=[8, 8])
    replay = slots(record, Stay(overcommit=1.0), 2)
    assert replay.meter.metrics()["refused"] == 1
    assert replay.meter.metrics()["refused_pct"] == pytest.approx(50.0)


def test_best_fit_takes_the_fullest_that_fits() -> None:
    record = recording(
        constant(2, *[IDLE] * 3), shapes(3), host=[1, 0, -1], memory_mib=[8192, 2048, 4096],
        arrives=[0, 0, 1],
    )  # fmt: skip
    assert slots(record, BestFit("best-fit"), 2).state.host[2] == 1


def test_balance_moves_from_the_most_to_the_least_loaded() -> None:
    record = fleet(3.0, 3.0, 0.2, host=[0, 0, 1])
    replay = slots(record, Balance(), 4)
    assert sorted(replay.state.host[:2].tolist()) == [0, 2]
    assert replay.meter.moves.sum() == 1
    even = slots(fleet(1.0, 1.0, 1.0, host=[0, 1, 2]), Balance(), 4)
    assert even.meter.moves.sum() == 0


def test_thr_mmt_relieves_and_empties() -> None:
    crowded = slots(fleet(3.0, 3.0, 3.0, host=[0, 0, 0], n_hosts=2), ThrMmt("thr-mmt"), 4)
    assert sorted(np.bincount(crowded.state.host, minlength=2).tolist()) == [1, 2]
    apart = slots(fleet(1.0, 1.0, 1.0, host=[0, 1, 2]), ThrMmt("thr-mmt"), 4)
    assert len(set(apart.state.host.tolist())) == 1


def test_thr_mmt_does_not_sell_memory_twice() -> None:
    record = recording(constant(5, IDLE, IDLE), shapes(2), host=[0, 1], memory_mib=[20_000, 20_000])
    assert slots(record, ThrMmt("thr-mmt"), 4).meter.moves.sum() == 0


def test_enough_hosts_is_what_first_fit_fills() -> None:
    record = recording(
        constant(4, *[IDLE] * 4),
        shapes(1),
        vcpus=4,
        memory_mib=20_000,
        arrives=[0, 0, 2, 2],
        leaves=[2, 2, NEVER, NEVER],
    )
    assert enough_hosts(record.vms, HostShape("h", 8, 40_000.0), overcommit=4.0) == 1
    assert enough_hosts(record.vms, HostShape("h", 8, 32_768.0), overcommit=4.0) == 2
    assert enough_hosts(record.vms, HostShape("h", 4, 99_999.0), overcommit=1.0) == 2


def test_a_cut_keeps_who_is_there_and_what_they_want() -> None:
    rows = np.arange(4 * 4 * 6, dtype=np.float64).reshape(4, 4, 6)
    record = recording(rows, shapes(1), vcpus=99, arrives=[0, 1, 4, 0], leaves=[2, 4, NEVER, NEVER])
    part = cut(record, record.start_s + 2 * record.slot_s, hours=2 * record.slot_s / 3600)
    assert (part.n_slots, part.start_s) == (2, record.start_s + 600)
    assert part.vms.ids == ("vm001", "vm003")
    assert part.vms.arrives.tolist() == [0, 0]
    assert part.vms.leaves.tolist() == [2, NEVER]
    assert part.wanted(1).tolist() == record.wanted(3)[[1, 3]].tolist()
    for begin_s in (record.start_s - 1, record.start_s + 6 * record.slot_s):
        with pytest.raises(TraceInvalid, match="nothing is recorded then"):
            cut(record, begin_s, None)


def test_hosts_that_make_no_sense() -> None:
    for bad in ((), (HostShape("a", 4, 1024.0), HostShape("a", 4, 1024.0))):
        with pytest.raises(TraceInvalid, match="a name of its own"):
            Hosts.of(bad)
    with pytest.raises(TraceInvalid, match="'a': a size is not above 0"):
        Hosts.of((HostShape("b", 4, 1024.0), HostShape("a", 4, 0.0)))


def test_the_past_is_all_that_can_be_asked_for() -> None:
    record = fleet(1.0, host=[0])
    asked = []

    class Curious(Stay):
        def move(self, seen):  # type: ignore[no-untyped-def]
            assert seen.past.wanted(seen.slot - 1)[0, 0] == 1.0
            with pytest.raises(IndexError):
                seen.past.wanted(seen.slot)
            asked.append(seen.slot)
            return Stay.move(self, seen)

    slots(record, Curious(), 3)
    assert asked == [1, 2]
