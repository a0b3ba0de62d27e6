"""Ready-made fleets: the built-in noisy neighbour, a quiet day, and any number of hosts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from evenkeel.domain.ids import HostId, TenantId, VmId
from evenkeel.sim.clock import SimClock
from evenkeel.sim.fleet import SimFleet
from evenkeel.sim.host import HostSpec
from evenkeel.sim.vm import DEFAULT_SHARES, VmSpec
from evenkeel.sim.workload import Diurnal, Noisy, Onset, SquareWave, Steady, Workload

NOISY_CORES: Final = 1.0
"""What the noisy VM wants from its onset on: a whole core."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A fleet, and in it who will hurt whom: `aggressor` turns noisy at `onset_s` (fleet time).

    In a quiet fleet nobody does: the three are None and infinite.
    """

    fleet: SimFleet
    host: HostId | None = None
    aggressor: VmId | None = None
    victim: VmId | None = None
    onset_s: float = float("inf")


def noisy_neighbour(
    seed: int, *, clock: SimClock | None = None, earliest_s: float = 60.0, n_hosts: int = 3
) -> Scenario:
    """On one of the hosts, a VM that shares a core with another turns noisy and stays so.

    Each host has four cores: two pairs of VMs pinned to a core each, and a light VM free to run
    on the other two, so that pinning the culprit apart helps. In every pair one VM is busy and
    the other a sleeper with twice the weight; the culprit is a sleeper that wakes up, and leaves
    its neighbour a third of the core. Which host, which pair, which name, and when (within a
    minute after `earliest_s`) vary with the seed.
    """
    rng = np.random.default_rng([seed, 1])
    chosen_host, chosen_pair = int(rng.integers(n_hosts)), int(rng.integers(2))
    onset_s = earliest_s + float(rng.uniform(0, 60))
    fleet = SimFleet(seed, clock=clock)
    culprit: tuple[HostId, VmId, VmId] | None = None
    for h in range(n_hosts):
        host = fleet.add_host(HostSpec(f"host{h + 1}", cpus=(0, 1, 2, 3), memory_mib=16_384))
        for pair, names in enumerate((("web", "batch"), ("db", "build"))):
            is_here = (h, pair) == (chosen_host, chosen_pair)
            busy, sleeper = rng.permutation(names).tolist()
            calm = _server(rng, 0.1)
            wakes = Onset(calm, Steady(NOISY_CORES), onset_s) if is_here else calm
            victim = fleet.add_vm(host, _vm(f"{busy}{h + 1}", _server(rng, 0.6), rng, core=pair))
            spec = _vm(f"{sleeper}{h + 1}", wakes, rng, core=pair)
            aggressor = fleet.add_vm(host, replace(spec, shares=2 * DEFAULT_SHARES))
            if is_here:
                culprit = (host, aggressor, victim)
        fleet.add_vm(host, _vm(f"cron{h + 1}", SquareWave(0.05, 0.3, 47.0, 0.2), rng))
    assert culprit is not None
    return Scenario(fleet, *culprit, onset_s)


def quiet(seed: int, *, clock: SimClock | None = None, n_hosts: int = 3) -> Scenario:
    """The same fleet on a day when everybody stays within what the cores have."""
    return Scenario(
        noisy_neighbour(seed, clock=clock, earliest_s=float("inf"), n_hosts=n_hosts).fleet
    )


def mixed(
    seed: int, *, n_hosts: int, n_vms: int, n_cpus: int = 4, clock: SimClock | None = None
) -> Scenario:
    """`n_vms` VMs per host of every kind, overcommitted: some will collide, at times."""
    rng = np.random.default_rng([seed, 2])
    fleet = SimFleet(seed, clock=clock)
    cpus = tuple(range(n_cpus))
    for h in range(n_hosts):
        host = fleet.add_host(HostSpec(f"host{h + 1}", cpus=cpus, iops=2000.0))
        for v in range(n_vms):
            kinds = (
                _server(rng, 0.5),
                Diurnal(0.5, 0.4, peak_s=float(rng.uniform(0, 86_400))),
                Noisy(
                    SquareWave(0.1, 1.5, 120.0, 0.3, float(rng.uniform(0, 120))), 0.2, _draw(rng)
                ),
                _server(rng, 0.3, spread=1.0),
            )
            fleet.add_vm(host, _vm(f"vm{h + 1}-{v + 1}", kinds[v % 4], rng, n_vcpus=1 + v % 2))
    return Scenario(fleet)


def _server(rng: np.random.Generator, cores: float, *, spread: float = 0.1) -> Workload:
    return Noisy(Steady(cores * float(rng.uniform(0.9, 1.1))), spread, _draw(rng))


def _vm(
    name: str,
    cpu: Workload,
    rng: np.random.Generator,
    *,
    core: int | None = None,
    n_vcpus: int = 1,
) -> VmSpec:
    return VmSpec(
        name,
        n_vcpus=n_vcpus,
        memory_mib=1024.0,
        cpu=cpu,
        iops=Noisy(Steady(float(rng.uniform(5, 80))), 0.3, _draw(rng)),
        net_mbit_s=Noisy(Steady(float(rng.uniform(1, 40))), 0.3, _draw(rng)),
        tenant=TenantId("acme" if name.startswith(("web", "db")) else "initech"),
        vcpu_pins=None if core is None else ((core,),) * n_vcpus,
    )


def _draw(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))
