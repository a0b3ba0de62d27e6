"""A victim's evidence as the API shows it; a tenant sees strangers as strangers."""

from __future__ import annotations

from evenkeel.api.schemas import EvidenceOut, FindingOut, SuspicionOut
from evenkeel.api.visibility import Viewer
from evenkeel.domain.evidence import NOBODY_KNOWN, Suspicion, Witnesses
from evenkeel.domain.ids import VmId
from evenkeel.domain.probe import Finding
from evenkeel.records import HostRecord

NOBODY_NAME = "nobody known"


def evidence_out(host: HostRecord | None, vm: VmId, viewer: Viewer) -> EvidenceOut | None:
    """What the VM's host reported of it last; None where it lost nothing worth the name."""
    found = next((one for one in host.evidence if one.victim == vm), None) if host else None
    if found is None:
        return None
    named = [s.who for s in found.suspects if s.who != NOBODY_KNOWN]
    viewer.look_up([*named, *(f.suspect for f in found.findings)])
    return EvidenceOut(
        resource=found.resource,
        measured_loss=found.measured_loss,
        predicted_loss=found.predicted_loss,
        witnesses=_seen(found.witnesses),
        suspects=[_suspicion(one, vm, viewer) for one in found.suspects],
        findings=[_finding(one, viewer) for one in found.findings],
    )


def _seen(by: Witnesses) -> dict[str, float | None]:
    return {
        "cpu": by.cpu,
        "memory": by.memory,
        "net": by.net,
        "iops": by.iops,
        "inside": by.inside,
        "unexplained": by.unexplained,
    }


def _suspicion(one: Suspicion, victim: VmId, viewer: Viewer) -> SuspicionOut:
    who, name = ("", NOBODY_NAME) if one.who == NOBODY_KNOWN else viewer.shown(one.who)
    return SuspicionOut(
        who=who,
        name=f"{name} itself" if one.who == victim else name,
        attributed_loss=one.attributed_loss,
        probability=one.probability,
        loss_without=one.loss_without,
    )


def _finding(one: Finding, viewer: Viewer) -> FindingOut:
    suspect, name = viewer.shown(one.suspect)
    return FindingOut(
        suspect=suspect,
        suspect_name=name,
        verdict=one.verdict.value,
        at_s=one.at_s,
        expected_drop=one.expected_drop,
        loss_free=one.loss_free,
        loss_throttled=one.loss_throttled,
        n_free=one.n_free,
        n_throttled=one.n_throttled,
        reason=one.reason,
    )
