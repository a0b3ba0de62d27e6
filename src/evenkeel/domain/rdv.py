"""Resource demand vectors: what VMs will want, when, and with what odds.

`FleetDemand` is the forecast of one resource for many VMs in columns; `ResourceDemand` is one VM's
row of it, and `DemandVector` all resources of a VM: what planners, the API and the CLI read.
Quantiles are at the levels of `QUANTILES` everywhere. The peak over a window has a distribution of
its own: it is not the largest of the slots' quantiles.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from evenkeel.domain.arrays import F32, F64
from evenkeel.domain.ids import VmId
from evenkeel.domain.quantiles import MEDIAN, N_QUANTILES, QUANTILES, ROUNDING, exceedance
from evenkeel.domain.resources import SPECS, Resource

RDV_VERSION: Final = 1
LIKELY: Final = 0.8
EVEN_ODDS: Final = 0.5
_DIGITS: Final = 6
_SAME_ODDS: Final = 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class ResourceDemand:
    """Forecast of one resource of one VM, from `origin_s`, in the resource's unit.

    `values` (H, Q): quantiles of the mean demand in the slot that ends `horizons_s[h]` after the
    origin. `peaks` (W, Q): quantiles of the largest slot within `windows_s[w]`. `now` is the
    latest known demand and `capacity` what the VM may use at most, NaN when not known. `model`
    names the forecaster that made it.
    """

    resource: Resource
    origin_s: float
    step_s: float
    horizons_s: tuple[float, ...]
    windows_s: tuple[float, ...]
    values: F32
    peaks: F32
    now: float = math.nan
    capacity: float = math.nan
    model: str = ""

    def __post_init__(self) -> None:
        h, w = len(self.horizons_s), len(self.windows_s)
        if self.values.shape != (h, N_QUANTILES) or self.peaks.shape != (w, N_QUANTILES):
            raise ValueError(f"demand of shapes {self.values.shape} and {self.peaks.shape}")
        if list(self.windows_s) != sorted(self.windows_s):
            raise ValueError("windows must grow")

    def held_shards(self) -> int:
        """Shards that the latest known demand takes; 0 when it is not known."""
        return 0 if math.isnan(self.now) else shards_for(self.resource, self.now)

    def need(self, k_shards: int, within_s: float, held_shards: int | None = None) -> float:
        """P(the peak within `within_s` takes at least `k_shards` more than `held_shards`).

        `held_shards` is the VM's entitlement; by default what it takes now. Between two forecast
        windows the odds are linear in time, within the shortest they are those of the shortest
        (an upper bound). Raises ValueError beyond the longest window.
        """
        if not self.windows_s or within_s > self.windows_s[-1] * (1 + 1e-9):
            raise ValueError(f"no peak was forecast for a window of {within_s:g} s")
        held = self.held_shards() if held_shards is None else held_shards
        # n shards are not enough as soon as the peak passes n shards (and not by mere rounding).
        threshold = (held + k_shards - 1) * SPECS[self.resource].shard * (1 + ROUNDING)
        if threshold < 0:
            return 1.0
        odds = exceedance(self.peaks, np.full(len(self.peaks), threshold))
        return float(np.interp(within_s, self.windows_s, np.maximum.accumulate(odds)))

    def shards_wanted(
        self, probability: float, within_s: float, held_shards: int | None = None
    ) -> int:
        """The most shards that it needs on top, with at least that probability; 0: none."""
        held = self.held_shards() if held_shards is None else held_shards
        probability -= _SAME_ODDS
        low, high = 0, 1
        while self.need(high, within_s, held) >= probability:
            low, high = high, high * 2
        while high - low > 1:
            middle = (low + high) // 2
            if self.need(middle, within_s, held) >= probability:
                low = middle
            else:
                high = middle
        return low


@dataclass(frozen=True, slots=True, eq=False)
class DemandVector:
    """All that is forecast of one VM."""

    vm: VmId
    demands: Mapping[Resource, ResourceDemand]

    def need(
        self, resource: Resource, k_shards: int, within_s: float, held_shards: int | None = None
    ) -> float:
        """See `ResourceDemand.need`. Raises KeyError when the resource has no forecast."""
        return self.demands[resource].need(k_shards, within_s, held_shards)


@dataclass(frozen=True, slots=True, eq=False)
class FleetDemand:
    """One resource of N VMs: as `ResourceDemand`, with a leading axis of VMs."""

    resource: Resource
    origin_s: float
    step_s: float
    horizons_s: tuple[float, ...]
    windows_s: tuple[float, ...]
    ids: tuple[str, ...]
    values: F32
    peaks: F32
    now: F64
    capacity: F64
    model: str = ""

    def __post_init__(self) -> None:
        n, h, w = len(self.ids), len(self.horizons_s), len(self.windows_s)
        if self.values.shape != (n, h, N_QUANTILES) or self.peaks.shape != (n, w, N_QUANTILES):
            raise ValueError(f"demand of shapes {self.values.shape} and {self.peaks.shape}")
        if self.now.shape != (n,) or self.capacity.shape != (n,):
            raise ValueError("now and capacity need one entry a VM")

    def row(self, i: int) -> ResourceDemand:
        return ResourceDemand(
            resource=self.resource,
            origin_s=self.origin_s,
            step_s=self.step_s,
            horizons_s=self.horizons_s,
            windows_s=self.windows_s,
            values=self.values[i],
            peaks=self.peaks[i],
            now=float(self.now[i]),
            capacity=float(self.capacity[i]),
            model=self.model,
        )


def shards_for(resource: Resource, amount: float) -> int:
    """Whole shards that hold this amount; a rounding error makes no further shard."""
    return max(0, math.ceil(amount / SPECS[resource].shard * (1 - ROUNDING)))


def headline(demand: ResourceDemand, within_s: float, held_shards: int | None = None) -> str:
    """One sentence: "80 % chance that it needs 2 more CPU shards within the hour"."""
    label, span = SPECS[demand.resource].label, _within(within_s)
    wanted = demand.shards_wanted(LIKELY, within_s, held_shards)
    wanted = wanted or demand.shards_wanted(EVEN_ODDS, within_s, held_shards)
    if not wanted:
        stays = 100 * (1 - demand.need(1, within_s, held_shards))
        return f"{_percent(stays)} chance that it needs no more {label} shards {span}"
    odds = 100 * demand.need(wanted, within_s, held_shards)
    shards = "shard" if wanted == 1 else "shards"
    return f"{_percent(odds)} chance that it needs {wanted} more {label} {shards} {span}"


def _percent(value: float) -> str:
    """Never 100 %: no forecast knows that."""
    return "over 99 %" if value >= 99.5 else f"{value:.0f} %"


def _within(seconds: float) -> str:
    if seconds == 3600:
        return "within the hour"
    if seconds >= 3600:
        return f"within {seconds / 3600:g} h"
    return f"within {seconds / 60:g} min" if seconds >= 60 else f"within {seconds:g} s"


# --- JSON -------------------------------------------------------------------------------------


def to_json(vector: DemandVector) -> dict[str, Any]:
    """Plain values for any JSON encoder; null stands for NaN. `v` is the version of this form."""
    return {
        "v": RDV_VERSION,
        "vm": vector.vm,
        "quantiles": list(QUANTILES),
        "resources": [_demand_to_json(demand) for demand in vector.demands.values()],
    }


def _demand_to_json(demand: ResourceDemand) -> dict[str, Any]:
    return {
        "resource": demand.resource.value,
        "unit": SPECS[demand.resource].unit,
        "shard": SPECS[demand.resource].shard,
        "origin_s": demand.origin_s,
        "step_s": demand.step_s,
        "now": _known(demand.now),
        "capacity": _known(demand.capacity),
        "model": demand.model,
        "demand": _rows(demand.horizons_s, demand.values),
        "peak": _rows(demand.windows_s, demand.peaks),
    }


def from_json(told: Mapping[str, Any]) -> DemandVector:
    """Raises ValueError when the version or the quantiles are others, or a field is not there."""
    if told.get("v") != RDV_VERSION or tuple(told.get("quantiles", ())) != QUANTILES:
        raise ValueError(f"not a demand vector of version {RDV_VERSION}")
    try:
        demands = [_demand_from_json(each) for each in told["resources"]]
        return DemandVector(VmId(told["vm"]), {each.resource: each for each in demands})
    except (KeyError, TypeError) as error:
        raise ValueError(f"demand vector lacks or mistypes {error}") from error


def _demand_from_json(told: Mapping[str, Any]) -> ResourceDemand:
    return ResourceDemand(
        resource=Resource(told["resource"]),
        origin_s=float(told["origin_s"]),
        step_s=float(told["step_s"]),
        horizons_s=tuple(float(row["ahead_s"]) for row in told["demand"]),
        windows_s=tuple(float(row["ahead_s"]) for row in told["peak"]),
        values=_quantiles(told["demand"]),
        peaks=_quantiles(told["peak"]),
        now=math.nan if told["now"] is None else float(told["now"]),
        capacity=math.nan if told["capacity"] is None else float(told["capacity"]),
        model=str(told["model"]),
    )


def _rows(ahead_s: tuple[float, ...], quantiles: F32) -> list[dict[str, Any]]:
    rounded = np.round(quantiles.astype(np.float64), _DIGITS).tolist()
    return [
        {"ahead_s": ahead, "median": row[MEDIAN], "quantiles": row}
        for ahead, row in zip(ahead_s, rounded, strict=True)
    ]


def _quantiles(rows: list[Mapping[str, Any]]) -> F32:
    listed = [row["quantiles"] for row in rows]
    return np.array(listed, dtype=np.float32).reshape(len(rows), N_QUANTILES)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else round(value, _DIGITS)
