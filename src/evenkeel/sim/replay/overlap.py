"""CPU that is lost within a slot because vCPUs that are not always busy are busy together.

A slot's mean hides that each of a VM's vCPUs runs or does not. A vCPU that runs while M others do
on C cores gets C / (M + 1) of a core where that is less than one (fair shares), so it loses
E[(1 - C / (M + 1))+]. M is a sum of independent vCPUs and taken as normal; `overlap_of_few` adds
it up exactly, for hosts so small that this is too rough. Of real guests on a host with one core
this explains most of what `evenkeel lab matrix` measured between those that only compute.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64, Ints
from evenkeel.sim.replay.world import by_host

STRATA: Final = 24
TINY: Final = 1e-12
SAFE: Final = 4.0
"""Standard deviations from the mean at which nobody loses."""


def _normal_strata() -> F64:
    """(STRATA,) means of a standard normal's strata of equal probability."""
    from statistics import NormalDist

    normal = NormalDist()
    edges = [normal.inv_cdf(k / STRATA) for k in range(1, STRATA)]
    density = np.array([0.0, *(normal.pdf(edge) for edge in edges), 0.0])
    return np.asarray(-np.diff(density) * STRATA)


Z: Final = _normal_strata()


def overlap_loss(at: Ints, cpu: F64, vcpus: F64, n_cpus: F64) -> F64:
    """(n,) share of its CPU work that each VM loses, that of mean demand above capacity included.

    Parameters
    ----------
    at : (n,) hosts; cpu, vcpus : (n,) cores wanted and owned; n_cpus : (H,)
    """
    n = len(n_cpus)
    busy = np.minimum(cpu / vcpus, 1.0)
    variance = cpu * (1.0 - busy)
    mean, spread = by_host(at, cpu, n), by_host(at, variance, n)
    risky = mean + SAFE * np.sqrt(spread) + 1.0 > n_cpus
    out = np.zeros(len(at))
    who = np.flatnonzero(risky[at] & (cpu > 0))
    if not len(who):
        return out
    h, own = at[who], busy[who]
    others = np.maximum(mean[h] - own, 0.0)
    deviation = np.sqrt(np.maximum(spread[h] - own * (1.0 - own), 0.0))
    running = np.maximum(others[:, None] + deviation[:, None] * Z, 0.0) + 1.0
    out[who] = np.maximum(1.0 - n_cpus[h][:, None] / running, 0.0).mean(axis=1)
    return out


def beyond_pools(at: Ints, cpu: F64, got: F64, overlap: F64, n_hosts: int) -> F64:
    """(n,) share of what VMs got (n,) by mean demand that overlap takes besides.

    Who lost less to mean demand than overlap says loses the difference, and all of a host together
    no more than overlap costs it: where its cores are busy all the time that is nothing more.
    """
    short = np.maximum(overlap * cpu - (cpu - got), 0.0)
    total = np.maximum(by_host(at, overlap * cpu - (cpu - got), n_hosts), 0.0)
    part = np.minimum(total / np.maximum(by_host(at, short, n_hosts), TINY), 1.0)
    return np.minimum(short * part[at] / np.maximum(got, TINY), 1.0)


def overlap_of_few(others: F64, n_cpus: int) -> float:
    """The same for one vCPU beside vCPUs that are busy for shares `others` of the time."""
    odds = np.ones(1)
    for share in others.tolist():
        odds = np.append(odds * (1.0 - share), 0.0) + np.append(0.0, odds * share)
    running = np.arange(len(odds)) + 1.0
    return float(odds @ np.maximum(1.0 - n_cpus / running, 0.0))
