"""What one of the fleet fake's readers may see, and the story it is told: who hurts whom there."""

from __future__ import annotations

from dataclasses import dataclass

from fleet_facts import OTHER, PAIRS, VMS

from evenkeel.api.reader import Principal, Role
from evenkeel.api.schemas import (
    AdviceOut,
    EvidenceOut,
    FindingOut,
    MitigationOut,
    PairDeviationOut,
    PairOut,
    RejectionOut,
    SuspicionOut,
)
from evenkeel.domain.errors import NotFound
from evenkeel.domain.plan import OPEN_STATES, ActionKind, MitigationState
from evenkeel.domain.resources import Resource


def vm_id(name: str) -> str:
    """Stable UUID-like id of a VM of this fleet."""
    return f"0e5c2f6a-0000-4000-8000-{list(VMS).index(name):012d}"


@dataclass(frozen=True)
class Sight:
    """Somebody's eyes on the VMs called `names`, as of `now_s`."""

    who: Principal
    names: list[str]
    now_s: float

    def sees(self, name: str) -> bool:
        return self.who.role is Role.ADMIN or VMS[name][1] == self.who.subject

    def visible(self) -> list[str]:
        return [name for name in self.names if self.sees(name)]

    def shown(self, name: str) -> tuple[str, str]:
        """Id and name as this principal may know them."""
        if name == "host":
            return "host", "the host"
        if self.sees(name):
            return vm_id(name), name
        return f"other-{list(VMS).index(name)}", OTHER

    def find(self, vm: str) -> str:
        for name in self.visible():
            if vm in (name, vm_id(name)):
                return name
        raise NotFound(f"there is no VM {vm!r}", hint="`evenkeel vms` lists them.")


def pairs(sight: Sight, host=None, victim=None) -> list[PairOut]:
    found = []
    for v, a, resource, score, probability, severity, confidence in PAIRS:
        wanted = host in (None, VMS[v][0]) and victim in (None, v)
        if v not in sight.names or not wanted or not sight.sees(v):
            continue
        (vid, vname), (aid, aname) = sight.shown(v), sight.shown(a)
        found.append(
            PairOut(
                host=VMS[v][0],
                victim=vid,
                victim_name=vname,
                aggressor=aid,
                aggressor_name=aname,
                resource=resource,
                score=score,
                probability=probability,
                severity=severity,
                confidence=confidence,
                window_s=60,
                n_samples=12,
                horizon_s=5,
                at_s=sight.now_s - 3,
            )
        )
    return found


def evidence(sight: Sight) -> EvidenceOut:
    aggressor, aggressor_name = sight.shown("batch7")
    return EvidenceOut(
        resource=Resource.CPU,
        measured_loss=0.42,
        predicted_loss=0.36,
        witnesses={"cpu": 0.42, "memory": 0.0, "inside": 0.5, "unexplained": 0.14, "net": None},
        suspects=[
            SuspicionOut(
                who=aggressor,
                name=aggressor_name,
                attributed_loss=0.35,
                probability=0.93,
                loss_without=0.04,
            ),
            SuspicionOut(
                who="",
                name="nobody known",
                attributed_loss=0.07,
                probability=0.02,
                loss_without=None,
            ),
        ],
        findings=[
            FindingOut(
                suspect=aggressor,
                suspect_name=aggressor_name,
                verdict="confirmed",
                at_s=sight.now_s - 60,
                expected_drop=0.09,
                loss_free=0.41,
                loss_throttled=0.3,
                n_free=12,
                n_throttled=6,
                reason="",
            )
        ],
    )


def pair_deviations(sight: Sight, host, vm=None) -> list[PairDeviationOut]:
    """batch7 costs web2 more memory than it should."""
    if "web2" not in sight.names or not sight.sees("web2") or host != "host-a":
        return []
    aggressor, aggressor_name = sight.shown("batch7")
    one = PairDeviationOut(
        host="host-a",
        victim=vm_id("web2"),
        victim_name="web2",
        aggressor=aggressor,
        aggressor_name=aggressor_name,
        resource=Resource.MEMORY,
        predicted_loss=0.02,
        measured_loss=0.24,
        since_s=sight.now_s - 1500,
        n_minutes=25,
        horizon_s=5,
    )
    return [one] if vm in (None, one.victim, one.aggressor) else []


def advice(sight: Sight) -> AdviceOut:
    aggressor, aggressor_name = sight.shown("batch7")
    rejected = [
        (ActionKind.BOOST, "web1", 0.18, "helps less than pinning apart"),
        (ActionKind.BOOST, "web1", 0.1802, "helps less than pinning apart"),  # twice as strong
        (ActionKind.QUOTA, "batch7", 0.05, "would take half of what it wants"),
    ]
    return AdviceOut(
        victim=vm_id("web1"),
        aggressor=aggressor,
        resource=Resource.CPU,
        score=36.0,
        answer=f"keep {aggressor_name} off the CPUs of web1",
        change=f"{aggressor_name}: vCPUs 0-3 pinned to CPUs 4-7",
        predicted_loss=0.03,
        rejected=[
            RejectionOut(
                kind=kind,
                target=sight.shown(target)[0],
                target_name=sight.shown(target)[1],
                predicted_loss=loss,
                why=why,
            )
            for kind, target, loss, why in rejected
        ],
    )


def mitigations(sight: Sight, vm=None, open_only=False) -> list[MitigationOut]:
    if "web1" not in sight.names or not sight.sees("web1"):
        return []
    rows = [
        ("m-3", ActionKind.PIN_APART, MitigationState.ACTIVE, 12, 12, None, ""),
        ("m-2", ActionKind.BOOST, MitigationState.INEFFECTIVE, 700, 640, 0.37, "loss stayed"),
        ("m-1", ActionKind.QUOTA, MitigationState.ROLLED_BACK, 2900, 2700, 0.05, "calm again"),
    ]
    victim, (aggressor, aggressor_name) = vm_id("web1"), sight.shown("batch7")
    found = []
    for id_, kind, state, age, state_age, measured, reason in rows:
        on_victim = kind is ActionKind.BOOST
        found.append(
            MitigationOut(
                id=id_,
                host="host-a",
                kind=kind,
                state=state,
                target=victim if on_victim else aggressor,
                target_name="web1" if on_victim else aggressor_name,
                victim=victim,
                victim_name="web1",
                aggressor=aggressor,
                aggressor_name=aggressor_name,
                resource=Resource.CPU,
                change={
                    ActionKind.PIN_APART: "vCPUs 0-3 pinned to CPUs 4-7",
                    ActionKind.BOOST: "CPU shares 1024 to 4096",
                    ActionKind.QUOTA: "CPU quota 2.0 cores",
                }[kind],
                reason="score 36 for 2 ticks",
                created_at_s=sight.now_s - age,
                expires_at_s=sight.now_s - age + 120,
                state_at_s=sight.now_s - state_age,
                state_reason=reason,
                loss_before=0.42,
                predicted_loss=0.03,
                measured_loss=measured,
            )
        )
    return [
        m
        for m in found
        if vm in (None, m.victim, m.target) and (not open_only or m.state in OPEN_STATES)
    ]
