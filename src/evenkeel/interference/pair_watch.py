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

Whatever is not known (NaN) is left out, and a minute that is mostly unknown changes nothing. Only
pairs that cost something, or did a moment ago, are kept: of a host with 100 VMs that is
a handful out of 40,000.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F64, Bools, Ints, positions
from evenkeel.domain.ids import HOST_ITSELF, NOBODY, VmId
from evenkeel.domain.resources import AXIS, N_RESOURCES
from evenkeel.domain.sample import HostTick
from evenkeel.domain.score import PairDeviation
from evenkeel.interference.contention import ContentionMap
from evenkeel.interference.page import THRESHOLD, Spread, Sums, each, explained, step
from evenkeel.interference.pair_losses import FLOOR, Losses, attributed, material
from evenkeel.interference.reliability import bins_of

MINUTE_S: Final = 60.0
KNOWN_SHARE: Final = 0.5
TOLERATED: Final = 0.05
MIN_GAP: Final = 0.10
"""Shares of the victim's demand: half of what matters is tolerated, as Page's test wants it."""
CALM_MINUTES: Final = 5
MOST_WATCHED: Final = 2000
"""Pairs a host keeps at most; more is no matter of pairs."""


@dataclass(frozen=True, slots=True, eq=False)
class Minute:
    """The minute in the making: seconds known of each pair and what they add up to, (P,) each."""

    known_s: F64
    predicted_s: F64
    measured_s: F64


@dataclass(frozen=True, slots=True, eq=False)
class PairWatch:
    """The pairs of one host that are watched. Immutable: `then` answers the next state.

    `code` (P,), rising, names the pairs: (axis * n + victim) * (n + 2) + who, where who n is the
    host and n + 1 nobody. `alarm` (P,) is +1 where more is lost than predicted, -1 where less,
    else 0; `calm` counts its quiet minutes. `victims_known_s` (R, n) are the seconds of the minute
    in which a victim was measured: a pair that comes in its middle had cost nothing until then.
    """

    vms: tuple[VmId, ...]
    code: Ints
    minute: Minute
    sums: Sums
    alarm: F64
    calm: F64
    victims_known_s: F64
    passed_s: float = 0.0
    spread: Spread = field(default_factory=Spread)

    @classmethod
    def for_vms(cls, vms: tuple[VmId, ...]) -> PairWatch:
        """A watch that has seen nothing yet."""
        none, both = np.empty(0), np.empty((2, 0))
        return cls(
            vms=vms,
            code=np.empty(0, dtype=np.intp),
            minute=Minute(none, none, none),
            sums=Sums(both, both, both, both, both),
            alarm=none,
            calm=none,
            victims_known_s=np.zeros((N_RESOURCES, len(vms))),
        )

    def then(self, before: ContentionMap, tick: HostTick, after: ContentionMap) -> PairWatch:
        """One tick more: `before` was scored without it, `after` with it.

        A minute ends when 60 s have passed; only then alarms change.
        """
        vms = tuple(vm.id for vm in tick.vms)
        here = self if vms == self.vms else self._realigned(vms)
        losses = list(attributed(before, tick, after))
        here = here.joined(material(losses))
        here = here._counted(losses, tick.interval_s)
        if here.passed_s < MINUTE_S - tick.interval_s / 2:
            return here
        minute = here.minute
        known = (minute.known_s >= KNOWN_SHARE * here.passed_s) & (minute.known_s > 0)
        seconds = np.where(known, minute.known_s, 1.0)
        predicted, measured = minute.predicted_s / seconds, minute.measured_s / seconds
        judged = here.judged(predicted, measured, known, tick.taken_at_s - here.passed_s)
        costs = np.maximum(predicted, measured) >= FLOOR
        return judged._only(costs | (judged.sums.page > 0).any(axis=0) | (judged.alarm != 0))

    def joined(self, code: Ints) -> PairWatch:
        """Watch these pairs as well, as long as there is room."""
        new = np.setdiff1d(code, self.code)[: max(0, MOST_WATCHED - len(self.code))]
        if not len(new):
            return self
        axis, victim, _ = self._places(new)
        known_s = self.victims_known_s[axis, victim]
        order = np.argsort(np.concatenate([self.code, new]))

        def grown(values: F64, add: F64 | None = None) -> F64:
            fresh = np.zeros((*values.shape[:-1], len(new))) if add is None else add
            return np.concatenate([values, fresh], axis=-1)[..., order]

        minute = self.minute
        return replace(
            self,
            code=np.concatenate([self.code, new])[order],
            minute=Minute(
                grown(minute.known_s, known_s),
                grown(minute.predicted_s),
                grown(minute.measured_s),
            ),
            sums=each(self.sums, grown),
            alarm=grown(self.alarm),
            calm=grown(self.calm),
        )

    def judged(self, predicted: F64, measured: F64, known: Bools, began_s: float) -> PairWatch:
        """After a minute with these mean losses (P,), which began at `began_s`."""
        axis, _, _ = self._places(self.code)
        gap = measured - predicted
        bins = bins_of(predicted)
        spread = np.sqrt(self.spread.square[axis, bins])
        sums = step(self.sums, gap / spread, np.maximum(0.5, TOLERATED / spread), known)
        sums = explained(sums, self.sums, predicted, measured, known, began_s)
        alarm, calm = self._alarms(sums, gap, known)
        over = (self.alarm != 0) & (alarm == 0)
        learnt = known & (np.maximum(predicted, measured) >= FLOOR) & (alarm == 0)
        nothing = np.zeros(len(self.code))
        return replace(
            self,
            minute=Minute(nothing, nothing, nothing),
            sums=each(sums, lambda values: values * ~over),
            alarm=alarm,
            calm=calm,
            victims_known_s=np.zeros_like(self.victims_known_s),
            passed_s=0.0,
            spread=self.spread.learn(axis[learnt], bins[learnt], gap[learnt]),
        )

    def standing(self, horizon_s: float) -> tuple[PairDeviation, ...]:
        """What deviates now, largest gap first."""
        found = []
        who = (*self.vms, HOST_ITSELF, NOBODY)
        axis, victim, aggressor = self._places(self.code)
        for k in np.flatnonzero(self.alarm):
            at = (0 if self.alarm[k] > 0 else 1, k)
            minutes = max(1.0, float(self.sums.minutes[at]))
            found.append(
                PairDeviation(
                    victim=self.vms[victim[k]],
                    aggressor=who[aggressor[k]],
                    resource=AXIS[axis[k]],
                    predicted_loss=round(float(self.sums.predicted[at]) / minutes, 4),
                    measured_loss=round(float(self.sums.measured[at]) / minutes, 4),
                    since_s=float(self.sums.since_s[at]),
                    n_minutes=int(minutes),
                    horizon_s=horizon_s,
                )
            )

        def worst_first(one: PairDeviation) -> tuple[float, str, str, str]:
            gap = abs(one.measured_loss - one.predicted_loss)
            return -gap, one.victim, one.aggressor, one.resource

        return tuple(sorted(found, key=worst_first))

    def _places(self, code: Ints) -> tuple[Ints, Ints, Ints]:
        """(axis, victim, who) of pairs."""
        n = len(self.vms)
        rest, who = np.divmod(code, n + 2)
        axis, victim = np.divmod(rest, max(n, 1))
        return axis, victim, who

    def _counted(self, losses: list[Losses], interval_s: float) -> PairWatch:
        """Add a tick's losses to the minute."""
        n = len(self.vms)
        cuts = np.searchsorted(self.code, np.arange(N_RESOURCES + 1) * n * (n + 2))
        predicted, measured = np.empty((2, len(self.code)))
        victims = self.victims_known_s.copy()
        for r, (told, came) in enumerate(losses):
            mine = slice(cuts[r], cuts[r + 1])
            place = self.code[mine] - r * n * (n + 2)
            predicted[mine], measured[mine] = told.ravel()[place], came.ravel()[place]
            # Nobody's column is known whenever the victim's loss is.
            victims[r] += ~np.isnan(told[:, n + 1] + came[:, n + 1]) * interval_s
        known = ~np.isnan(predicted) & ~np.isnan(measured)
        old = self.minute
        return replace(
            self,
            minute=Minute(
                known_s=old.known_s + known * interval_s,
                predicted_s=old.predicted_s + np.where(known, predicted, 0.0) * interval_s,
                measured_s=old.measured_s + np.where(known, measured, 0.0) * interval_s,
            ),
            victims_known_s=victims,
            passed_s=self.passed_s + interval_s,
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
        return alarm, np.where(stays, calm, 0.0)

    def _only(self, keep: Bools) -> PairWatch:
        return self._taken(np.flatnonzero(keep), self.code[keep])

    def _taken(self, chosen: Ints, code: Ints) -> PairWatch:
        """The chosen pairs alone, under these codes."""
        minute = self.minute
        return replace(
            self,
            code=code,
            minute=Minute(
                minute.known_s[chosen], minute.predicted_s[chosen], minute.measured_s[chosen]
            ),
            sums=each(self.sums, lambda values: values[:, chosen]),
            alarm=self.alarm[chosen],
            calm=self.calm[chosen],
        )

    def _realigned(self, vms: tuple[VmId, ...]) -> PairWatch:
        """Follow VMs that came and went; pairs of those that went are forgotten."""
        n, m = len(self.vms), len(vms)
        place = np.concatenate([positions(self.vms, vms), [m, m + 1]]).astype(np.intp)
        axis, victim, who = self._places(self.code)
        still = np.flatnonzero((place[victim] >= 0) & (place[who] >= 0))
        code = (axis[still] * m + place[victim[still]]) * (m + 2) + place[who[still]]
        order = np.argsort(code)
        known_s = np.zeros((N_RESOURCES, m))
        stayed = np.flatnonzero(place[:n] >= 0)
        known_s[:, place[stayed]] = self.victims_known_s[:, stayed]
        moved = self._taken(still[order], code[order])
        return replace(moved, vms=vms, victims_known_s=known_s)
