"""What is known of a trained model, apart from what it learnt."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from evenkeel.domain.resources import Resource

MODEL_ID: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,120}")


class Horizon(StrEnum):
    """How far a model looks ahead. Champions of one never serve the other."""

    LONG = "long"
    """Slots: minutes to a day, in the controller."""
    SHORT = "short"
    """Ticks: 5 to 60 s, on the hosts."""


class ModelState(StrEnum):
    CHAMPION = "champion"
    """It serves."""
    CHALLENGER = "challenger"
    """It was trained, and has not served yet."""
    RETIRED = "retired"
    """It served once."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """The record of one version; never changes. `scores` are those of its validation."""

    id: str
    resource: Resource
    forecaster: str
    created_at_s: float
    sha256: str
    size_bytes: int
    data_from_s: float
    data_until_s: float
    n_series: int
    step_s: float
    seed: int
    code_version: str
    scores: Mapping[str, float] = field(default_factory=dict)
    note: str = ""
    horizon: Horizon = Horizon.LONG


@dataclass(frozen=True, slots=True)
class ModelRecord:
    info: ModelInfo
    state: ModelState


def model_id(resource: Resource, forecaster: str, created_at_s: float, sha256: str) -> str:
    """Sorts by age within a resource; says what it is; no two models share it."""
    stamp = datetime.fromtimestamp(created_at_s, UTC).strftime("%Y%m%dT%H%M%SZ").lower()
    name = re.sub(r"[^a-z0-9]+", "-", forecaster.lower()).strip("-") or "model"
    return f"{resource.value}-{stamp}-{name[:40]}-{sha256[:8]}"
