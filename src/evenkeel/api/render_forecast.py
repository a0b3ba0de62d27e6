"""Demand vectors and models as what the API says of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from types import MappingProxyType
from typing import Final

from evenkeel.api.schemas_forecast import (
    ForecastDeviationOut,
    ForecastOut,
    ModelOut,
    NeedOut,
    ProfileOut,
    ResourceForecastOut,
    ResourceProfileOut,
)
from evenkeel.domain.deviation import DemandDeviation
from evenkeel.domain.model import ModelRecord
from evenkeel.domain.profile import Profile
from evenkeel.domain.rdv import DemandVector, ResourceDemand, headline, to_json
from evenkeel.domain.resources import Resource

SHARDS: Final = (1, 2, 4, 8, 16)
HOUR_S: Final = 3600.0


def profile_out(vm: str, name: str, profiles: Mapping[Resource, Profile]) -> ProfileOut:
    return ProfileOut(
        vm=vm,
        name=name,
        resources=[
            ResourceProfileOut(resource=resource, sentence=str(profile), **asdict(profile))
            for resource, profile in profiles.items()
        ],
    )


def forecast_out(
    vector: DemandVector,
    name: str,
    now_s: float,
    resource: Resource | None = None,
    deviations: Mapping[Resource, DemandDeviation] = MappingProxyType({}),
) -> ForecastOut:
    """All resources, or one."""
    told = to_json(vector)
    shown = [
        ResourceForecastOut(
            **each,
            held_shards=demand.held_shards(),
            need=_needs(demand),
            deviation=_deviation(deviations.get(demand.resource)),
            sentence=_sentence(demand),
        )
        for each, demand in zip(told["resources"], vector.demands.values(), strict=True)
        if resource is None or demand.resource is resource
    ]
    newest_s = max(demand.origin_s for demand in vector.demands.values())
    return ForecastOut(
        v=told["v"],
        vm=vector.vm,
        name=name,
        age_s=max(0.0, now_s - newest_s),
        quantiles=told["quantiles"],
        resources=shown,
    )


def _deviation(one: DemandDeviation | None) -> ForecastDeviationOut | None:
    if one is None:
        return None
    told = asdict(one)
    del told["resource"]
    return ForecastDeviationOut(**told, sentence=str(one))


def _needs(demand: ResourceDemand) -> list[NeedOut]:
    return [
        NeedOut(within_s=span, shards=k, probability=round(demand.need(k, span), 4))
        for span in demand.windows_s
        for k in SHARDS
    ]


def _sentence(demand: ResourceDemand) -> str:
    """Within the hour, or the window nearest to it."""
    if not demand.windows_s:
        return ""
    return headline(demand, min(demand.windows_s, key=lambda span: abs(span - HOUR_S)))


def model_out(record: ModelRecord) -> ModelOut:
    info = record.info
    return ModelOut(
        id=info.id,
        resource=info.resource,
        horizon=info.horizon,
        forecaster=info.forecaster,
        state=record.state,
        created_at_s=info.created_at_s,
        data_from_s=info.data_from_s,
        data_until_s=info.data_until_s,
        n_series=info.n_series,
        step_s=info.step_s,
        seed=info.seed,
        code_version=info.code_version,
        scores=dict(info.scores),
        size_bytes=info.size_bytes,
        sha256=info.sha256,
        note=info.note,
    )
