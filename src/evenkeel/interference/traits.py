"""Sensitivity and pressure of every VM, learnt from the losses that are measured.

Capacity physics knows what demand, weights and pins say; VMs still suffer and press more or less
than that (they wake together, defer work, thrash caches). Per VM and resource the logs of its
sensitivity s and its pressure p are Gaussians, apart from one another. A tick in which physics lays
a material loss on a victim is one observation of

    log h_i = log sum_j s_i p_j phys_ij + noise,    h = -log(1 - loss),

whose slope is 1 in log s_i and j's share of the hazard in log p_j: an extended Kalman filter that
keeps the diagonal (assumed-density filtering: Minka 2001, doi:10.5555/2074022.2074067). Beside
its lasting sensitivity a victim has a mood, the same but forgotten within a minute: two guests that
happen to wake in step now lose more than their traits say, and will not for ever. Priors are
tighter for s than for p, so that a loss which several partners could explain by one victim's
temper moves that partner who is always there. Innovations are bounded (a lying counter moves a
trait a little, once), variances have a floor, and what is not seen again drifts back to the prior
(Ornstein-Uhlenbeck), so that a VM that changed is learnt anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64, Bools, Ints
from evenkeel.domain.resources import N_RESOURCES
from evenkeel.domain.sample import Flaw, HostTick
from evenkeel.interference.hazards import Load, Traits, met_by, physical_hazard, pressed_on

SENSITIVITY, PRESSURE, MOOD = 0, 1, 2
OF_VICTIM: Final = (SENSITIVITY, MOOD)
PRIOR_SPREAD: Final = np.array([0.3, 0.5, 0.7])
"""Standard deviations of log s, log p and the mood of a VM nobody knows."""
LASTING_S: Final = 6 * 3600.0
"""A trait that is not seen again has lost two thirds of its weight after this long on a host."""
MOOD_S: Final = 60.0
_MEMORY_S = np.array([LASTING_S, LASTING_S, MOOD_S])[:, None, None]
LEAST_VARIANCE: Final = 4e-4
NOISE: Final = 0.35
"""Standard deviation of log hazard from tick to tick, beside what a shard's worth adds."""
GATE: Final = 2.0
"""An observation moves traits no further than one that is so many deviations off."""
FARTHEST: Final = float(np.log(8.0))
"""Traits stay between 1/8 and 8: beyond that the physics is wrong, not the VM."""
DOUBTED: Final = frozenset({Flaw.NEW, Flaw.RESET, Flaw.PAUSED, Flaw.IMPLAUSIBLE})


@dataclass(frozen=True, slots=True, eq=False)
class Belief:
    """`mean` and `variance` (3, N, R) of the logs of [SENSITIVITY], [PRESSURE], [MOOD] of N VMs."""

    mean: F64
    variance: F64

    @classmethod
    def nobody_knows(cls, n: int) -> Belief:
        shape = (len(PRIOR_SPREAD), n, N_RESOURCES)
        variance = np.broadcast_to(PRIOR_SPREAD[:, None, None] ** 2, shape)
        return cls(np.zeros(shape), np.array(variance))

    def traits(self, ahead_s: float = 0.0) -> Traits:
        """Medians, as they will be `ahead_s` from now; a VM of which nothing is known has 1."""
        mood = self.mean[MOOD] * np.exp(-ahead_s / MOOD_S)
        return Traits(np.exp(self.mean[SENSITIVITY] + mood), np.exp(self.mean[PRESSURE]))


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """One resource in one tick: `observed` (N,) log of the measured hazard, NaN where there is
    nothing to learn from; `noise` (N,) its variance; `parts` (N, N) [victim, aggressor] hazards
    that physics says, `fixed` (N,) those by the host itself and the victim's own surge."""

    observed: F64
    noise: F64
    parts: F64
    fixed: F64


def evidence(loads: Sequence[Load], tick: HostTick) -> tuple[Evidence, ...]:
    """What the newest rows of a host's physics and the tick measured then say, by resource."""
    trusted: Bools = np.array([not (flaws & DOUBTED) for flaws in tick.flaws], dtype=bool)
    return tuple(_evidence(load, tick.loss[:, r], trusted) for r, load in enumerate(loads))


def _evidence(load: Load, measured: F64, trusted: Bools) -> Evidence:
    demand, lost = load.demand[0, -1], load.lost[0, -1]
    hazard = physical_hazard(load)[0, -1]
    by_vms = load.pressing.vms
    total = pressed_on(load, by_vms)[0, -1]
    known = trusted & (measured >= 0) & (measured < 1) & (lost >= load.shard) & (total > 0)
    scale = np.divide(hazard, total, out=np.zeros_like(hazard), where=total > 0)
    # Half a shard is the least that can be told from nothing.
    grain = np.minimum(load.shard / np.maximum(demand, load.shard), 0.9)
    share = np.clip(np.where(known, measured, 0.0), grain / 2, 1.0 - 1e-6)
    observed = np.log(-np.log1p(-share))
    return Evidence(
        observed=np.where(known, observed, np.nan),
        noise=NOISE**2 + (grain / 2 / share) ** 2,
        parts=scale[:, None] * met_by(load)[0] * by_vms[0, -1],
        fixed=scale * (load.pressing.host[0, -1] + load.pressing.surge[0, -1]),
    )


def learn(belief: Belief, prior: Belief, seen: Sequence[Evidence], passed_s: float) -> Belief:
    """What is believed after one tick of `passed_s` seconds; all of it of the same N VMs."""
    keep = np.exp(-passed_s / _MEMORY_S)
    mean = prior.mean + (belief.mean - prior.mean) * keep
    variance = belief.variance * keep**2 + prior.variance * (1.0 - keep**2)
    for r, one in enumerate(seen):
        victims = np.flatnonzero(~np.isnan(one.observed))
        if len(victims):
            mean[:, :, r], variance[:, :, r] = _update(
                mean[:, :, r], variance[:, :, r], one, victims
            )
    return Belief(
        np.clip(mean, -FARTHEST, FARTHEST), np.clip(variance, LEAST_VARIANCE, prior.variance)
    )


def _update(mean: F64, variance: F64, seen: Evidence, victims: Ints) -> tuple[F64, F64]:
    """mean, variance (3, N) of one resource, after what `victims` lost in one tick."""
    mean, variance = mean.copy(), variance.copy()
    of_vms = seen.parts[victims] * np.exp(mean[PRESSURE])
    total = of_vms.sum(axis=1) + seen.fixed[victims]
    slope = of_vms / total[:, None]
    own_mean = mean[SENSITIVITY, victims] + mean[MOOD, victims]
    own_variance = variance[SENSITIVITY, victims] + variance[MOOD, victims]
    off = seen.observed[victims] - (own_mean + np.log(total))
    by_each = slope**2 * variance[PRESSURE]
    expected = own_variance + by_each.sum(axis=1) + seen.noise[victims]
    bound = GATE * np.sqrt(expected)
    off = np.clip(off, -bound, bound)
    # An aggressor is seen by all its victims at once: their words are weighed together, each
    # with all else that could explain it as noise, and none is counted twice.
    doubt = expected[:, None] - by_each
    precision = 1.0 / variance[PRESSURE] + (slope**2 / doubt).sum(axis=0)
    pull = (slope * off[:, None] / doubt).sum(axis=0)
    for own in OF_VICTIM:
        gain = variance[own, victims] / expected
        mean[own, victims] += gain * off
        variance[own, victims] *= 1.0 - gain
    variance[PRESSURE] = 1.0 / precision
    mean[PRESSURE] += pull / precision
    return mean, variance
