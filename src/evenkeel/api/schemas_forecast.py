"""What the REST API says about forecasts and models; the habits are those of `schemas`."""

from __future__ import annotations

from pydantic import Field

from evenkeel.api.schemas import Body
from evenkeel.domain.deviation import Way
from evenkeel.domain.model import Horizon, ModelState
from evenkeel.domain.profile import Behaviour
from evenkeel.domain.resources import Resource


class AheadOut(Body):
    """A time ahead with its quantiles, at the levels of `ForecastOut.quantiles`."""

    ahead_s: float = Field(description="Seconds after origin_s.")
    median: float
    quantiles: list[float]


class NeedOut(Body):
    within_s: float
    shards: int = Field(description="That many more than the latest known demand takes.")
    probability: float


class ForecastDeviationOut(Body):
    """How the VM departs from what was forecast of it."""

    way: Way
    since_s: float
    predicted: float = Field(description="Median forecast of the latest slot.")
    came: float = Field(description="What was wanted in it.")
    size: float = Field(description="Mean of came less predicted since then; erratic: unsigned.")
    probability: float = Field(description="Chance of this, at most, had the forecast held.")
    sentence: str


class ResourceForecastOut(Body):
    resource: Resource
    unit: str
    shard: float = Field(description="Size of a shard, in the unit.")
    origin_s: float = Field(description="Up to here telemetry was known.")
    step_s: float
    now: float | None = Field(description="The latest known demand.")
    held_shards: int = Field(description="Shards that the latest known demand takes.")
    capacity: float | None
    model: str = Field(description='Id of the model that made it, or "empirical".')
    demand: list[AheadOut] = Field(description="Mean demand in the slot that ends then.")
    peak: list[AheadOut] = Field(description="Largest slot from the origin until then.")
    need: list[NeedOut]
    deviation: ForecastDeviationOut | None = Field(description="Null: it is as forecast.")
    sentence: str = Field(description='"80 % chance that it needs 2 more CPU shards ..."')


class ResourceProfileOut(Body):
    resource: Resource
    label: Behaviour
    confidence: float = Field(description="Probability of the label; 0 when unknown.")
    peak_hours: list[int] = Field(description="Local hours in which it spikes by the clock.")
    weekdays: list[int] = Field(description="Days on which it does, 0 = Monday.")
    burst_minutes: float = Field(description="Typical length of a spike or burst.")
    bursts_a_day: float
    history_days: float = Field(description="Known demand that this rests on.")
    sentence: str


class ProfileOut(Body):
    """How a VM behaves, by resource."""

    vm: str
    name: str
    resources: list[ResourceProfileOut]


class ForecastOut(Body):
    """A VM's resource demand vector (`v` is the version of its form)."""

    v: int
    vm: str
    name: str
    age_s: float = Field(description="Since the newest telemetry behind it.")
    quantiles: list[float]
    resources: list[ResourceForecastOut]


class ModelOut(Body):
    id: str
    resource: Resource
    horizon: Horizon
    forecaster: str
    state: ModelState
    created_at_s: float
    data_from_s: float
    data_until_s: float
    n_series: int
    step_s: float
    seed: int
    code_version: str
    scores: dict[str, float]
    size_bytes: int
    sha256: str
    note: str


class RollbackIn(Body):
    resource: Resource
    horizon: Horizon = Horizon.LONG


class ServingOut(Body):
    """Who serves now; null: the built-in forecaster."""

    resource: Resource
    horizon: Horizon
    model: ModelOut | None
