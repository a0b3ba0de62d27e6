"""A VM over time, as the charts want it: every resource's series and the marks of mitigations."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel

from evenkeel.api.reader import FleetReader, Principal
from evenkeel.api.schemas import MitigationOut, SeriesOut
from evenkeel.domain.plan import OPEN_STATES, MitigationState
from evenkeel.domain.resources import AXIS, Resource
from evenkeel.web.words import ACTION_WORDS, STATE_WORDS, resource_label

RANGES: Final = {900: "15 min", 3600: "1 h", 21600: "6 h"}
DEFAULT_RANGE_S: Final = 900

_NOTHING_CHANGED = {MitigationState.ADVISED, MitigationState.REFUSED}


class Mark(BaseModel):
    """A mitigation in force from `from_s` to `to_s`; `good`: it helped, None: not measured yet."""

    from_s: float
    to_s: float
    label: str
    good: bool | None


class Chart(BaseModel):
    resource: Resource
    label: str
    series: SeriesOut
    marks: list[Mark]


class Charts(BaseModel):
    vm: str
    since_s: float
    until_s: float
    charts: list[Chart]


def read_charts(reader: FleetReader, who: Principal, vm: str, range_s: int, now_s: float) -> Charts:
    """Raises NotFound, StoreUnavailable."""
    since_s = now_s - range_s
    found = reader.vm(who, vm)
    mitigations = reader.mitigations(who, vm=found.id).items
    charts = []
    for resource in AXIS:
        marks = [
            mark
            for mitigation in mitigations
            if mitigation.resource is resource
            for mark in _marks(mitigation, since_s, now_s)
        ]
        series = reader.series(who, found.id, resource, since_s, now_s)
        label = resource_label(resource)
        charts.append(Chart(resource=resource, label=label, series=series, marks=marks))
    return Charts(vm=found.id, since_s=since_s, until_s=now_s, charts=charts)


def _marks(mitigation: MitigationOut, since_s: float, now_s: float) -> list[Mark]:
    """Nothing for advice, refusals and what ended before the window."""
    if mitigation.state in _NOTHING_CHANGED:
        return []
    open_ = mitigation.state in OPEN_STATES
    end_s = now_s if open_ else min(mitigation.state_at_s, now_s)
    if end_s < since_s:
        return []
    words = f"{ACTION_WORDS[mitigation.kind]}: {mitigation.change}"
    return [
        Mark(
            from_s=max(mitigation.created_at_s, since_s),
            to_s=end_s,
            label=f"{words} ({STATE_WORDS[mitigation.state]})",
            good=_good(mitigation),
        )
    ]


def _good(mitigation: MitigationOut) -> bool | None:
    if mitigation.measured_loss is None:
        return None
    return mitigation.state is not MitigationState.INEFFECTIVE
