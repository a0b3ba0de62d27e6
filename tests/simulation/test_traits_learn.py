"""Learnt traits against physics alone, simulated: each tick is predicted before it is learnt."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from evenkeel.control.measure import Baselines, derive
from evenkeel.domain.arrays import F64
from evenkeel.domain.resources import CPU_AXIS, SPECS, Resource
from evenkeel.interference.hazards import compose
from evenkeel.interference.kinds import Priors, TraitMemory, expected
from evenkeel.interference.loads import host_loads
from evenkeel.interference.rows import present
from evenkeel.interference.traits import evidence, learn
from evenkeel.interference.window import Window
from evenkeel.sim.fleet import SimFleet
from evenkeel.sim.host import HostSpec
from evenkeel.sim.hypervisor import SimHypervisor
from evenkeel.sim.scenarios import mixed
from evenkeel.sim.vm import VmSpec
from evenkeel.sim.workload import Noisy, SquareWave
from level import level

WARM_UP = 20
SHARD = SPECS[Resource.CPU].shard


def in_step(seed: int) -> SimFleet:
    """Guests that wake together or in turn, as timers have it, and not at random."""
    rng = np.random.default_rng(seed)
    fleet = SimFleet(seed)
    host = fleet.add_host(HostSpec("h", cpus=(0, 1, 2, 3)))
    for v in range(8):
        n_vcpus, period_s = int(rng.choice([1, 1, 2])), float(rng.choice([0.2, 0.5, 1.0]))
        duty, phase_s = rng.uniform(0.3, 0.7), 0.0 if v % 2 else rng.uniform(0, period_s)
        wave = SquareWave(0.0, n_vcpus, period_s, duty, phase_s)
        cpu = Noisy(wave, 0.3, int(rng.integers(2**30)), slot_s=20.0)
        spec = VmSpec(f"v{v}", n_vcpus=n_vcpus, memory_mib=1024.0, cpu=cpu, in_spells=False)
        fleet.add_vm(host, spec)
    return fleet


def judged(fleet: SimFleet, n_ticks: int) -> tuple[F64, F64, F64]:
    """Loss of each VM and tick that wanted a shard: measured, by physics, with traits so far."""
    hypervisor = SimHypervisor(fleet, next(iter(fleet.hosts)))
    window, memory = Window.empty(60.0), TraitMemory()
    before, baselines = None, Baselines()
    rows: list[F64] = []
    for n in range(n_ticks):
        fleet.advance(5.0)
        now = hypervisor.observe()
        tick, baselines = derive(before, now, baselines)
        before = now
        if tick is None:
            continue
        window = window.append(tick)
        said = present(window, 7.5)
        loads = host_loads(said, tick.host)
        belief = memory.belief(tick.vms, Priors())
        if n >= WARM_UP:
            newest = np.zeros((1, len(said.weights)))
            newest[0, -1] = 1.0
            traits, load = belief.traits(), loads[CPU_AXIS]
            s, p = traits.sensitivity[None, :, CPU_AXIS], traits.pressure[None, :, CPU_AXIS]
            loss, wanted = tick.loss[:, CPU_AXIS], tick.demand[:, CPU_AXIS]
            measured = np.where(loss * wanted >= SHARD, loss, 0.0)
            plain, learnt = compose(load, newest), compose(load, newest, s, p)
            told = np.stack([measured, plain.predicted[0], learnt.predicted[0]])
            rows.append(told[:, wanted >= SHARD])
        belief = learn(belief, expected(tick.vms, Priors()), evidence(loads, tick), tick.interval_s)
        memory = memory.with_(tick.vms, belief)
    measured, physics, with_traits = np.concatenate(rows, axis=1)
    return measured, physics, with_traits


def demand_is_level(seed: int) -> SimFleet:
    """Guests that share a core without ever waiting, where physics expects a queue."""
    return level(waking_by_chance(seed))


def waking_by_chance(seed: int) -> SimFleet:
    return mixed(seed, n_hosts=1, n_vms=10).fleet


def mean_errors(make: Callable[[int], SimFleet]) -> tuple[float, float]:
    """Of the loss told by physics, and with traits."""
    errors, learnt_errors = [], []
    for seed in range(2):
        fleet = make(seed)
        measured, physics, with_traits = judged(fleet, 120)
        assert measured.mean() > 0.005, "somebody has to lose something"
        errors.append(np.abs(physics - measured).mean())
        learnt_errors.append(np.abs(with_traits - measured).mean())
    print(make.__name__, errors, learnt_errors)
    return float(np.mean(errors)), float(np.mean(learnt_errors))


@pytest.mark.parametrize("make", [in_step, demand_is_level])
def test_traits_halve_what_physics_gets_wrong(make: Callable[[int], SimFleet]) -> None:
    physics, with_traits = mean_errors(make)
    assert with_traits < 0.65 * physics


def test_where_physics_is_right_traits_do_no_harm() -> None:
    physics, with_traits = mean_errors(waking_by_chance)
    assert physics < 0.05
    assert with_traits < physics
