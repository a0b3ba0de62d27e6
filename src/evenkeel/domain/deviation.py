"""A VM that does not behave as it was forecast, as people are told of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from evenkeel.domain.resources import SPECS, Resource


class Way(StrEnum):
    ABOVE = "above"
    BELOW = "below"
    ERRATIC = "erratic"


@dataclass(frozen=True, slots=True)
class DemandDeviation:
    """What stands since `since_s`: how demand departs from the forecast.

    `predicted` and `came` are the median and the demand of the latest slot, in the unit of the
    resource; `size` is the mean of came less predicted since then (of its absolute value, when
    erratic). `probability` bounds the chance of this course, had the forecast held from then on.
    """

    resource: Resource
    way: Way
    since_s: float
    predicted: float
    came: float
    size: float
    probability: float

    def __str__(self) -> str:
        unit = SPECS[self.resource].unit
        how = {
            Way.ABOVE: f"{self.size:.3g} {unit} more than",
            Way.BELOW: f"{-self.size:.3g} {unit} less than",
            Way.ERRATIC: f"{self.size:.3g} {unit} off",
        }[self.way]
        since = datetime.fromtimestamp(self.since_s, UTC)
        return (
            f"since {since:%Y-%m-%d %H:%M}Z it wants {how} forecast in the mean (in the latest "
            f"slot {self.predicted:.3g} {unit} were forecast, {self.came:.3g} came; "
            f"chance {self.probability:.1g})"
        )
