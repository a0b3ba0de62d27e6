"""vCPUs that are on or off: as much as is wanted, and what that costs, held against real guests."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np
import pytest
from tests.unit.sim.worlds import World

from evenkeel.domain.plan import SetCpuQuota
from evenkeel.sim.fleet import SimFleet
from evenkeel.sim.host import HostSpec
from evenkeel.sim.spells import in_spells
from evenkeel.sim.vm import DEFAULT_SHARES, VmSpec
from evenkeel.sim.workload import Steady

STEP_S = 0.05
MEASURED_S = 120.0
COMPUTES = {"cpu8": 1, "cpu30": 1, "cpu60": 1, "cpu95": 1, "bursty": 1, "memory50": 1, "dual50": 2}
"""Workloads of the lab that only compute, and their vCPUs."""
# Cores of each guest, shares, CPUs of the host, loss measured: note 0002.
GUESTS = (
    ((0.90, 0.04), (1, 1), 1, (0.042, 0.485)),
    ((0.90, 1.00), (1, 1), 1, (0.483, 0.471)),
    ((0.60, 0.30), (1, 1), 1, (0.229, 0.401)),
    ((0.40, 0.40), (1, 1), 1, (0.336, 0.333)),
    ((1.00, 1.00), (2, 1), 1, (0.323, 0.676)),
    ((1.00, 1.00, 1.00), (1, 1, 1), 2, (0.346, 0.346, 0.346)),
    ((0.20, 0.20, 0.20, 0.20), (1, 1, 1, 1), 2, (0.098, 0.098, 0.098, 0.098)),
)


def times(seconds: float) -> np.ndarray:
    return (np.arange(round(seconds / STEP_S)) + 0.5) * STEP_S


def lost(
    wants: Sequence[tuple[float, int, int]], n_cpus: int, *, spells: bool, seed: int = 0
) -> list[float]:
    """Share that each of (cores, vCPUs, shares) loses on one host."""
    specs = [
        VmSpec(f"{seed}-{k}", n, cpu=Steady(cores), shares=shares, in_spells=spells)
        for k, (cores, n, shares) in enumerate(wants)
    ]
    world = World(*specs, host=HostSpec("h1", cpus=tuple(range(n_cpus))))
    world.fleet.advance(MEASURED_S)
    return [1 - world.fleet.work(world.ids[spec.name]).cpu_share for spec in specs]


@pytest.mark.parametrize("share", [0.0, 0.03, 0.4, 0.77, 1.0])
def test_every_second_a_vcpu_is_on_for_what_it_wants(share: float) -> None:
    on = in_spells(np.full((2000, 3), share), times(100), seed=5)
    assert set(np.unique(on)) <= {0.0, 1.0}
    a_second = on.reshape(100, 20, 3).mean(axis=1)
    assert np.abs(a_second - share).max() <= STEP_S
    assert np.abs(a_second.reshape(20, 5, 3).mean(axis=1) - share).max() < 0.011
    np.testing.assert_allclose(on.mean(axis=0), share, atol=0.002)


def test_spells_are_of_random_length_and_vcpus_meet_by_chance() -> None:
    on = in_spells(np.full((20_000, 2), 0.6), times(1000), seed=6)
    lengths = [STEP_S * len(list(run)) for is_on, run in groupby(on[:, 0]) if is_on]
    assert 0.05 <= np.quantile(lengths, 0.1) < np.median(lengths) < np.quantile(lengths, 0.9)
    assert 0.3 <= np.quantile(lengths, 0.95) < 1.0
    assert (on[:, 0] * on[:, 1]).mean() == pytest.approx(0.36, abs=0.01)
    other = in_spells(np.full((20_000, 1), 0.6), times(1000), seed=7)
    assert (on[:, 0] * other[:, 0]).mean() == pytest.approx(0.36, abs=0.01)


def test_they_follow_from_the_seed_and_the_time_alone() -> None:
    share = np.full((600, 2), 0.5)
    whole = in_spells(share, times(30), seed=3)
    parts = [in_spells(share[a:b], times(30)[a:b], seed=3) for a, b in pairwise((0, 7, 300, 600))]
    assert np.array_equal(whole, np.concatenate(parts))
    assert not np.array_equal(whole, in_spells(share, times(30), seed=4))


def test_two_that_want_less_than_a_core_together_wait_for_each_other() -> None:
    for shares in lost([(0.4, 1, 1024), (0.4, 1, 1024)], 1, spells=True):
        assert shares == pytest.approx(0.2, abs=0.02)
    assert lost([(0.4, 1, 1024), (0.4, 1, 1024)], 1, spells=False) == pytest.approx([0, 0])
    assert lost([(0.4, 1, 1024), (0.4, 1, 1024)], 2, spells=True) == pytest.approx([0, 0])


def test_a_vms_weight_is_shared_by_those_of_its_vcpus_that_are_on() -> None:
    """Beside a hog of its weight it has half of the core whenever it wants any: 3/4 of the time."""
    world = World(
        VmSpec("two", n_vcpus=2, cpu=Steady(1.0)),
        VmSpec("hog", cpu=Steady(1.0)),
        host=HostSpec("h1", cpus=(0,)),
    )
    world.run(MEASURED_S)
    assert world.cores("two")[0] == pytest.approx(0.5 * 0.75, abs=0.02)


def test_the_hosts_own_work_comes_in_spells_as_a_vms_does() -> None:
    """It and a VM want .4 of one core each: they wait as two VMs would."""
    host = HostSpec("h1", cpus=(0,), background=Steady(0.4))
    world = World(VmSpec("a", cpu=Steady(0.4)), host=host)
    world.run(MEASURED_S)
    run, delay, _ = world.cores("a")
    assert delay / (run + delay) == pytest.approx(0.2, abs=0.02)


def test_hosts_work_at_times_of_their_own() -> None:
    fleet = SimFleet(seed=3)
    hosts = [
        fleet.add_host(HostSpec(name, cpus=(0,), background=Steady(0.5))) for name in ("h1", "h2")
    ]
    both, either = 0, 0
    for _ in range(200):
        before = [fleet.hosts[host].busy_s for host in hosts]
        fleet.advance(STEP_S)
        busy = [fleet.hosts[h].busy_s > was for h, was in zip(hosts, before, strict=True)]
        both, either = both + all(busy), either + any(busy)
    assert both / 200 == pytest.approx(0.25, abs=0.06)
    assert either / 200 == pytest.approx(0.75, abs=0.06)


def test_a_vm_alone_loses_nothing_at_any_moment() -> None:
    """What it wants is what its spells want, not their mean."""
    world = World(VmSpec("a", cpu=Steady(0.43)))
    for _ in range(30):
        world.fleet.advance(STEP_S)
        assert world.fleet.work(world.ids["a"]).lost_core_s == pytest.approx(0.0, abs=1e-9)


def test_a_quota_is_spent_from_the_start_of_its_period() -> None:
    """30 ms of every 100: who wants 100 ms, or the first 50, or the last, all get 30."""
    world = World(VmSpec("a", cpu=Steady(0.5)))
    world.hypervisor.apply(SetCpuQuota(world.ids["a"], 100_000, 30_000))
    world.run(100)
    run, delay, throttled = world.cores("a")
    on = in_spells(np.full((2000, 1), 0.5), times(100), seed=1).reshape(-1, 2).sum(axis=1)
    assert run == pytest.approx(0.3 * (on > 0).mean(), abs=0.01)
    assert throttled == pytest.approx(delay) == pytest.approx(0.5 - run, abs=0.01)


def test_it_errs_less_on_real_guests_than_level_demand_does() -> None:
    """Note 0002: guests on one and on two CPUs, loss as their hosts measured it."""
    error: dict[bool, list[float]] = {True: [], False: []}
    for wants, weights, n_cpus, measured in GUESTS:
        vms = [(w, 1, DEFAULT_SHARES * k) for w, k in zip(wants, weights, strict=True)]
        for spells, errors in error.items():
            found = lost(vms, n_cpus, spells=spells)
            errors += [abs(a - b) for a, b in zip(found, measured, strict=True)]
    print(np.mean(error[True]), max(error[True]), np.mean(error[False]), max(error[False]))
    assert np.mean(error[True]) < 0.06
    assert np.mean(error[False]) > 2 * np.mean(error[True])
    assert max(error[True]) < 0.15 < 0.3 < max(error[False])


def lab_rows() -> list[dict[str, str]]:
    """Guests that only compute, two or three on one CPU."""
    path = Path(__file__).parents[3] / "data" / "corun_lab.csv"
    with path.open() as file:
        rows = list(csv.DictReader(file))
    alone = {row["victim"]: row["victim_solo_cpu_cores"] for row in rows}
    for row in rows:
        row["partner_2_cores"] = alone.get(row["partner_2"], "")
    names = ("victim", "partner", "partner_2")
    return [
        row
        for row in rows
        if row["partner"] and all(row[name] in {*COMPUTES, ""} for name in names)
    ]


def lab_loss(row: dict[str, str], *, spells: bool) -> float:
    """Share of its work alone that the victim loses in company."""

    def vm(name: str, cores: str) -> tuple[float, int, int]:
        return float(cores), COMPUTES[name], DEFAULT_SHARES

    vms = [
        vm(row["victim"], row["victim_solo_cpu_cores"]),
        vm(row["partner"], row["partner_solo_cpu_cores"]),
    ]
    if row["partner_2"]:
        vms.append(vm(row["partner_2"], row["partner_2_cores"]))
    alone = 1 - lost(vms[:1], 1, spells=spells)[0]
    return 1 - (1 - lost(vms, 1, spells=spells)[0]) / alone


def test_it_errs_less_on_the_labs_co_runs_than_level_demand_does() -> None:
    rows = lab_rows()
    assert len(rows) == len(COMPUTES) ** 2, "every pair, and no triple of these"
    measured = np.array([1 - 1 / float(row["slowdown"]) for row in rows])
    on_off, level = (
        np.abs([lab_loss(row, spells=spells) for row in rows] - measured)
        for spells in (True, False)
    )
    print(len(rows), on_off.mean(), on_off.max(), level.mean(), level.max())
    assert on_off.mean() < 0.06
    assert level.mean() > 2 * on_off.mean()
