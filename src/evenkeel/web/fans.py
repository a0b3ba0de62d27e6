"""A VM's near past and its forecast, as the fan charts want it."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel

from evenkeel.api.reader import FleetReader, Principal
from evenkeel.api.schemas_forecast import ForecastOut, ResourceForecastOut
from evenkeel.domain.quantiles import QUANTILES
from evenkeel.domain.resources import Resource
from evenkeel.web.words import resource_label

PAST_S: Final = 6 * 3600.0
PAST_POINTS: Final = 180
MIN_AHEAD_S: Final = 3600.0
LINES: Final = {"low90": 0.05, "low50": 0.25, "median": 0.5, "high50": 0.75, "high90": 0.95}


class Fan(BaseModel):
    """`at_s` is past and future together; `wanted` ends and the lines begin at the origin."""

    resource: Resource
    label: str
    unit: str
    sentence: str
    deviation: str
    model: str
    origin_s: float
    at_s: list[float]
    wanted: list[float | None]
    lines: dict[str, list[float | None]]


class Fans(BaseModel):
    vm: str
    age_s: float
    fans: list[Fan]


def read_fans(reader: FleetReader, who: Principal, vm: str) -> Fans:
    """Raises NotFound, ForecastUnavailable, StoreUnavailable."""
    forecast = reader.forecast(who, vm)
    fans = [_fan(reader, who, forecast, each) for each in forecast.resources]
    return Fans(vm=forecast.vm, age_s=forecast.age_s, fans=fans)


def _fan(
    reader: FleetReader, who: Principal, forecast: ForecastOut, told: ResourceForecastOut
) -> Fan:
    origin_s = told.origin_s
    past = reader.series(who, forecast.vm, told.resource, origin_s - PAST_S, origin_s, PAST_POINTS)
    # Of a VM known for minutes a day ahead would leave no room for what is known.
    known_s = origin_s - past.at_s[0] if past.at_s else 0.0
    shown = [row for row in told.demand if row.ahead_s <= max(MIN_AHEAD_S, 4 * known_s)]
    shown = shown or told.demand[:1]
    ahead = [row.quantiles for row in shown]
    now = [told.now] * len(QUANTILES) if told.now is not None else [None] * len(QUANTILES)
    n_past = len(past.at_s)
    return Fan(
        resource=told.resource,
        label=resource_label(told.resource),
        unit=told.unit,
        sentence=told.sentence,
        deviation=told.deviation.sentence if told.deviation else "",
        model=told.model,
        origin_s=origin_s,
        at_s=[*past.at_s, origin_s, *(origin_s + row.ahead_s for row in shown)],
        wanted=[*past.demand, told.now, *[None] * len(ahead)],
        lines={
            name: [*[None] * n_past, now[k], *(row[k] for row in ahead)]
            for name, k in ((name, QUANTILES.index(q)) for name, q in LINES.items())
        },
    )
