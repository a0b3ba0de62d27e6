"""What the co-run matrix measures: workloads, the guests that they need, and the cells in order.

Pure: the same seed gives the same plan, so that a run that was killed goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
from dataclasses import asdict, dataclass, field
from typing import Final

from evenkeel.lab.domain_xml import GuestSpec
from evenkeel.lab.guests import JOBS

POOLS: Final[dict[str, GuestSpec]] = {
    "small": GuestSpec(memory_mib=128, disk_mib=256),
    "dual": GuestSpec(vcpus=2, memory_mib=128, disk_mib=256),
    "swap": GuestSpec(memory_mib=96, disk_mib=256, swap=True),
}
"""Guests by what they have; a workload runs on any guest of its pool."""
POOL_SIZE: Final = {"small": 3, "dual": 2, "swap": 2}
IDLER: Final = "idle"
"""Does no work: a neighbour that hurts nobody, and no victim."""
IDLE: Final = {"cpu": 0, "thr": 1, "ws": 0, "job": 0, "burst": 0}


@dataclass(frozen=True, slots=True)
class Workload:
    """A pool and the knobs of its guests; `duty_pct` of each thread's time is wanted."""

    name: str
    duty_pct: int
    job: str = "cpu"
    pool: str = "small"
    knobs: dict[str, int] = field(default_factory=dict)

    @property
    def load(self) -> dict[str, int]:
        """What the guest is told."""
        return IDLE | {"cpu": self.duty_pct, "job": JOBS.index(self.job)} | self.knobs


WORKLOADS: Final = (
    Workload(IDLER, 0),
    Workload("cpu8", 8),
    Workload("cpu30", 30),
    Workload("cpu60", 60),
    Workload("cpu95", 95),
    Workload("dual50", 50, pool="dual", knobs={"thr": 2}),
    Workload("memory50", 50, knobs={"ws": 24}),
    Workload("reclaim40", 40, "cached"),
    Workload("swap40", 40, "pages", "swap", {"ws": 64}),
    Workload("read12", 12, "read"),
    Workload("write50", 50, "write"),
    Workload("send20", 20, "send"),
    Workload("receive50", 50, "receive"),
    Workload("mixed40", 40, "mixed"),
    Workload("bursty", 95, knobs={"burst": 200}),
)
QUICK: Final = ("cpu30", "cpu95", "write50", "swap40")
TRIPLES: Final = (
    ("cpu30", "cpu95", "read12"),
    ("cpu60", "write50", "cpu30"),
    ("dual50", "send20", "cpu95"),
    ("memory50", "receive50", "cpu30"),
    ("reclaim40", "cpu95", "send20"),
    ("swap40", "read12", "cpu60"),
    ("mixed40", "bursty", "cpu30"),
    ("write50", "dual50", "read12"),
    ("receive50", "cpu60", "mixed40"),
    ("bursty", "memory50", "send20"),
    ("swap40", "write50", "cpu30"),
    ("reclaim40", "receive50", "cpu60"),
)
ROUNDS: Final = 4
QUICK_ROUNDS: Final = 2
BY_NAME: Final = {w.name: w for w in WORKLOADS}


@dataclass(frozen=True, slots=True)
class Cell:
    """Workloads that run together for a while; one alone is a control."""

    members: tuple[str, ...]

    @property
    def guests(self) -> tuple[str, ...]:
        """Name of the guest of each member: the first free one of its pool."""
        taken: dict[str, int] = {}
        names = []
        for member in self.members:
            pool = BY_NAME[member].pool
            taken[pool] = taken.get(pool, 0) + 1
            names.append(f"{pool}{taken[pool]}")
        return tuple(names)


def plan(seed: int, is_quick: bool, repeats: int = 1) -> tuple[Cell, ...]:
    """Cells in order: co-runs shuffled, rounds of controls spread evenly, first and last of all.

    Every unordered pair, each with itself too (but for two that idle), and some triples; all of
    them once before any is repeated.
    """
    rng = random.Random(seed)  # noqa: S311  for repeatability, not a secret
    names = QUICK if is_quick else tuple(BY_NAME)
    once = [Cell(pair) for pair in itertools.combinations_with_replacement(names, 2)]
    once = [cell for cell in once if set(cell.members) != {IDLER}]
    once += [Cell(t) for t in TRIPLES if set(t) <= set(names)]
    co_runs = [cell for _ in range(repeats) for cell in rng.sample(once, len(once))]
    rounds = (QUICK_ROUNDS if is_quick else ROUNDS) + 2 * (repeats - 1)
    controls = [Cell((name,)) for _ in range(rounds - 2) for name in rng.sample(names, len(names))]
    cells = [Cell((name,)) for name in names]
    done = 0
    for i, cell in enumerate(co_runs, start=1):
        cells.append(cell)
        due = round(i * len(controls) / len(co_runs))
        cells += controls[done:due]
        done = due
    return (*cells, *(Cell((name,)) for name in names))


def fingerprint(cells: tuple[Cell, ...], seconds: float) -> str:
    """Tells plans apart: what was measured for another one is of no use."""
    said = {
        "cells": [c.members for c in cells],
        "seconds": seconds,
        "workloads": [asdict(w) for w in WORKLOADS],
        "pools": {name: asdict(spec) for name, spec in POOLS.items()},
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


def guests_needed(cells: tuple[Cell, ...]) -> tuple[str, ...]:
    return tuple(sorted({name for cell in cells for name in cell.guests}))


def pool_of(guest: str) -> GuestSpec:
    return POOLS[guest.rstrip("0123456789")]
