"""What VMs get in a replay: as the small simulator has it, and what is beyond its pools."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from replay_made import SLOT_S, Scripted, constant, recording, shapes
from tests.unit.sim.worlds import World

from evenkeel.adapters.traces.lab_matrix import read_lab_pairs
from evenkeel.domain.corun import CoRuns
from evenkeel.domain.resources import CPU_AXIS, IOPS_AXIS, NET_AXIS
from evenkeel.sim.host import HostSpec
from evenkeel.sim.replay.corun import Residual
from evenkeel.sim.replay.overlap import beyond_pools, overlap_loss, overlap_of_few
from evenkeel.sim.replay.run import Outcome, run
from evenkeel.sim.replay.serve import serve, share
from evenkeel.sim.replay.world import Hosts
from evenkeel.sim.vm import VmSpec
from evenkeel.sim.workload import Steady

SHORT = "short"
# (vCPUs, cores, working set MiB, Mbit/s, requests/s) of each VM on 4 CPUs, 8 GiB, 1 Gbit/s, 5000/s
FLEETS: dict[str, list[tuple[int, float, float, float, float]]] = {
    "room for all": [(2, 1.0, 1000, 100, 500), (2, 0.5, 1000, 50, 100)],
    "cores short": [(4, 3.6, 500, 10, 10), (4, 2.0, 500, 10, 10), (1, 0.3, 500, 10, 10)],
    "uplink and disk short": [(1, 0.2, 500, 900, 4000), (1, 0.2, 500, 300, 3000)],
    "memory short": [(2, 0.8, 6000, 10, 50), (2, 0.5, 4000, 10, 400)],
}


@pytest.mark.parametrize("name", FLEETS)
def test_pools_agree_with_the_small_simulator(name: str) -> None:
    fleet = FLEETS[name]
    specs = [
        VmSpec(
            f"vm{i}",
            n_vcpus=n,
            memory_mib=8192.0,
            cpu=Steady(cores),
            iops=Steady(iops),
            net_mbit_s=Steady(mbit),
            working_set_mib=Steady(mib),
            in_spells=False,
        )
        for i, (n, cores, mib, mbit, iops) in enumerate(fleet)
    ]
    host = HostSpec("h", cpus=(0, 1, 2, 3), memory_mib=8192.0, net_mbit_s=1000.0, iops=5000.0)
    world = World(*specs, host=host)
    world.fleet.advance(60.0)
    small = []
    for spec in specs:
        work = world.fleet.work(world.ids[spec.name])
        small.append((work.got_core_s / 60, work.got_mbit / 60, work.got_requests / 60))

    wanted = np.array([(cores, mib, mbit, iops) for _, cores, mib, mbit, iops in fleet])
    nothing = np.zeros(1)
    hosts = Hosts.of(shapes(1, n_cpus=4, memory_gib=8.0))
    served = serve(hosts, np.zeros(len(fleet), int), wanted, wanted[:, 1], nothing, nothing)
    ours = served.got[:, [CPU_AXIS, NET_AXIS, IOPS_AXIS]]
    # The small one places vCPUs on cores, which costs it some per cent of the fair share.
    assert ours == pytest.approx(np.array(small), rel=0.07)
    assert bool(served.short[0]) == (name != "room for all")


def test_overlap_is_exact_for_steady_vcpus_and_near_it_for_others() -> None:
    at = np.zeros(6, dtype=np.intp)
    ones, four = np.ones(6), np.array([4.0])
    assert overlap_loss(at, ones, ones, four) == pytest.approx(1 - 4 / 6)
    assert not overlap_loss(at[:3], ones[:3], ones[:3], four).any()
    for n_cpus, n, busy in ((4, 8, 0.3), (8, 12, 0.6), (16, 40, 0.35), (32, 50, 0.55)):
        share = np.full(n, busy)
        found = overlap_loss(np.zeros(n, int), share, np.ones(n), np.array([float(n_cpus)]))
        assert found[0] == pytest.approx(overlap_of_few(share[1:], n_cpus), rel=0.1)


def test_two_that_share_one_core_lose_half_of_the_others_time() -> None:
    assert overlap_of_few(np.array([0.95]), 1) == pytest.approx(0.475)
    assert overlap_of_few(np.array([0.95]), 2) == 0.0


def pairs(slowdown: float, cpu: float = 24.0) -> CoRuns:
    """a and b in both directions; a alone is slowed."""
    cpu_alone = np.full((2, 1), cpu)
    return CoRuns(
        victim=("a", "b"),
        partner=("b", "a"),
        campaign=("", ""),
        victim_features=("cpu_cores",),
        partner_features=("cpu_cores",),
        placement_features=(),
        victim_solo=cpu_alone,
        partner_solo=cpu_alone,
        placement=np.empty((2, 0)),
        slowdown=np.array([slowdown, 1.0]),
        cpi_rise=np.full(2, np.nan),
    )


def test_what_a_pair_was_measured_to_lose_it_loses_here() -> None:
    table = Residual.of(pairs(1.5), n_cpus=48, vcpus=24)
    at, kind = np.zeros(2, dtype=np.intp), np.array([0, 1])
    nothing, cpus = np.zeros(2), np.array([48.0])
    assert table.beside(at, kind, np.full(2, 24.0), cpus, nothing) == pytest.approx([1 / 3, 0])
    half = table.beside(at, kind, np.array([24.0, 12.0]), cpus, nothing)
    assert half == pytest.approx([1 / 6, 0])
    apart = table.beside(np.array([0, 1]), kind, np.full(2, 24.0), np.full(2, 48.0), nothing)
    assert not apart.any()


def test_neighbours_compose() -> None:
    table = Residual.of(pairs(1.5), n_cpus=48, vcpus=24)
    at, kind = np.zeros(3, dtype=np.intp), np.array([0, 1, 1])
    lost = table.beside(at, kind, np.full(3, 24.0), np.array([48.0]), np.zeros(3))
    assert lost[0] == pytest.approx(1 - (2 / 3) ** 2)


def test_what_cores_explain_is_not_counted_twice() -> None:
    """On one core a partner that is always busy costs half; a slowdown of 2 is just that."""
    table = Residual.of(pairs(2.0, cpu=1.0), n_cpus=1, vcpus=1)
    assert table.waits
    assert table.loss == pytest.approx(np.zeros((2, 2)), abs=1e-9)
    more = Residual.of(pairs(2.5, cpu=1.0), n_cpus=1, vcpus=1)
    at, kind = np.zeros(2, dtype=np.intp), np.array([0, 1])
    busy, one = np.array([0.5, 0.5]), np.array([1.0])
    lost = more.beside(at, kind, busy, one, np.zeros(2))
    assert not lost.any(), "nobody waits for a core, so nobody waits more often"


def test_kinds_are_those_told_and_else_drawn_by_seed() -> None:
    table = Residual.of(pairs(1.5), n_cpus=48, vcpus=24)
    told = ("b", "", "unheard of", "a")
    one, again, other = (table.kinds_of(told, seed) for seed in (1, 1, 2))
    assert one.tolist() == again.tolist()
    assert one[[0, 3]].tolist() == other[[0, 3]].tolist() == [1, 0]
    many = ("",) * 400
    assert table.kinds_of(many, 1).tolist() != table.kinds_of(many, 2).tolist()


def replayed(moves: dict[int, Any], wanted: tuple[float, ...], **how: Any) -> Outcome:
    rows = constant(4, wanted, (0.5, 1000, 0, 0))  # type: ignore[arg-type]
    record = recording(rows, shapes(2), **how)
    return run(record, Hosts.of(record.hosts), Scripted([0, 1], moves))


def test_a_move_takes_the_time_that_its_memory_takes() -> None:
    """4096 MiB over half of 1 Gbit/s: 68.7 s, so 90 s in tenths of a slot; an idle VM dirties
    nothing."""
    calm = replayed({}, (0.0, 4096, 0, 0))
    moved = replayed({1: [(0, 1)]}, (0.0, 4096, 0, 0))
    assert moved.metrics["migrations"] == 1
    assert moved.metrics["migrated_gib"] == pytest.approx(4.0)
    assert calm.metrics["host_hours"] == pytest.approx(2 * 4 * SLOT_S / 3600)
    on = moved.by_slot["hosts_on"]
    assert on == pytest.approx([2.0, 1.3, 1.0, 1.0])


def test_a_busy_vm_dirties_memory_and_loses_cpu_while_it_moves() -> None:
    moved = replayed({1: [(0, 1)]}, (1.0, 4096, 0, 0))
    assert 4.0 < moved.metrics["migrated_gib"] < 8.0
    sends_mib_s = 500 / 8.388608
    seconds = 4096 / (sends_mib_s - 10.0)
    assert moved.metrics["migrated_gib"] * 1024 == pytest.approx(seconds * sends_mib_s)
    assert moved.by_vm["lost_core_h"][0] * 3600 == pytest.approx(0.1 * seconds)
    assert moved.metrics["lost_pct.moves"] > 0


def test_a_large_vm_moves_for_more_than_a_slot() -> None:
    size = 40_000.0
    moved = replayed({0: [], 1: [(0, 1)]}, (0.0, size, 0, 0), memory_mib=size)
    seconds = size / (500 / 8.388608)
    assert seconds > 2 * SLOT_S
    assert moved.by_slot["hosts_on"] == pytest.approx(
        [2, 2, 2, 2 - (4 * SLOT_S - 930) / 300], abs=1
    )
    assert moved.metrics["migrated_gib"] == pytest.approx(size / 1024)


def test_memory_is_kept_on_both_ends() -> None:
    """Both hosts are full with it: while it arrives the target swaps, before and after nobody."""
    rows = constant(4, (1.0, 20_000, 0, 0), (1.0, 20_000, 0, 0))
    record = recording(rows, shapes(2), memory_mib=20_000)
    short = run(record, Hosts.of(record.hosts), Scripted([0, 1], {1: [(0, 1)]}))
    assert short.metrics["unserved_pct.memory"] > 0
    calm = run(record, Hosts.of(record.hosts), Scripted([0, 1]))
    assert calm.metrics["unserved_pct.memory"] == 0


def test_power_is_that_of_hosts_that_are_on() -> None:
    rows = constant(12, (4.0, 1000, 0, 0), (4.0, 1000, 0, 0))
    record = recording(rows, shapes(3), vcpus=4)
    both = run(record, Hosts.of(record.hosts), Scripted([0, 0]))
    apart = run(record, Hosts.of(record.hosts), Scripted([0, 1]))
    idle, busy = 93.7, 93.7 + 8 * 41.3 / 2
    assert both.metrics["energy_kwh"] == pytest.approx(busy / 1000)
    assert both.metrics["host_hours"] == pytest.approx(1.0)
    done = 8 * (1 - both.metrics["unserved_pct.cpu"] / 100)
    assert both.metrics["wh_per_core_hour"] == pytest.approx(busy / done)
    assert apart.metrics["hosts_peak"] == 2
    half = idle + (busy - idle) * (116 - 93.7) / 41.3
    assert apart.metrics["energy_kwh"] == pytest.approx(2 * half / 1000)


def test_a_busy_host_loses_to_overlap_what_mean_demand_left_of_it() -> None:
    """Cores that are always busy serve somebody: nothing is lost twice."""
    at = np.zeros(12, dtype=np.intp)
    cpu, vcpus, cpus = np.repeat([0.2, 1.8], 6), np.repeat([1.0, 2.0], 6), np.array([4.0])
    got = share(at, cpu, cpus)
    overlap = overlap_loss(at, cpu, vcpus, cpus)
    extra = beyond_pools(at, cpu, got, overlap, 1)
    lost = cpu - got * (1 - extra)
    assert float(lost.sum()) == pytest.approx(float(cpu.sum() - 4.0), rel=0.02)
    calm = overlap_loss(at, cpu / 3, vcpus, cpus)
    extra = beyond_pools(at, cpu / 3, cpu / 3, calm, 1)
    assert extra == pytest.approx(calm), "no pool is short: all of it is overlap"
    assert extra.min() > 0.05


def test_overlap_explains_what_computing_guests_on_one_core_lost() -> None:
    """The lab's pairs of guests that only compute: mean demand alone is twice as far off."""
    table = read_lab_pairs([Path(__file__).parents[3] / "data" / "corun_lab.csv"])
    cpu = ("cpu8", "cpu30", "cpu60", "cpu95", "bursty")
    both = [v in cpu and p in cpu for v, p in zip(table.victim, table.partner, strict=True)]
    pairs = table.take(np.array(both))
    lost = 1 - 1 / pairs.slowdown
    victim, partner = pairs.column("victim", "cpu_cores"), pairs.column("partner", "cpu_cores")
    assert victim is not None
    assert partner is not None
    overlap = np.array([overlap_of_few(np.array([min(p, 1.0)]), 1) for p in partner])
    by_mean = 1 - np.minimum(victim, np.maximum(0.5, 1 - partner)) / victim
    assert pairs.n == len(cpu) ** 2
    assert np.abs(lost - overlap).mean() < 0.06
    assert np.abs(lost - by_mean).mean() > 0.12
