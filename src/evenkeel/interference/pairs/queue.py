"""What the CPU queue alone says of a pair on known cores: the physics that traits multiply.

A VM is its vCPUs, which want what they run and wait (`cpu_cores`), and the threads of its devices
(its QEMU beside the vCPUs): four crowds queue for the cores. The hazard is the log of how much
slower the victim's threads get than they are alone, where its own threads wait for one another
already. See `interference.physics` for the queue.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64
from evenkeel.domain.corun import CoRuns
from evenkeel.domain.errors import ModelCorrupt
from evenkeel.interference.cores import cut
from evenkeel.interference.pairs.base import Said, learnable, opened, sealed
from evenkeel.interference.pairs.views import CPU
from evenkeel.interference.physics import Cores, cpu_loss

DEVICES: Final = "device_cores"
VCPUS: Final = "vcpus"
LEAST_LEFT: Final = 0.02
"""Nobody is said to get less of what it wants than this."""


@dataclass(frozen=True, slots=True)
class FittedQueue:
    """The queue as it is: there is nothing to learn."""

    cores: float
    name: str = "queue"

    def predict(self, co_runs: CoRuns) -> Said:
        if not knows_queue(co_runs):
            raise ValueError("these co-runs do not say what the queue needs")
        return Said.of(np.exp(hazards(co_runs, self.cores)))

    def save(self) -> bytes:
        return sealed(self.name, {"cores": np.array([self.cores])})


@dataclass(frozen=True, slots=True)
class QueueModel:
    """The physics alone, without traits: what learning has to improve on."""

    cores: float
    name: str = "queue"

    def fit(self, co_runs: CoRuns, seed: int) -> FittedQueue:
        learnable(co_runs)
        return FittedQueue(self.cores)

    def load(self, blob: bytes) -> FittedQueue:
        try:
            return FittedQueue(float(opened(self.name, blob)["cores"][0]))
        except (KeyError, ValueError, TypeError, IndexError) as error:
            raise ModelCorrupt(f"a part of this model is missing or damaged: {error}") from error


def knows_queue(co_runs: CoRuns) -> bool:
    """Whether the profiles say what the queue needs, of both."""
    needed = (CPU, DEVICES, VCPUS)
    return co_runs.has_one_profile and all(n in co_runs.victim_features for n in needed)


def hazards(co_runs: CoRuns, cores: float) -> F64:
    """(N,) log slowdown by the queue for `cores` CPUs alone; at least 0."""
    victim, partner = _threads(co_runs, "victim"), _threads(co_runs, "partner")
    out = np.zeros(co_runs.n)
    counts = np.column_stack([victim[:, 2], partner[:, 2]])
    for pair in np.unique(counts, axis=0):
        rows = (counts == pair).all(axis=1)
        n_vcpus = np.array([pair[0], 1.0, pair[1], 1.0])
        wanted = np.column_stack([victim[rows, :2], partner[rows, :2]])
        alone = wanted * np.array([1.0, 1.0, 0.0, 0.0])
        kept, kept_alone = _kept(wanted, n_vcpus, cores), _kept(alone, n_vcpus, cores)
        out[rows] = np.maximum(np.log(kept_alone / kept), 0.0)
    return out


def _kept(wanted: F64, n_vcpus: F64, cores: float) -> F64:
    """(T,) share of the time that the first two crowds want in which they run."""
    cpus = tuple(range(max(1, round(cores))))
    atoms = cut(cpus, [frozenset(cpus)] * 4)
    shared = Cores.of_host(atoms, np.full(4, 1024.0), n_vcpus, np.full(4, np.inf))
    weights = np.full(len(wanted), 1.0 / len(wanted))
    lost = cpu_loss(wanted, np.zeros(len(wanted)), atoms, shared, weights).lost
    mine, wait = wanted[:, :2].sum(axis=1), lost[:, :2].sum(axis=1)
    share = np.divide(wait, mine, out=np.zeros_like(mine), where=mine > 0)
    return np.asarray(np.maximum(1.0 - share, LEAST_LEFT))


def _threads(co_runs: CoRuns, side: str) -> F64:
    """(N, 3) cores that the vCPUs want, cores of the devices, number of vCPUs."""

    def column(name: str) -> F64:
        found = co_runs.column(side, name)
        return np.zeros(co_runs.n) if found is None else np.nan_to_num(found)

    vcpus = np.maximum(np.round(column(VCPUS)), 1.0)
    wanted, devices = np.minimum(column(CPU), vcpus), np.minimum(column(DEVICES), 1.0)
    return np.column_stack([wanted, devices, vcpus])
