"""Is a VM still behaving as predicted? One bet a slot against the forecast, for every VM.

Each observation falls between two of the nine predicted quantiles, into one of ten bins whose
probabilities the forecast states. Three gamblers bet on bins at the forecast's odds: one that
demand is *above*, one *below*, one that it is more *erratic* (in both tails). While the forecast
holds, no gambler's money grows in expectation (each stake is an e-value), so a fortune is evidence,
whenever one looks: an e-detector (Shin, Ramdas, Rinaldo 2023) in its CUSUM form,

    M_t = max(M_{t-1}, 1) * e_t,    alarm when M_t >= 3 * `slots_per_false_alarm`,

whose mean time to a false alarm is at least `slots_per_false_alarm`, by Lorden's argument, for any
dependence, as long as the bins have at most their stated probabilities given the past.

Real forecasts are not that good: they miss by habit (a VM that is always in the upper bin) and in
runs (an hour of demand is twelve slots above). So each VM keeps a record of its own bins, given
where the last observation fell (low, middle, high, not known), and a bet pays by the larger of the
two probabilities, the forecast's or the record's: it must be fair by both.

What is left are the excursions that a VM makes again and again, a nightly backup that the forecast
does not know. So each VM also remembers the largest fortune of its former excursions, and only one
that goes beyond it is news.

A bin is only known up to `grain`: an observation within it of a quantile may be on either side, and
is paid the mean of the bins it may be in. So a constant that is predicted as a point pays exactly
nothing, and a miss by less than a shard is none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F32, F64, Bools, Ints
from evenkeel.forecast.base import LEVELS, N_QUANTILES

N_BINS: Final = N_QUANTILES + 1
_MEDIAN: Final = int(np.argmin(np.abs(LEVELS - 0.5)))
_EDGES: Final = np.concatenate([[0.0], LEVELS.astype(np.float64).round(6), [1.0]])
STATED: Final[F64] = np.diff(_EDGES)
"""Probability of each bin, as the forecast states it."""


class Kind(IntEnum):
    NONE = -1
    ABOVE = 0
    BELOW = 1
    ERRATIC = 2


@dataclass(frozen=True, slots=True)
class DeviationPolicy:
    """`slots_per_false_alarm`: mean time between false alarms of one VM, at least, while its
    forecast or its record is right. `forget_s`: a gap (or a clock set back) longer than this wipes
    the evidence. `memory_slots`: how many slots a record remembers; `trust`: how many slots of
    record weigh as much as the forecast's own word. `headroom`: how far beyond the alarm (in powers
    of ten) evidence may pile up, which is what clearing has to work off; and how far beyond former
    excursions a new one must go. `novelty`: the most that former excursions may ask
    for, as a multiple of the alarm, so that nobody gets used to everything; `habit_slots`: how long
    they are remembered. `accept_s`: what has stood so long is no news any more; it is cleared, and
    its evidence wiped.
    """

    slots_per_false_alarm: float = 30 * 288.0
    forget_s: float = 3600.0
    memory_slots: float = 2016.0
    trust: float = 60.0
    headroom: float = 1.0
    novelty: float = 4.0
    habit_slots: float = 28 * 288.0
    accept_s: float = 86_400.0

    @property
    def alarm(self) -> float:
        """log10 of the fortune at which a deviation is raised."""
        return float(np.log10(3.0 * self.slots_per_false_alarm))


def _beliefs() -> F64:
    """Probabilities of the bins that the gamblers believe in: above, below, erratic.

    15 % of each is as the forecast says, so that one slot to the contrary ruins nobody.
    """
    above = [0.0, 0.0, 0.0, 0.02, 0.05, 0.03, 0.10, 0.15, 0.25, 0.40]
    below = [0.55, 0.20, 0.15, 0.07, 0.03, 0.0, 0.0, 0.0, 0.0, 0.0]
    erratic = [0.30, 0.08, 0.05, 0.03, 0.03, 0.01, 0.04, 0.06, 0.15, 0.25]
    beliefs: F64 = 0.85 * np.array([above, below, erratic]) + 0.15 * STATED
    return beliefs


BELIEFS: Final[F64] = _beliefs()
_LOW, _MIDDLE, _HIGH, _UNKNOWN = range(4)
_REGIME: Final = np.array([_LOW] * 2 + [_MIDDLE] * 4 + [_HIGH] * 4, dtype=np.intp)
"""Where the last observation was, by its bin: below .1, between, above .8."""


@dataclass(frozen=True, slots=True, eq=False)
class DeviationState:
    """What is remembered of N VMs between slots. Never changed: `observe` makes a new one.

    `fortune` (N, 3) is log10 of each gambler's money; `since_s` (N, 3) when it last started from 1.
    `record` (N, 4, 10) counts bins after each regime, with the forecast's word as `trust` slots.
    `regime` (N,) is of the last observation, `seen_s` (N,) when it was (NaN: never).
    `kind` (N,) is the deviation that stands, `miss` and `n` (N, 3) add up demand less median since.
    `run` (N, 3) is the fortune without its cap, `top` its maximum since it started from 1, `usual`
    the largest such maximum of former excursions.
    """

    fortune: F64
    since_s: F64
    record: F32
    regime: Ints
    seen_s: F64
    kind: Ints
    miss: F64
    n: F64
    run: F64
    top: F64
    usual: F64

    def __len__(self) -> int:
        return len(self.kind)

    @classmethod
    def fresh(cls, n: int, policy: DeviationPolicy | None = None) -> DeviationState:
        policy = policy or DeviationPolicy()
        return cls(
            fortune=np.zeros((n, 3)),
            since_s=np.full((n, 3), np.nan),
            record=np.tile((policy.trust * STATED).astype(np.float32), (n, 4, 1)),
            regime=np.full(n, _UNKNOWN, dtype=np.intp),
            seen_s=np.full(n, np.nan),
            kind=np.full(n, Kind.NONE, dtype=np.intp),
            miss=np.zeros((n, 3)),
            n=np.zeros((n, 3)),
            run=np.zeros((n, 3)),
            top=np.zeros((n, 3)),
            usual=np.zeros((n, 3)),
        )

    def take(self, rows: Ints, policy: DeviationPolicy | None = None) -> DeviationState:
        """The VMs of `rows` in that order; -1 is a VM that was not there before."""
        new = DeviationState.fresh(len(rows), policy)
        old = np.flatnonzero(rows >= 0)
        for name in self.__slots__:
            getattr(new, name)[old] = getattr(self, name)[rows[old]]
        return new


@dataclass(frozen=True, slots=True, eq=False)
class Deviations:
    """What stands after a slot, columns of (N,): `kind`; `raised` and `cleared`: in this very slot.

    `size` is the mean of demand less predicted median since `since_s`, in the unit of demand;
    `evidence` is log10 of how much likelier the data are than under the forecast.
    """

    kind: Ints
    raised: Bools
    cleared: Bools
    size: F64
    since_s: F64
    evidence: F64


def observe(
    state: DeviationState,
    demand: F64,
    quantiles: F32,
    at_s: float,
    grain: F64 | float,
    policy: DeviationPolicy | None = None,
) -> tuple[DeviationState, Deviations]:
    """One slot of all VMs: `demand` (N,) against `quantiles` (N, Q), predicted before the slot.

    NaN in either says nothing about that VM. A slot that is not newer than the last one seen is
    ignored (late and repeated data), unless it is older by more than `forget_s`: then the clock was
    set, and the evidence starts again. `grain` (N,) or a number: differences that do not matter, in
    the unit of demand (half a shard, say).
    """
    policy = policy or DeviationPolicy()
    usable = (demand >= 0) & (demand < np.inf) & np.isfinite(quantiles).all(axis=1)
    rows = np.arange(len(state))
    old, live = _recall(state, usable, at_s, policy)

    x = np.where(usable, demand, 0.0)
    within = _within(x, quantiles, grain)
    stated = within @ STATED
    record = old.record[rows, old.regime].astype(np.float64)
    habit = np.einsum("nb,nb->n", within, record) / record.sum(axis=1)
    stake = np.log10((within @ BELIEFS.T) / np.maximum(stated, habit)[:, None])

    new, raised = _bet(old, stake, x - np.where(usable, quantiles[:, _MEDIAN], 0.0), at_s, policy)
    share = within * STATED / stated[:, None]
    learnt = state.record.copy()
    fresh = record * (1.0 - 1.0 / policy.memory_slots) + share
    learnt[rows[live], old.regime[live]] = fresh[live].astype(np.float32)
    middle = np.argmax(np.cumsum(share, axis=1) >= 0.5, axis=1)  # of the bins it may be in
    new = replace(new, record=learnt, regime=_REGIME[middle], seen_s=np.full(len(x), at_s))
    new = _choose(live, new, state)
    # A slot that says nothing breaks the run: the next one does not follow upon the last.
    new = replace(new, regime=np.where(usable, new.regime, _UNKNOWN))

    at = np.maximum(new.kind, 0)
    none = new.kind < 0
    return new, Deviations(
        kind=new.kind,
        raised=live & raised,
        cleared=(state.kind >= 0) & (new.kind != state.kind),
        size=np.where(none, np.nan, new.miss[rows, at] / np.maximum(new.n[rows, at], 1.0)),
        since_s=np.where(none, np.nan, new.since_s[rows, at]),
        evidence=np.where(none, np.nan, new.fortune[rows, at]),
    )


def _recall(
    state: DeviationState, usable: Bools, at_s: float, policy: DeviationPolicy
) -> tuple[DeviationState, Bools]:
    """The state less what is too old to count, and which VMs this slot tells anything about."""
    silent_s = at_s - state.seen_s
    forgotten = (np.abs(silent_s) > policy.forget_s) & usable
    live = usable & ((silent_s > 0) | np.isnan(silent_s) | forgotten)
    stood_s = at_s - state.since_s[np.arange(len(state)), np.maximum(state.kind, 0)]
    accepted = (state.kind >= 0) & (stood_s > policy.accept_s)
    wiped = forgotten | accepted
    recalled = replace(
        state,
        fortune=np.where(wiped[:, None], 0.0, state.fortune),
        kind=np.where(wiped, int(Kind.NONE), state.kind),
        regime=np.where(forgotten, _UNKNOWN, state.regime),
    )
    return recalled, live


def _bet(
    old: DeviationState, stake: F64, off: F64, at_s: float, policy: DeviationPolicy
) -> tuple[DeviationState, Bools]:
    """Everybody's fortunes after this slot, what stands, and what is raised now."""
    restarts = old.fortune <= 0.0
    furthest = policy.novelty * policy.alarm
    ended = np.where(restarts, np.minimum(old.top, furthest), 0.0)
    usual = np.maximum(old.usual, ended) * (1.0 - 1.0 / policy.habit_slots)
    run = np.where(restarts, 0.0, old.run) + stake
    roof = np.where(old.kind[:, None] >= 0, policy.alarm, furthest) + policy.headroom
    fortune = np.minimum(np.maximum(old.fortune, 0.0) + stake, roof)

    rows = np.arange(len(old))
    stands = (old.kind >= 0) & (fortune[rows, old.kind] > 0.0)
    excess = fortune - np.maximum(policy.alarm, usual + policy.headroom)
    richest = np.argmax(excess, axis=1)
    raised = ~stands & (excess[rows, richest] >= 0.0)
    new = replace(
        old,
        fortune=fortune,
        since_s=np.where(restarts, at_s, old.since_s),
        kind=np.where(stands, old.kind, np.where(raised, richest, int(Kind.NONE))),
        miss=np.where(restarts, 0.0, old.miss) + np.stack([off, off, np.abs(off)], axis=1),
        n=np.where(restarts, 0.0, old.n) + 1.0,
        run=run,
        top=np.maximum(np.where(restarts, 0.0, old.top), run),
        usual=usual,
    )
    return new, raised


def _choose(live: Bools, new: DeviationState, old: DeviationState) -> DeviationState:
    """The new state of the VMs that are `live`, the old one of the others."""
    mixed = {}
    for name in DeviationState.__slots__:
        left, right = getattr(new, name), getattr(old, name)
        mixed[name] = np.where(live.reshape(-1, *[1] * (left.ndim - 1)), left, right)
    return DeviationState(**mixed)


def _within(x: F64, quantiles: F32, grain: F64 | float) -> F64:
    """Which bins each observation may be in: (q[b-1], q[b]] that meet [x - grain, x + grain]."""
    wide = np.broadcast_to(np.asarray(grain, dtype=np.float64), x.shape)
    edge = np.ones((len(x), 1), dtype=bool)
    over = np.concatenate([edge, (x + wide)[:, None] > quantiles], axis=1)
    under = np.concatenate([(x - wide)[:, None] <= quantiles, edge], axis=1)
    within: F64 = (over & under).astype(np.float64)
    within[~np.isfinite(quantiles).all(axis=1)] = 1.0
    return within
