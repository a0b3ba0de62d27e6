"""Which VMs do not behave as forecast: each slot against the forecast that was made before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from evenkeel.controller.telling import Teller
from evenkeel.domain.arrays import F32, F64, positions
from evenkeel.domain.deviation import DemandDeviation, Way
from evenkeel.domain.events import Event
from evenkeel.domain.panel import Panel
from evenkeel.domain.quantiles import MEDIAN
from evenkeel.domain.rdv import FleetDemand
from evenkeel.domain.resources import AXIS, SPECS, Resource
from evenkeel.forecast.deviation import DeviationState, Kind, observe
from evenkeel.forecast.validation import came_true
from evenkeel.ports_store import Session, Store

MAX_AHEAD: Final = 32
"""Slots: where even the nearest forecast looks further, nobody deviates now."""


@dataclass(frozen=True, slots=True, eq=False)
class _Said:
    """What was forecast of the slot that starts at `slot_s`."""

    slot_s: float
    ids: tuple[str, ...]
    quantiles: F32


class _Followed:
    """One resource. Rows of `state` are those of `ids`."""

    def __init__(self, resource: Resource) -> None:
        self.state = DeviationState.fresh(0)
        self.ids: tuple[str, ...] = ()
        self.standing: dict[str, DemandDeviation] = {}
        self.waiting: list[_Said] = []
        self.teller = Teller(resource)


class DeviationWatch:
    """`see` is called once a slot and resource, by one thread; `of` at any time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._followed: dict[Resource, _Followed] = {}

    def of(self, vm: str, name: str | None) -> dict[Resource, DemandDeviation]:
        """What stands of a VM, by its id or by the name that the source of history knows it by."""
        found = {}
        for resource in AXIS:
            standing = self._standing(resource)
            one = standing.get(vm) or (standing.get(name) if name else None)
            if one is not None:
                found[resource] = one
        return found

    def counts(self) -> dict[Resource, int]:
        return {r: len(self._standing(r)) for r in AXIS if r in self._followed}

    def _standing(self, resource: Resource) -> dict[str, DemandDeviation]:
        followed = self._followed.get(resource)
        return followed.standing if followed else {}

    def see(self, panel: Panel, fleet: FleetDemand) -> None:
        """Judge what `panel` tells of earlier forecasts; remember `fleet`. Raises StoreUnavailable.

        The events are written last: when the store fails they are lost, and the state goes on.
        """
        followed = self._followed.setdefault(panel.resource, _Followed(panel.resource))
        due = [said for said in followed.waiting if said.slot_s + panel.step_s <= panel.end_s]
        followed.waiting = [said for said in followed.waiting if said not in due]
        ahead = round(fleet.horizons_s[0] / fleet.step_s)
        if ahead <= MAX_AHEAD:
            slot_s = fleet.origin_s + (ahead - 1) * fleet.step_s
            followed.waiting.append(_Said(slot_s, fleet.ids, fleet.values[:, 0]))
            # After a step back of the clock, what waits for a future that was is forgotten.
            latest_s = panel.end_s + MAX_AHEAD * panel.step_s
            followed.waiting = [said for said in followed.waiting if said.slot_s <= latest_s]
        events: list[Event] = []
        with self._store.read() as session:
            for said in sorted(due, key=lambda said: said.slot_s):
                events += self._judge(followed, panel, said, session)
        if events:
            with self._store.write() as writing:
                writing.chronicle.add_events(events)

    def _judge(
        self, followed: _Followed, panel: Panel, said: _Said, session: Session
    ) -> list[Event]:
        slot = round((said.slot_s - panel.start_s) / panel.step_s)
        if slot < 0:
            return []
        resource = panel.resource
        state = followed.state.take(positions(said.ids, followed.ids))
        came = _of_rows(came_true(panel, slot, (1,))[:, 0], panel.ids, said.ids)
        end_s = said.slot_s + panel.step_s
        grain = SPECS[resource].shard / 2
        state, out = observe(state, came, said.quantiles, end_s, grain)
        standing: dict[str, DemandDeviation] = {}
        for i in np.flatnonzero(out.kind != Kind.NONE).tolist():
            vm, before = said.ids[i], followed.standing.get(said.ids[i])
            if np.isnan(came[i]) and before is not None:
                standing[vm] = before
                continue
            standing[vm] = DemandDeviation(
                resource=resource,
                way=Way(Kind(int(out.kind[i])).name.lower()),
                since_s=float(out.since_s[i]) - panel.step_s,
                predicted=float(said.quantiles[i, MEDIAN]),
                came=float(came[i]),
                size=float(out.size[i]),
                probability=float(min(1.0, 10.0 ** -out.evidence[i])),
            )
        raised = standing.keys() - followed.standing.keys()
        ended = {vm: one for vm, one in followed.standing.items() if vm not in standing}
        followed.state, followed.ids, followed.standing = state, said.ids, standing
        return followed.teller.tell(end_s, raised, ended, standing, len(said.ids), session)


def _of_rows(values: F32, ids: tuple[str, ...], wanted: tuple[str, ...]) -> F64:
    """The values of the wanted VMs; NaN of those that are not there."""
    if ids == wanted:
        return values.astype(np.float64)
    found: F64 = np.append(values.astype(np.float64), np.nan)[positions(wanted, ids)]
    return found
