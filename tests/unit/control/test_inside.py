"""The loss that a VM's own profiler shows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenkeel.control.inside import ENOUGH, Inside, Quiet, inside_loss
from evenkeel.domain.arrays import F64
from evenkeel.domain.host import Host
from evenkeel.domain.ids import HostId, VmId
from evenkeel.domain.resources import CPU_AXIS, N_RESOURCES
from evenkeel.domain.sample import Flaw, GuestReading, GuestReport, HostCounters, VmCounters
from evenkeel.domain.vm import CpuTuning, Vm

A, B = VmId("a"), VmId("b")
HOST = Host(HostId("h"), (0,), 1000.0)


class World:
    """Two VMs, ticks of a second; `a` has a profiler and counts work or operations."""

    def __init__(self, *, times_operations: bool = False) -> None:
        self.times_operations = times_operations
        self.now_s = 100.0
        self.total = [0.0, 0.0]
        self.known: dict[VmId, Inside] = {}
        self.incarnation = 1
        self.flaws: list[set[Flaw]] = []

    def tick(
        self,
        rate: float,
        cores: float = 0.5,
        neighbour: float = 0.5,
        ms: float = 1.0,
        **loss: float,
    ) -> float:
        self.total[0] += rate
        self.total[1] += rate * ms
        return self.read(
            GuestReport(
                self.now_s,
                None if self.times_operations else self.total[0],
                self.total[0] if self.times_operations else None,
                self.total[1] if self.times_operations else None,
                (0.0, 0.0, 0.0),
            ),
            cores,
            neighbour,
            loss.get("cpu", 0.0),
        )

    def read(
        self,
        report: GuestReport | None,
        cores: float = 0.5,
        neighbour: float = 0.5,
        loss_cpu: float = 0.0,
        flaws: frozenset[Flaw] = frozenset(),
    ) -> float:
        self.now_s += 1.0
        demand, loss = np.zeros((2, N_RESOURCES)), np.zeros((2, N_RESOURCES))
        demand[:, CPU_AXIS] = cores, neighbour
        loss[0, CPU_AXIS] = loss_cpu
        self.flaws = [set(), set()]
        reading = GuestReading(self.now_s, report, flaws)
        out, self.known = self.judge(demand, loss, {A: reading})
        assert out is not None
        assert np.isnan(out[1])
        return float(out[0])

    def judge(
        self, demand: F64, loss: F64, readings: dict[VmId, GuestReading]
    ) -> tuple[F64 | None, dict[VmId, Inside]]:
        vms = tuple(
            VmCounters(Vm(vm, vm, 1, 100.0, tuning=CpuTuning(((0,),))), self.incarnation, 0, 0, 0)
            for vm in (A, B)
        )
        now = HostCounters(HOST, self.now_s, self.now_s, vms)
        return inside_loss(now, demand, loss, readings, self.known, self.flaws)


def settled(**options: bool) -> World:
    world = World(**options)
    for _ in range(ENOUGH + 5):
        world.tick(100.0)
    return world


def test_without_profilers_nothing_is_said() -> None:
    world = World()
    world.flaws = [set(), set()]

    assert world.judge(np.zeros((2, 4)), np.zeros((2, 4)), {}) == (None, {})


def test_nothing_is_known_until_the_quiet_speed_was_seen_often_enough() -> None:
    world = World()
    said = [world.tick(100.0) for _ in range(ENOUGH + 2)]

    assert np.isnan(said[: ENOUGH + 1]).all()
    assert said[-1] == 0.0


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_work_that_falls_beside_the_same_demand_is_lost(share: float) -> None:
    assert settled().tick(100.0 * (1 - share), cpu=share) == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_operations_that_take_longer_are_lost_though_no_host_counter_tells(share: float) -> None:
    world = settled(times_operations=True)

    assert world.tick(100.0 * (1 - share), ms=1 / (1 - share)) == pytest.approx(share, abs=0.01)


def test_doing_less_because_less_is_wanted_is_no_loss() -> None:
    assert settled().tick(10.0, cores=0.05) == pytest.approx(0.0, abs=0.01)
    assert settled(times_operations=True).tick(10.0) == pytest.approx(0.0, abs=0.01)


def test_longer_operations_of_a_vm_that_does_more_of_them_are_its_own_queue() -> None:
    world = settled(times_operations=True)

    assert world.tick(200.0, ms=2.0) == pytest.approx(0.0, abs=0.01)


def test_a_loss_lasts_as_long_as_its_cause() -> None:
    world = settled()
    said = [world.tick(60.0) for _ in range(60)]

    assert said[0] == pytest.approx(0.4, abs=0.01)
    assert said[-1] > 0.35
    assert world.tick(100.0) < 0.02


def test_a_vm_alone_is_not_hurt_by_others_for_long() -> None:
    world = settled()
    said = [world.tick(60.0, neighbour=0.01) for _ in range(20)]

    assert said[-1] < 0.02


def test_a_vm_first_seen_while_it_suffers_is_understood_once_it_does_not() -> None:
    world = World()
    for _ in range(ENOUGH + 5):
        world.tick(50.0, cpu=0.5)
    for _ in range(20):
        world.tick(100.0)

    assert world.tick(50.0, cpu=0.5) == pytest.approx(0.5, abs=0.05)


def test_suffering_before_enough_was_seen_does_not_become_normal() -> None:
    world = World()
    for _ in range(3):
        world.tick(100.0)
    for _ in range(ENOUGH):
        said = world.tick(50.0, cpu=0.5)

    assert said == pytest.approx(0.5, abs=0.05)


def test_counters_that_start_anew_are_marked_and_judged_from_there() -> None:
    world = settled()
    world.total[0] = 0.0

    assert np.isnan(world.tick(100.0))
    assert Flaw.PROFILER_RESET in world.flaws[0]
    assert world.tick(100.0) == pytest.approx(0.0, abs=0.01)


def test_a_vm_that_was_booted_anew_keeps_its_quiet_speed() -> None:
    world = settled()
    world.incarnation, world.total[0] = 2, 0.0

    assert np.isnan(world.tick(100.0))
    assert not world.flaws[0]
    assert world.tick(50.0) == pytest.approx(0.5, abs=0.01)


def test_a_profiler_that_falls_silent_is_marked_and_forgotten_with_its_vm() -> None:
    world = settled()
    said = [world.read(None) for _ in range(12)]

    assert np.isnan(said).all()
    assert Flaw.PROFILER_SILENT in world.flaws[0]
    assert set(world.known) == {A}


def test_what_was_refused_is_said_and_no_loss_is_claimed() -> None:
    world = settled()

    assert np.isnan(world.read(None, flaws=frozenset({Flaw.PROFILER_FLOOD})))
    assert Flaw.PROFILER_FLOOD in world.flaws[0]


@given(
    st.lists(st.floats(0, 1e18, allow_nan=False), min_size=2, max_size=30),
    st.lists(st.booleans(), min_size=30, max_size=30),
)
def test_whatever_is_reported_the_loss_is_a_share(speeds: list[float], calm: list[bool]) -> None:
    quiet = Quiet()
    for speed, is_calm in zip(speeds, calm, strict=False):
        lost = quiet.lost(speed)
        assert np.isnan(lost) or 0 <= lost < 1
        quiet = quiet.learn(speed, is_calm, False)
        assert np.isfinite([quiet.mean, quiet.spread]).all()
        assert quiet.mean >= 0


def test_noise_around_the_quiet_speed_costs_little() -> None:
    rng = np.random.default_rng(1)
    world = settled()
    said = [world.tick(100.0 * (1 + rng.normal(0, 0.02))) for _ in range(200)]

    assert np.mean(said) < 0.015


def test_one_vms_words_do_not_change_anothers() -> None:
    demand, loss = np.full((2, N_RESOURCES), 0.4), np.zeros((2, N_RESOURCES))

    def run(liar: bool) -> list[float]:
        world, out = World(), []
        for k in range(12):
            world.now_s += 1.0
            world.flaws = [set(), set()]
            honest = GuestReport(world.now_s, 100.0 * k, None, None, (0.0, 0.0, 0.0))
            lie = replace(honest, work=(-1.0) ** k * 1e17 + 1e17)
            readings = {A: GuestReading(world.now_s, honest)}
            if liar:
                readings[B] = GuestReading(world.now_s, lie)
            found, world.known = world.judge(demand, loss, readings)
            assert found is not None
            out.append(float(found[0]))
        return out

    np.testing.assert_array_equal(run(False), run(True))
