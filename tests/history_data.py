"""Roll-ups and models, so that tests say only what matters to them."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from evenkeel.domain.errors import ModelNotFound
from evenkeel.domain.model import Horizon, ModelInfo, ModelRecord, ModelState, model_id
from evenkeel.domain.panel import Panel
from evenkeel.domain.rdv import FleetDemand
from evenkeel.domain.resources import Resource, axis_of
from evenkeel.domain.rollup import CENSORED_SHARE, RollUp

DAY_S = 86_400
T0 = 1_800_000_000 // DAY_S * DAY_S
STEP_S = 300


def a_rollup(
    slot: int = 0,
    demand: Mapping[str, float] | None = None,
    *,
    n_ticks: int = 60,
    censored: float = 0.0,
    rolled_at_s: float | None = None,
    step_s: int = STEP_S,
    kind: str = "shop/1x128MiB",
    host: str = "h1",
) -> RollUp:
    """CPU demand by VM; the other resources are multiples of it."""
    demand = {"vm1": 1.0, "vm2": 2.0} if demand is None else demand
    n, slot_s = len(demand), T0 + slot * step_s
    cpu = np.array(list(demand.values()), np.float32).reshape(n, 1)
    matrix = cpu * np.array([1, 100, 10, 5], np.float32)
    return RollUp(
        slot_s=slot_s,
        step_s=step_s,
        rolled_at_s=slot_s + step_s + 20.0 if rolled_at_s is None else rolled_at_s,
        ids=tuple(demand),
        kinds=(kind,) * n,
        n_ticks=np.full(n, n_ticks, np.intp),
        demand=matrix,
        peak=matrix * 2,
        loss=np.zeros((n, 4), np.float32),
        censored=np.full((n, 4), censored, np.float32),
        capacity=np.tile(np.array([4, 4096, np.nan, np.nan], np.float32), (n, 1)),
        hosts=(host,) * n,
    )


def a_model(
    blob: bytes = b"learnt",
    resource: Resource = Resource.CPU,
    at_s: float = T0,
    forecaster: str = "empirical",
    **fields: Any,
) -> ModelInfo:
    sha256 = hashlib.sha256(blob).hexdigest()
    told = {
        "id": model_id(resource, forecaster, at_s, sha256),
        "resource": resource,
        "forecaster": forecaster,
        "created_at_s": float(at_s),
        "sha256": sha256,
        "size_bytes": len(blob),
        "data_from_s": T0 - 7.0 * DAY_S,
        "data_until_s": float(T0),
        "n_series": 20,
        "step_s": 300.0,
        "seed": 1,
        "code_version": "0.1.0",
        "scores": {"wql": 0.2},
    }
    return ModelInfo(**{**told, **fields})


class MemoryHistory:
    """`History` in a dictionary."""

    def __init__(self, step_s: int = STEP_S) -> None:
        self._step_s = step_s
        self._slots: dict[int, RollUp] = {}
        self.broken: Exception | None = None

    @property
    def step_s(self) -> int:
        return self._step_s

    def append(self, rollup: RollUp) -> None:
        if self.broken:
            raise self.broken
        if rollup.step_s != self._step_s:
            raise ValueError("another step")
        known = self._slots.get(rollup.slot_s)
        self._slots[rollup.slot_s] = rollup if known is None else rollup.merged(known)

    def slots(self, start_s: int, end_s: int) -> Mapping[int, float]:
        return {s: self._slots[s].rolled_at_s for s in sorted(self._slots) if start_s <= s < end_s}

    def panel(
        self, resource: Resource, start_s: int, end_s: int, vms: Collection[str] | None = None
    ) -> Panel:
        if start_s % self._step_s or end_s % self._step_s or end_s < start_s:
            raise ValueError("not whole slots")
        k, n_slots = axis_of(resource), (end_s - start_s) // self._step_s
        chosen = [self._slots[s] for s in self.slots(start_s, end_s)]
        ids = {vm: r.kinds[i] for r in chosen for i, vm in enumerate(r.ids) if not vms or vm in vms}
        index = {vm: i for i, vm in enumerate(ids)}
        values = np.full((len(ids), n_slots), np.nan, np.float32)
        censored = np.zeros(values.shape, bool)
        capacity = np.full(len(ids), np.nan)
        for r in chosen:
            at = (r.slot_s - start_s) // self._step_s
            for i, vm in enumerate(r.ids):
                if vm in index:
                    values[index[vm], at] = r.demand[i, k]
                    censored[index[vm], at] = r.censored[i, k] >= CENSORED_SHARE
                    if not np.isnan(r.capacity[i, k]):
                        capacity[index[vm]] = r.capacity[i, k]
        return Panel(
            ids=tuple(ids),
            values=values,
            start_s=float(start_s),
            resource=resource,
            step_s=float(self._step_s),
            capacity=capacity,
            kinds=tuple(ids.values()),
            censored=censored,
        )

    def rollups(self, start_s: int, end_s: int) -> list[RollUp]:
        return [self._slots[slot_s] for slot_s in self.slots(start_s, end_s)]

    def tidy(self, before_s: int, keep_from_s: int) -> int:
        old = [s for s in self._slots if s // DAY_S * DAY_S + DAY_S <= keep_from_s]
        for slot_s in old:
            del self._slots[slot_s]
        return len(old)

    def problems(self) -> Mapping[str, str]:
        return {}


class MemoryRegistry:
    """`ModelRegistry` in dictionaries."""

    def __init__(self) -> None:
        self._models: dict[str, tuple[ModelInfo, bytes]] = {}
        self._lines: dict[tuple[Resource, Horizon], list[str]] = {}
        self._retired: set[str] = set()

    def add(self, info: ModelInfo, blob: bytes) -> None:
        if info.sha256 != hashlib.sha256(blob).hexdigest():
            raise ValueError("not of this blob")
        if self._models.get(info.id, (info,))[0].sha256 != info.sha256:
            raise ValueError("another model has this id")
        self._models[info.id] = (info, blob)

    def models(self, resource: Resource | None = None) -> list[ModelRecord]:
        infos = [i for i, _ in self._models.values() if resource in (None, i.resource)]
        infos.sort(key=lambda i: (i.created_at_s, i.id), reverse=True)
        return [self.model(i.id) for i in infos]

    def model(self, model_id: str) -> ModelRecord:
        if model_id not in self._models:
            raise ModelNotFound(model_id)
        info = self._models[model_id][0]
        line = self._lines.get((info.resource, info.horizon), [])
        if line[:1] == [model_id]:
            return ModelRecord(info, ModelState.CHAMPION)
        served = model_id in line or model_id in self._retired
        return ModelRecord(info, ModelState.RETIRED if served else ModelState.CHALLENGER)

    def blob(self, model_id: str) -> bytes:
        return self._models[self.model(model_id).info.id][1]

    def line(self, resource: Resource, horizon: Horizon = Horizon.LONG) -> tuple[str, ...]:
        return tuple(self._lines.get((resource, horizon), ()))

    def promote(self, model_id: str) -> ModelRecord:
        info = self.model(model_id).info
        line = self._lines.setdefault((info.resource, info.horizon), [])
        line[:] = [model_id] + [each for each in line if each != model_id]
        self._retired.discard(model_id)
        return self.model(model_id)

    def rollback(self, resource: Resource, horizon: Horizon = Horizon.LONG) -> ModelRecord | None:
        line = self._lines.get((resource, horizon), [])
        if not line:
            raise ModelNotFound("no model serves")
        self._retired.add(line.pop(0))
        return self.model(line[0]) if line else None


class MemoryShelf:
    def __init__(self) -> None:
        self.kept: dict[Resource, FleetDemand] = {}
        self.calibrations: dict[tuple[Resource, str], bytes] = {}

    def save(self, demand: FleetDemand) -> None:
        self.kept[demand.resource] = demand

    def load(self) -> list[FleetDemand]:
        return list(self.kept.values())

    def keep_calibration(self, resource: Resource, model: str, blob: bytes) -> None:
        self.calibrations[resource, model] = blob

    def calibration(self, resource: Resource, model: str) -> bytes | None:
        return self.calibrations.get((resource, model))
