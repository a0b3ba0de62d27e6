"""Probes: short experiments that tell whether a suspect hurts a victim, and what came of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from evenkeel.domain.ids import VmId


class Verdict(StrEnum):
    CONFIRMED = "confirmed"
    """The victim lost less while the suspect was throttled, beyond doubt."""
    CLEARED = "cleared"
    """It did not, though it should have."""
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Finding:
    """What an experiment on `suspect`, made for `victim`, found.

    Losses are shares of the victim's demand, means over `n_throttled` and `n_free` ticks;
    `expected_drop` is what physics foresaw. `log_odds` is the log Bayes factor of "it is the
    cause" against "it is not". `reason` says why an experiment was broken off, or is empty.
    """

    victim: VmId
    suspect: VmId
    verdict: Verdict
    at_s: float
    expected_drop: float
    loss_free: float | None = None
    loss_throttled: float | None = None
    n_free: int = 0
    n_throttled: int = 0
    log_odds: float = 0.0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Throttle:
    """One throttle that was carried out, at `at_s` of monotonic time: what budgets are kept by."""

    at_s: float
    victim: VmId
    suspect: VmId
