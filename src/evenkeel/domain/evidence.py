"""What speaks for and against each suspect of a victim's loss, as an agent reports it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from evenkeel.domain.ids import VmId
from evenkeel.domain.probe import Finding
from evenkeel.domain.resources import Resource

NOBODY_KNOWN: Final = VmId("")
"""Stands for the part of a loss that no suspect explains."""


@dataclass(frozen=True, slots=True)
class Suspicion:
    """One suspect: a VM, `HOST_ITSELF`, the victim's own id for its own surge, or `NOBODY_KNOWN`.

    `attributed_loss` is its part of the measured loss (they add up to it); `probability` that it
    did most of it; `loss_without` what physics expects had it not pressed, None where nobody is
    meant.
    """

    who: VmId
    attributed_loss: float
    probability: float
    loss_without: float | None = None


@dataclass(frozen=True, slots=True)
class Witnesses:
    """Share of its wanted work that a VM lost, by who saw it; None: it does not speak.

    `cpu` run-queue delay, `memory` reclaim, `net` drops, `iops` disk wait, `inside` the guest's own
    profiler, `unexplained` what of `inside` the others do not explain: caches, memory bandwidth.
    """

    cpu: float | None = None
    memory: float | None = None
    net: float | None = None
    iops: float | None = None
    inside: float | None = None
    unexplained: float | None = None


@dataclass(frozen=True, slots=True)
class VictimEvidence:
    """A victim's worst resource: what was measured and expected, who saw it, and who is suspected,
    by attributed loss; `findings` are those of experiments made for this victim."""

    victim: VmId
    resource: Resource
    measured_loss: float
    predicted_loss: float
    witnesses: Witnesses
    suspects: tuple[Suspicion, ...]
    findings: tuple[Finding, ...] = ()
