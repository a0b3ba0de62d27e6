"""The evidence in words that travel: for each victim, witnesses, suspects and experiments."""

from __future__ import annotations

from typing import Final

import numpy as np

from evenkeel.domain.evidence import NOBODY_KNOWN, Suspicion, VictimEvidence, Witnesses
from evenkeel.domain.ids import HOST_ITSELF, VmId
from evenkeel.domain.probe import Finding
from evenkeel.domain.resources import AXIS, N_RESOURCES
from evenkeel.interference.contention import ContentionMap
from evenkeel.interference.evidence import MIN_LOSS
from evenkeel.interference.window import Window

MAX_VICTIMS: Final = 16
MAX_SUSPECTS: Final = 5
WORTH_TELLING: Final = 0.001


def witnessed(
    found: ContentionMap, window: Window, findings: tuple[Finding, ...]
) -> tuple[VictimEvidence, ...]:
    """The worst-off victims on their worst resource, worst first; empty before any measurement."""
    if found.evidence is None or not len(found.vms):
        return ()
    loss = np.maximum(found.measured, found.predicted)
    worst = loss.max(axis=0)
    order = np.argsort(-worst, kind="stable")[:MAX_VICTIMS]
    victims = [i for i in order.tolist() if worst[i] >= MIN_LOSS]
    seen = _witnesses(found, window, victims)
    return tuple(
        _of(found, i, int(loss[:, i].argmax()), witnesses, findings)
        for i, witnesses in zip(victims, seen, strict=True)
    )


def _of(
    found: ContentionMap, i: int, r: int, seen: Witnesses, findings: tuple[Finding, ...]
) -> VictimEvidence:
    assert found.evidence is not None
    parts, culprit = found.evidence.attributed[r, i], found.evidence.culprit[r, i]
    victim = found.vms[i].id
    names: list[VmId] = [*(vm.id for vm in found.vms), HOST_ITSELF, victim, NOBODY_KNOWN]
    weight = np.maximum(parts, culprit)
    order = np.argsort(-weight, kind="stable")[:MAX_SUSPECTS]
    without = found.evidence.without[r, i]
    return VictimEvidence(
        victim=victim,
        resource=AXIS[r],
        measured_loss=round(float(found.measured[r, i]), 4),
        predicted_loss=round(float(found.predicted[r, i]), 4),
        witnesses=seen,
        suspects=tuple(
            Suspicion(
                who=names[j],
                attributed_loss=round(float(parts[j]), 4),
                probability=round(float(culprit[j]), 3),
                loss_without=round(float(without[j]), 4) if j < len(without) else None,
            )
            for j in order
            if weight[j] >= WORTH_TELLING
        ),
        findings=tuple(finding for finding in findings if finding.victim == victim),
    )


def _witnesses(found: ContentionMap, window: Window, victims: list[int]) -> list[Witnesses]:
    """Of the newest tick, less what is not known."""
    assert found.evidence is not None
    newest = np.column_stack([window.loss[-1], window.inside_loss[-1], found.evidence.unexplained])
    newest = newest[victims]
    assert newest.shape[1] == N_RESOURCES + 2
    names = [*(resource.value for resource in AXIS), "inside", "unexplained"]
    return [
        Witnesses(
            **{
                name: None if np.isnan(value) else round(float(value), 4)
                for name, value in zip(names, row, strict=True)
            }
        )
        for row in newest
    ]
