"""Holds every prediction against what came: sums for the controller, and pairs that deviate.

The agent asks `Watch.observe` once a tick, after scoring. Nothing here is durable: what the minute
in the making had counted is lost when the agent is killed, and pairs start anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import numpy as np

from evenkeel.agent.deviations import REPORT_EVERY_S, DeviationLog
from evenkeel.domain.arrays import F64
from evenkeel.domain.events import Event, Severity
from evenkeel.domain.ids import HOST_ITSELF, NOBODY, VmId
from evenkeel.domain.reliability import N_BINS, Tally
from evenkeel.domain.resources import N_RESOURCES, SPECS, Resource
from evenkeel.domain.sample import HostTick
from evenkeel.domain.score import Deviation, PairDeviation
from evenkeel.interference.contention import ContentionMap
from evenkeel.interference.pair_watch import PairWatch
from evenkeel.interference.reliability import Foretold, tallies

MOST_TOLD: Final = 5
"""More pairs than this in one minute are told of in one event."""
MOST_STANDING: Final = 50
"""So many deviating pairs are told to the controller, the worst first."""

Pair = tuple[VmId, VmId, Resource]


@dataclass(frozen=True, slots=True)
class Observed:
    """What there is to report after a tick; tallies and deviations once a minute."""

    deviations: tuple[Deviation, ...] = ()
    tallies: tuple[Tally, ...] = ()
    events: tuple[Event, ...] = ()


@dataclass(slots=True)
class ReliabilityLog:
    """Counts predictions against what came; hands out the minute's tallies when it is over.

    One prediction is open at a time for each horizon, so that no two count the same ticks.
    """

    totals: dict[float, F64] = field(default_factory=dict)
    """Since the start, (4, R, N_BINS) by horizon: see `Foretold.count`."""
    _open: dict[float, Foretold] = field(default_factory=dict)
    _minute: dict[float, F64] = field(default_factory=dict)
    _collected_s: float = 0.0

    def observe(self, tick: HostTick) -> tuple[Tally, ...]:
        """A tick came. Empty between reports."""
        for horizon_s, waiting in list(self._open.items()):
            waiting = waiting.then(tick)
            if waiting.is_over(tick.interval_s):
                del self._open[horizon_s]
                self._add(horizon_s, waiting.count())
            else:
                self._open[horizon_s] = waiting
        self._collected_s += tick.interval_s
        if self._collected_s < REPORT_EVERY_S:
            return ()
        out = [tally for h, counts in self._minute.items() for tally in tallies(counts, h)]
        self._minute.clear()
        self._collected_s = 0.0
        return tuple(out)

    def foretell(self, maps: Sequence[ContentionMap]) -> None:
        """Maps that were scored with the newest tick, of one or several horizons."""
        for contention in maps:
            self._open.setdefault(contention.horizon_s, Foretold.of(contention))

    def copied_totals(self) -> dict[float, F64]:
        """For readers on other threads; the arrays are never changed in place."""
        return dict(self.totals)

    def forget(self) -> None:
        """The clock jumped: what is open cannot be judged."""
        self._open.clear()

    def _add(self, horizon_s: float, counts: F64) -> None:
        nothing = np.zeros((4, N_RESOURCES, N_BINS))
        self._minute[horizon_s] = self._minute.get(horizon_s, nothing) + counts
        self.totals[horizon_s] = self.totals.get(horizon_s, nothing) + counts


@dataclass(slots=True)
class Watch:
    """All that an agent holds against its predictions."""

    reliability: ReliabilityLog = field(default_factory=ReliabilityLog)
    standing: tuple[PairDeviation, ...] = ()
    _pairs: PairWatch = field(default_factory=lambda: PairWatch.for_vms(()))
    _by_vm: DeviationLog = field(default_factory=DeviationLog)
    _before: ContentionMap | None = None
    _names: dict[VmId, str] = field(default_factory=dict)

    def observe(
        self, tick: HostTick, contention: ContentionMap, others: Sequence[ContentionMap] = ()
    ) -> Observed:
        """A tick came and was scored. `others` are the maps of further horizons."""
        events: tuple[Event, ...] = ()
        if self._before is not None:
            self._names |= {vm.id: vm.name for vm in tick.vms}
            self._pairs = self._pairs.then(self._before, tick, contention)
            standing = self._pairs.standing(contention.horizon_s)
            events = told(self.standing, standing, self._names, tick)
            self.standing = standing
        deviations = self._by_vm.observe(self._before, tick)
        tallied = self.reliability.observe(tick)
        self.reliability.foretell((contention, *others))
        self._before = contention
        here = {vm.id for vm in tick.vms}
        self._names = {vm: name for vm, name in self._names.items() if vm in here}
        return Observed(deviations, tallied, events)

    def forget(self) -> None:
        """The clock jumped: nothing that was predicted before can be judged."""
        self._before = None
        self.reliability.forget()


def told(
    before: Sequence[PairDeviation],
    now: Sequence[PairDeviation],
    names: dict[VmId, str],
    tick: HostTick,
) -> tuple[Event, ...]:
    """Events for the pairs that deviate since, and for those that no longer do.

    Above `MOST_TOLD` of a kind one event stands for all: then it is not the pairs that are odd.
    """
    old, new = {_key(d): d for d in before}, {_key(d): d for d in now}
    began = [d for key, d in new.items() if key not in old]
    ended = [d for key, d in old.items() if key not in new]
    return (
        *_tell(began, "deviates", Severity.WARNING, names, tick),
        *_tell(ended, "deviates_no_more", Severity.INFO, names, tick),
    )


def _tell(
    found: list[PairDeviation],
    what: str,
    severity: Severity,
    names: dict[VmId, str],
    tick: HostTick,
) -> tuple[Event, ...]:
    if len(found) > MOST_TOLD:
        worst = _sentence(found[0], names)
        kind = f"pairs_{what.replace('deviates', 'deviate')}"
        how = "lose what was not predicted" if what == "deviates" else "are as predicted again"
        return (
            Event(
                tick.taken_at_s,
                kind,
                f"{len(found)} pairs {how}; the worst: {worst}",
                severity,
                tick.host.id,
                detail={"n_pairs": len(found)},
            ),
        )
    again = "as predicted again: " if what != "deviates" else ""
    return tuple(
        Event(
            tick.taken_at_s,
            f"pair_{what}",
            again + _sentence(one, names),
            severity,
            tick.host.id,
            one.victim,
            {
                "victim": one.victim,
                "aggressor": one.aggressor,
                "resource": one.resource.value,
                "predicted_loss": one.predicted_loss,
                "measured_loss": one.measured_loss,
                "since_s": one.since_s,
            },
        )
        for one in found
    )


def _sentence(one: PairDeviation, names: dict[VmId, str]) -> str:
    victim = names.get(one.victim, one.victim)
    label = SPECS[one.resource].label
    loss = (
        f"{100 * one.measured_loss:.0f} % measured, {100 * one.predicted_loss:.0f} % predicted, "
        f"since {datetime.fromtimestamp(one.since_s, UTC):%H:%M}Z"
    )
    if one.aggressor == NOBODY:
        return f"{victim} loses {label} and no neighbour can be named ({loss})"
    aggressor = "the host" if one.aggressor == HOST_ITSELF else names.get(one.aggressor, "")
    more = "more" if one.measured_loss > one.predicted_loss else "less"
    return f"{aggressor or one.aggressor} costs {victim} {more} {label} than predicted ({loss})"


def _key(one: PairDeviation) -> Pair:
    return one.victim, one.aggressor, one.resource
