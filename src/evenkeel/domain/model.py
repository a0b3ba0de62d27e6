"""What is known of a trained model, apart from what it learnt."""

from __future__ import annotations

import math
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
class Validation:
    """How a model did on VMs of its validation: what it is held to while it serves.

    By kind of hour (48: those of working days, then those of days off), over all of `horizons_s`:
    `loss` is the mean pinball loss of each VM, (N, 48) of little-endian float32, NaN where nothing
    was known; `coverage` (48, Q) the share of slots of all VMs at or below each quantile.
    """

    ids: tuple[str, ...]
    horizons_s: tuple[float, ...]
    loss: bytes
    coverage: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """The record of one version; never changes. `scores` are those of its validation.

    `validation` is None of models that older versions made.
    """

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
    validation: Validation | None = None
    horizon: Horizon = Horizon.LONG


@dataclass(frozen=True, slots=True)
class ModelRecord:
    info: ModelInfo
    state: ModelState


@dataclass(frozen=True, slots=True)
class TrainingEnd:
    """How a training ended: with `failure`, or with a model that won or lost against `champion`."""

    resource: Resource
    failure: str = ""
    model: str = ""
    champion: str = ""
    won: bool = False
    verdict: str = ""
    wql: float = math.nan
    champion_wql: float = math.nan


@dataclass(frozen=True, slots=True)
class TrainingTry:
    """That a resource shall be trained, stored before it is; `ended_at_s` is None until then."""

    reason: str
    asked_at_s: float
    ended_at_s: float | None = None


def model_id(resource: Resource, forecaster: str, created_at_s: float, sha256: str) -> str:
    """Sorts by age within a resource; says what it is; no two models share it."""
    stamp = datetime.fromtimestamp(created_at_s, UTC).strftime("%Y%m%dT%H%M%SZ").lower()
    name = re.sub(r"[^a-z0-9]+", "-", forecaster.lower()).strip("-") or "model"
    return f"{resource.value}-{stamp}-{name[:40]}-{sha256[:8]}"
