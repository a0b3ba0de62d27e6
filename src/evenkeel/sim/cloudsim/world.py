"""What CloudSim's PlanetLab benchmark is made of: its hosts, its VMs, its clock.

Figures from CloudSim 3.0.3's example (Beloglazov and Buyya 2012, doi:10.1002/cpe.1867) and from
SPECpower for the two servers. Tuples of arrays, because compiled functions take them.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from evenkeel.domain.arrays import F64, Bools, Ints
from evenkeel.domain.errors import TraceInvalid

INTERVAL_S: Final = 300.0
DAY_S: Final = 86_400.0
SAMPLES: Final = 288
START_S: Final = 0.1
"""VMs are created at 0, their work starts when their creation is acknowledged."""

HOSTS: Final = 800
MAX_VMS_ON_HOST: Final = 400
"""By disk: 1,000,000 MB a host, 2,500 MB a VM."""

CORES: Final = 2
CORE_MIPS: Final = (1860.0, 2660.0)
HOST_RAM_MB: Final = 4096
HOST_MBIT_S: Final = 1000
WATTS: Final = (
    (86.0, 89.4, 92.6, 96.0, 99.5, 102.0, 106.0, 108.0, 112.0, 114.0, 117.0),
    (93.7, 97.0, 101.0, 105.0, 110.0, 116.0, 121.0, 125.0, 129.0, 133.0, 135.0),
)
"""Of an HP ProLiant ML110 G4 and G5 at 0, 10 .. 100 % of CPU."""

VM_MIPS: Final = (2500.0, 2000.0, 1000.0, 500.0)
VM_RAM_MB: Final = (870, 1740, 1740, 613)
RAM_MB_A_SECOND: Final = 62.5
"""Half of a host's bandwidth moves memory: 1e6 kbit/s / (2 x 8000)."""


class World(NamedTuple):
    """H hosts and V VMs; nothing here changes in the course of the day.

    `core` (H,) MIPS a core, `total` (H,) MIPS, `watts` (H, 11) at tenths of the CPU, `mips` (V,),
    `ram` (V,) MB, `share` (V, 289) of its MIPS that a VM wants at each sample, the last one twice;
    `room` (H,) MB of memory a host has after the start, where VMs give back what they do not use
    (nothing is used in CloudSim's example), so that it is endless unless RAM is honoured.
    """

    core: F64
    total: F64
    watts: F64
    mips: F64
    ram: F64
    share: F64
    room: F64


def make_world(percent: F64, n_hosts: int = HOSTS, honour_ram: bool = False) -> World:
    """VMs that want `percent` (V, 288) of their CPU, in this order, on hosts of both kinds.

    Raises TraceInvalid when samples are missing or no share of a CPU.
    """
    percent = np.asarray(percent, dtype=np.float64)
    if percent.ndim != 2 or percent.shape[1] != SAMPLES or not len(percent):
        raise TraceInvalid(f"a day has {SAMPLES} samples of each VM, not {percent.shape}")
    bad = ~((percent >= 0) & np.isfinite(percent))
    if bad.any():
        vm, sample = (int(at[0]) for at in np.nonzero(bad))
        raise TraceInvalid(
            f"VM {vm}, sample {sample}: {percent[vm, sample]} is not a share of its CPU",
            hint="The benchmark needs whole days: 288 samples of every VM, 0 % or more.",
        )
    n = len(percent)
    kind = np.arange(n_hosts) % len(CORE_MIPS)
    size = np.arange(n) // -(-n // len(VM_MIPS))
    core = np.array(CORE_MIPS)[kind]
    share = percent / 100.0
    return World(
        core=core,
        total=core * CORES,
        watts=np.array(WATTS)[kind],
        mips=np.array(VM_MIPS)[size],
        ram=np.array(VM_RAM_MB, dtype=np.float64)[size],
        share=np.concatenate([share, share[:, -1:]], axis=1),
        room=np.full(n_hosts, HOST_RAM_MB if honour_ram else np.inf),
    )


def ordered(n: int, order: str) -> Ints:
    """Positions of n VMs sorted by name, by `name` or `shuffle:SEED`.

    Raises TraceInvalid for another word.
    """
    word, _, seed = order.partition(":")
    if word == "name" and not seed:
        return np.arange(n)
    if word == "shuffle" and seed.isdecimal():
        return np.random.default_rng(int(seed)).permutation(n)
    raise TraceInvalid(f"order {order!r}", hint="--order name, or --order shuffle:SEED")


def ticks() -> tuple[float, ...]:
    """When hosts are looked at and decisions fall, as the clock of an event queue adds them up."""
    found, now_s = [], START_S
    while (now_s := now_s + INTERVAL_S) < DAY_S:
        found.append(now_s)
    return tuple(found)


def is_recorded(now_s: float) -> bool:
    """Whether VMs keep this instant's share in their history. The original asks for no remainder,
    in floating point, so that rounding loses some ticks."""
    return (now_s - START_S) % INTERVAL_S == 0


def share_at(world: World, now_s: float) -> F64:
    """(V,) by interpolation between samples."""
    if now_s % INTERVAL_S == 0:
        return world.share[:, int(now_s / INTERVAL_S)]
    before = int(np.floor(now_s / INTERVAL_S))
    after = int(np.ceil(now_s / INTERVAL_S))
    here, there = world.share[:, before], world.share[:, after]
    slope = (there - here) / ((after - before) * INTERVAL_S)
    return np.asarray(here + slope * (now_s - before * INTERVAL_S))


class State(NamedTuple):
    """What changes. One-element arrays are numbers that compiled functions write.

    `n_on` (H,) and `on` (H, 400): VMs of each host, in the order they came, with those that arrive;
    `home` (V,): where a VM runs, -1: nowhere (not placed, or ended: a VM that wants nothing at
    a look ends for good); `is_moving` (V,); `wanted` (V,) MIPS; `used`, `used_before` (H,) MIPS;
    `given` (H, 400) MIPS as `on`; `free` (H,) MIPS.
    """

    n_on: Ints
    on: Ints
    home: Ints
    is_moving: Bools
    wanted: F64
    used: F64
    used_before: F64
    given: F64
    free: F64


def empty(world: World) -> State:
    """Hosts without VMs."""
    n_hosts, n_vms = len(world.total), len(world.mips)
    return State(
        n_on=np.zeros(n_hosts, dtype=np.intp),
        on=np.full((n_hosts, MAX_VMS_ON_HOST), -1, dtype=np.intp),
        home=np.full(n_vms, -1, dtype=np.intp),
        is_moving=np.zeros(n_vms, dtype=np.bool_),
        wanted=np.zeros(n_vms),
        used=np.zeros(n_hosts),
        used_before=np.zeros(n_hosts),
        given=np.zeros((n_hosts, MAX_VMS_ON_HOST)),
        free=world.total.copy(),
    )


def check_moves(vms: Ints, hosts: Ints, world: World, state: State) -> None:
    """Whether `vms` (M,) can all begin to move to `hosts` (M,) now; a policy that asks for what
    cannot be has a bug, hence assertions."""
    assert len(vms) == len(hosts)
    if not len(vms):
        return
    assert vms.min() >= 0, "no such VM"
    assert 0 <= hosts.min() <= hosts.max() < len(world.total), "no such host"
    assert (state.home[vms] >= 0).all(), "a VM that is nowhere cannot move"
    assert (state.home[vms] != hosts).all(), "a VM that is there cannot move there"
    here = np.flatnonzero(state.home >= 0)
    held = np.bincount(state.home[here], world.ram[here], minlength=len(world.total))
    held += np.bincount(hosts, world.ram[vms], minlength=len(world.total))
    assert (held[hosts] <= world.room[hosts]).all(), "memory does not suffice"
