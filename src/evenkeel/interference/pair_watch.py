"""Which pairs do not behave as predicted? A two-sided CUSUM on every directed pair of a host.

Each tick, the victim's measured loss is put down to its neighbours in the proportions of the map
before and after it, and held against what the map before it had predicted for the pair. Minutes,
not ticks, are judged: within one the errors are alike (bursts wait together, the window lags), and
their mean is what the reference distribution is for. In units of the spread that earlier minutes
with an alike prediction have shown, the sums are Page's:

    up = max(0, up + clip(gap / spread) - k),   down = max(0, down - clip(gap / spread) - k)

with k = max(1/2, TOLERATED / spread): what is tolerated never adds up. `THRESHOLD` is set by the
false alarms that `evenkeel bench deviations` counts, and a gap must matter (`MIN_GAP`) as well. A
pair that alarmed is told again only after `CALM_MINUTES` minutes on end within half of `MIN_GAP`.

Whatever is not known (NaN) is left out, and a minute that is mostly unknown changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64, Bools, Ints, positions
from evenkeel.domain.ids import HOST_ITSELF, NOBODY, VmId
from evenkeel.domain.reliability import N_BINS
from evenkeel.domain.resources import AXIS, N_RESOURCES
from evenkeel.domain.sample import HostTick
from evenkeel.domain.score import PairDeviation
from evenkeel.interference.contention import ContentionMap
from evenkeel.interference.reliability import bins_of, material_loss

MINUTE_S: Final = 60.0
KNOWN_SHARE: Final = 0.5
TOLERATED: Final = 0.05
MIN_GAP: Final = 0.10
"""Shares of the victim's demand: half of what matters is tolerated, as Page's test wants it."""
CLIP: Final = 5.0
"""One minute counts as this many spreads at most: a single collision alarms nobody."""
THRESHOLD: Final = 18.0
CALM_MINUTES: Final = 5
PRIOR_SPREAD: Final = 0.05
PRIOR_MINUTES: Final = 30.0
MOST_MINUTES: Final = 3000.0
"""How much the spread remembers: beyond, the past fades."""
FLOOR: Final = 0.02
"""Least loss, predicted or measured, that makes a pair worth a look."""

Cube = F64
"""(R, N, N + 2): resource, victim, and who costs it: the VMs, the host, nobody that has a name."""


@dataclass(frozen=True, slots=True, eq=False)
class Minute:
    """The minute in the making: seconds known of each pair, and what they add up to (Cubes)."""

    known_s: Cube
    predicted_s: Cube
    measured_s: Cube
    passed_s: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """Page's sums and what they rest on, (2, R, N, N + 2): too much first, too little second.

    `since_s` is when a sum left zero; since then `minutes` minutes, in which `predicted` and
    `measured` add up the loss.
    """

    page: F64
    since_s: F64
    minutes: F64
    predicted: F64
    measured: F64


@dataclass(frozen=True, slots=True, eq=False)
class Spread:
    """Mean square of a minute's gap by resource and bin of prediction, (R, N_BINS)."""

    square: F64 = field(default_factory=lambda: np.full((N_RESOURCES, N_BINS), PRIOR_SPREAD**2))
    minutes: F64 = field(default_factory=lambda: np.full((N_RESOURCES, N_BINS), PRIOR_MINUTES))

    def at(self, bins: Ints) -> F64:
        """Standard deviations for (R, ...) bins."""
        rows = np.arange(N_RESOURCES).reshape(-1, *(1,) * (bins.ndim - 1))
        return np.asarray(np.sqrt(self.square[rows, bins]))

    def learn(self, bins: Ints, gap: F64, chosen: Bools) -> Spread:
        """Add the chosen gaps, each at most three spreads wide: a pair that is wrong stays so."""
        width = 3.0 * self.at(bins)
        rows = np.broadcast_to(np.arange(N_RESOURCES)[:, None, None], bins.shape)
        where = (rows * N_BINS + bins)[chosen]
        size = N_RESOURCES * N_BINS
        n = np.bincount(where, minlength=size).reshape(self.square.shape)
        square = np.minimum(np.abs(gap), width)[chosen] ** 2
        total = np.bincount(where, square, minlength=size).reshape(self.square.shape)
        return Spread(
            square=(self.square * self.minutes + total) / (self.minutes + n),
            minutes=np.minimum(self.minutes + n, MOST_MINUTES),
        )


@dataclass(frozen=True, slots=True, eq=False)
class PairWatch:
    """All pairs of one host. Immutable: `then` answers the next state.

    `alarm` (R, N, N + 2) is +1 where more is lost than predicted, -1 where less, else 0; `calm`
    counts its quiet minutes.
    """

    vms: tuple[VmId, ...]
    minute: Minute
    sums: Sums
    alarm: F64
    calm: F64
    spread: Spread = field(default_factory=Spread)

    @classmethod
    def for_vms(cls, vms: tuple[VmId, ...]) -> PairWatch:
        """A watch that has seen nothing yet."""
        cube = np.zeros((N_RESOURCES, len(vms), len(vms) + 2))
        both = np.zeros((2, *cube.shape))
        return cls(vms, Minute(cube, cube, cube), Sums(*[both] * 5), cube, cube)

    def then(self, before: ContentionMap, tick: HostTick, after: ContentionMap) -> PairWatch:
        """One tick more: `before` was scored without it, `after` with it.

        A minute ends when 60 s have passed; only then alarms change.
        """
        vms = tuple(vm.id for vm in tick.vms)
        here = self if vms == self.vms else self._realigned(vms)
        predicted, measured = attributed(before, tick, after)
        known = ~np.isnan(predicted) & ~np.isnan(measured)
        seconds = known * tick.interval_s
        old = here.minute
        minute = Minute(
            known_s=old.known_s + seconds,
            predicted_s=old.predicted_s + np.where(known, predicted, 0.0) * tick.interval_s,
            measured_s=old.measured_s + np.where(known, measured, 0.0) * tick.interval_s,
            passed_s=old.passed_s + tick.interval_s,
        )
        grown = replace(here, minute=minute)
        if minute.passed_s < MINUTE_S - tick.interval_s / 2:
            return grown
        enough = minute.known_s >= KNOWN_SHARE * minute.passed_s
        seconds_known = np.where(enough, minute.known_s, 1.0)
        return grown.judged(
            minute.predicted_s / seconds_known,
            minute.measured_s / seconds_known,
            enough & (minute.known_s > 0),
            tick.taken_at_s - minute.passed_s,
        )

    def standing(self, horizon_s: float) -> tuple[PairDeviation, ...]:
        """What deviates now, largest gap first."""
        found = []
        for r, i, j in np.argwhere(self.alarm != 0):
            way = 0 if self.alarm[r, i, j] > 0 else 1
            at = (way, r, i, j)
            minutes = max(1.0, float(self.sums.minutes[at]))
            found.append(
                PairDeviation(
                    victim=self.vms[i],
                    aggressor=self._who(int(j)),
                    resource=AXIS[r],
                    predicted_loss=round(float(self.sums.predicted[at]) / minutes, 4),
                    measured_loss=round(float(self.sums.measured[at]) / minutes, 4),
                    since_s=float(self.sums.since_s[at]),
                    n_minutes=int(minutes),
                    horizon_s=horizon_s,
                )
            )
        return tuple(
            sorted(
                found,
                key=lambda d: (
                    -abs(d.measured_loss - d.predicted_loss),
                    d.victim,
                    d.aggressor,
                    d.resource,
                ),
            )
        )

    def _who(self, j: int) -> VmId:
        return (*self.vms, HOST_ITSELF, NOBODY)[j]

    def judged(self, predicted: Cube, measured: Cube, known: Bools, began_s: float) -> PairWatch:
        """After a minute with these mean losses, which began at `began_s`."""
        gap = measured - predicted
        bins = bins_of(predicted)
        spread = self.spread.at(bins)
        sums = step(self.sums, gap / spread, np.maximum(0.5, TOLERATED / spread), known)
        sums = _explained(sums, self.sums, predicted, measured, known, began_s)
        alarm, calm = self._alarms(sums, gap, known)
        material = known & (np.maximum(predicted, measured) >= FLOOR)
        nothing = np.zeros_like(gap)
        return replace(
            self,
            minute=Minute(nothing, nothing, nothing),
            sums=_reset(sums, (self.alarm != 0) & (alarm == 0)),
            alarm=alarm,
            calm=calm,
            spread=self.spread.learn(bins, gap, material & (alarm == 0)),
        )

    def _alarms(self, sums: Sums, gap: F64, known: Bools) -> tuple[F64, F64]:
        """(alarm, calm) after a minute with this gap."""
        mean = (sums.measured - sums.predicted) / np.maximum(sums.minutes, 1.0)
        matters = np.stack([mean[0] >= MIN_GAP, mean[1] <= -MIN_GAP])
        over = (sums.page > THRESHOLD) & matters & known
        quiet = np.abs(gap) < MIN_GAP / 2
        calm = np.where(known, np.where(quiet, self.calm + 1, 0.0), self.calm)
        stays = (self.alarm != 0) & (calm < CALM_MINUTES)
        raised = np.where(over[0], 1.0, np.where(over[1], -1.0, 0.0))
        alarm = np.where(stays, self.alarm, np.where(self.alarm != 0, 0.0, raised))
        return alarm, np.where(alarm != 0, np.where(stays, calm, 0.0), 0.0)

    def _realigned(self, vms: tuple[VmId, ...]) -> PairWatch:
        """Follow VMs that came and went; what is new starts from nothing."""
        column = positions(vms, self.vms)
        n = len(self.vms)
        who = np.concatenate([column, [n, n + 1]]).astype(np.intp)

        def moved(cube: F64, fill: float = 0.0) -> F64:
            out = np.full((*cube.shape[:-2], len(vms), len(who)), fill)
            rows, columns = np.flatnonzero(column >= 0), np.flatnonzero(who >= 0)
            if len(rows):
                part = cube[..., column[rows], :][..., who[columns]]
                out[..., rows[:, None], columns[None, :]] = part
            return out

        minute, sums = self.minute, self.sums
        return PairWatch(
            vms=vms,
            minute=Minute(
                moved(minute.known_s),
                moved(minute.predicted_s),
                moved(minute.measured_s),
                minute.passed_s,
            ),
            sums=Sums(
                moved(sums.page),
                moved(sums.since_s),
                moved(sums.minutes),
                moved(sums.predicted),
                moved(sums.measured),
            ),
            alarm=moved(self.alarm),
            calm=moved(self.calm),
            spread=self.spread,
        )


def step(sums: Sums, score: F64, allowance: F64, known: Bools) -> Sums:
    """Page's step with standardised gaps; unknown ones change nothing.

    Sums stop at twice THRESHOLD, so that a long deviation does not take as long to be forgotten.
    """
    clipped = np.clip(score, -CLIP, CLIP)
    moved = sums.page + np.stack([clipped, -clipped]) - allowance
    page = np.clip(moved, 0.0, 2 * THRESHOLD)
    return replace(sums, page=np.where(known, page, sums.page))


def _explained(
    sums: Sums, earlier: Sums, predicted: F64, measured: F64, known: Bools, began_s: float
) -> Sums:
    """Carry along what each sum rests on; a sum that is at zero rests on nothing."""
    alive = sums.page > 0
    fresh = alive & (earlier.page <= 0)
    adds = alive & known
    return replace(
        sums,
        since_s=np.where(fresh, began_s, earlier.since_s) * alive,
        minutes=(earlier.minutes + adds) * alive,
        predicted=(earlier.predicted + predicted * adds) * alive,
        measured=(earlier.measured + measured * adds) * alive,
    )


def _reset(sums: Sums, where: Bools) -> Sums:
    keep = ~where
    return Sums(
        sums.page * keep,
        sums.since_s * keep,
        sums.minutes * keep,
        sums.predicted * keep,
        sums.measured * keep,
    )


def attributed(before: ContentionMap, tick: HostTick, after: ContentionMap) -> tuple[Cube, Cube]:
    """(predicted, measured) share of its demand that each victim loses to each, NaN: not known.

    Predicted is the score of the map before the tick; measured is the tick's material loss in the
    proportions of both maps' scores (the new one has seen who woke up, the old one who was there),
    or nobody's where neither names anyone. What a victim costs itself is nobody's concern here.
    """
    n = len(tick.vms)
    vms = tuple(vm.id for vm in tick.vms)
    earlier = _score_for(vms, before)
    later = _score_for(vms, after)
    loss = material_loss(tick)
    blame = np.nan_to_num(earlier) + np.nan_to_num(later)
    total = blame.sum(axis=2)
    share = blame / np.where(total > 0, total, 1.0)[:, :, None]
    predicted, measured = np.empty((2, N_RESOURCES, n, n + 2))
    predicted[..., : n + 1] = earlier[..., : n + 1] / 100
    measured[..., : n + 1] = share[..., : n + 1] * loss[:, :, None]
    predicted[..., n + 1] = np.where(np.isnan(earlier).any(axis=2), np.nan, 0.0)
    measured[..., n + 1] = np.where(total > 0, 0.0, loss)
    measured[np.isnan(loss)] = np.nan
    asleep = np.isnan(tick.demand).T
    measured[..., :n][np.broadcast_to(asleep[:, None, :], (N_RESOURCES, n, n))] = np.nan
    return predicted, measured


def _score_for(vms: tuple[VmId, ...], contention: ContentionMap) -> F64:
    """The map's scores (R, N, N + 2) for these VMs; NaN for a victim that it did not have.

    An aggressor that it did not have was predicted to cost nothing.
    """
    old = tuple(vm.id for vm in contention.vms)
    if old == vms:
        return contention.score
    n, m = len(vms), len(old)
    row = positions(vms, old)
    who = np.concatenate([row, [m, m + 1]]).astype(np.intp)
    out = np.full((N_RESOURCES, n, n + 2), np.nan)
    rows, columns = np.flatnonzero(row >= 0), np.flatnonzero(who >= 0)
    out[:, rows] = 0.0
    if len(rows):
        part = contention.score[:, row[rows]][:, :, who[columns]]
        out[:, rows[:, None], columns[None, :]] = part
    return out
