"""What the API says of reliability: bodies, and how sums become them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Final

from pydantic import Field

from evenkeel.api.schemas import Body
from evenkeel.domain.reliability import CLOSE_POINTS, MIN_SAMPLES, BinSums
from evenkeel.domain.resources import Resource
from evenkeel.interference.reliability import Verdict, judge

RELIABILITY_HOURS: Final = 24.0


class ReliabilityBin(Body):
    lower: float = Field(description="Predicted losses from here (a share) ...")
    upper: float = Field(description="... to below here.")
    n: int = Field(description="Predictions, each of one VM over one horizon.")
    predicted: float = Field(description="Mean predicted loss.")
    measured: float = Field(description="Mean loss that came.")
    gap_points: float = Field(description="Measured less predicted, in points of loss.")
    se_points: float | None = Field(
        description="Standard error of the gap; a host's minutes count as independent."
    )
    populated: bool = Field(description=f"At least {MIN_SAMPLES} predictions.")


class ReliabilityCurve(Body):
    horizon_s: float
    n: int
    brier: float | None = Field(description="Mean squared error of the predicted loss.")
    worst_gap_points: float | None = Field(
        description="Of the populated bins; null: there is none."
    )
    is_close: bool | None = Field(
        description=f"Within {CLOSE_POINTS:g} points in every populated bin."
    )
    bins: list[ReliabilityBin]


class ReliabilityOut(Body):
    """Predicted against measured loss, a curve for each horizon, shortest first."""

    since_s: float
    host: str | None = Field(description="Null: the whole fleet.")
    resource: Resource | None = Field(description="Null: all together.")
    curves: list[ReliabilityCurve]


def reliability_out(
    found: Mapping[tuple[float, Resource], Mapping[int, BinSums]],
    since_s: float,
    host: str | None,
    resource: Resource | None,
) -> ReliabilityOut:
    by_horizon: dict[float, dict[int, BinSums]] = defaultdict(lambda: defaultdict(BinSums))
    for (horizon_s, _), sums in found.items():
        for k, each in sums.items():
            by_horizon[horizon_s][k] += each
    curves = [_curve(horizon_s, judge(sums)) for horizon_s, sums in sorted(by_horizon.items())]
    return ReliabilityOut(since_s=since_s, host=host, resource=resource, curves=curves)


def _curve(horizon_s: float, verdict: Verdict) -> ReliabilityCurve:
    def rounded(value: float | None, digits: int) -> float | None:
        return None if value is None else round(value, digits)

    return ReliabilityCurve(
        horizon_s=horizon_s,
        n=verdict.n,
        brier=rounded(verdict.brier, 6),
        worst_gap_points=rounded(verdict.worst_gap_points, 3),
        is_close=verdict.is_close,
        bins=[
            ReliabilityBin(
                lower=each.lower,
                upper=each.upper,
                n=each.n,
                predicted=round(each.predicted, 5),
                measured=round(each.measured, 5),
                gap_points=round(each.gap_points, 3),
                se_points=rounded(each.se_points, 3),
                populated=each.populated,
            )
            for each in verdict.bins
        ],
    )
