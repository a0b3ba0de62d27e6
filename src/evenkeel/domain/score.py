"""Contention scores: how badly one VM is expected to hurt another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from evenkeel.domain.ids import VmId
from evenkeel.domain.resources import Resource

PRESENT_S: Final = 5.0
"""The horizon of the scores that are shown and acted on unless another is asked for."""


@dataclass(frozen=True, slots=True)
class PairScore:
    """Victim's expected loss because of one aggressor on one resource.

    score = 100 * probability * severity, over the next `horizon_s`. `probability` is that of a
    material loss (at least one shard), `severity` the mean share lost when there is one.
    `confidence` in [0, 1] falls with few samples, with several likely culprits, and where the
    measured loss disagrees with the predicted one. `aggressor` may be `HOST_ITSELF`.
    """

    victim: VmId
    aggressor: VmId
    resource: Resource
    score: float
    probability: float
    severity: float
    confidence: float
    window_s: float
    n_samples: int
    horizon_s: float


@dataclass(frozen=True, slots=True)
class Deviation:
    """Measured against predicted loss of one VM on one resource over one scoring window."""

    vm: VmId
    resource: Resource
    predicted_loss: float
    measured_loss: float
    window_s: float


@dataclass(frozen=True, slots=True)
class PairDeviation:
    """A pair whose loss is not what is predicted, beyond doubt, since `since_s`; it still stands.

    `predicted_loss` and `measured_loss` are means since then of the victim's loss that is put down
    to the aggressor, which may be `HOST_ITSELF`, or `NOBODY` where no culprit can be named.
    """

    victim: VmId
    aggressor: VmId
    resource: Resource
    predicted_loss: float
    measured_loss: float
    since_s: float
    n_minutes: int
    horizon_s: float
