"""What the REST API says: the response and request bodies of /v1, in one place.

Units are in the field names; shares are 0-1, scores 0-100, times UTC epoch seconds. Lists are
paginated: `items` plus `next`, an opaque cursor to pass back as `?cursor=`, null on the last page.
A tenant's token sees only its own VMs; a neighbour that belongs to somebody else is shown as
`another tenant's VM`, with a stable pseudonym as its id.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from evenkeel.domain.host import Mode
from evenkeel.domain.plan import ActionKind, MitigationState
from evenkeel.domain.resources import Resource
from evenkeel.domain.score import PRESENT_S
from evenkeel.domain.vm import VmState

T = TypeVar("T")


class Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Page(Body, Generic[T]):
    items: list[T]
    next: str | None = None


class ErrorDetail(Body):
    code: str = Field(description="Stable; never changes meaning.")
    message: str
    hint: str = ""


class ObstacleOut(Body):
    """Where a claim did not fit: from `slot_start_s` until `slot_end_s` that host has `free` shards
    left, of `asked`. `fits` would fit for all of the time, and all of it from `from_s` on."""

    host: str
    resource: Resource
    slot_start_s: int
    slot_end_s: int
    asked: int
    free: int
    fits: int
    from_s: int | None


class ErrorBody(Body):
    error: ErrorDetail
    obstacle: ObstacleOut | None = None


class Reading(Body):
    """One VM, one resource, the latest tick. Null: not known."""

    resource: Resource
    unit: str
    demand: float | None
    usage: float | None
    loss: float | None
    self_limited: float | None


class HostOut(Body):
    id: str
    hypervisor: str
    cpus: int
    memory_mib: float
    net_mbit_s: float | None
    iops: float | None
    capabilities: list[str]
    mode: Mode
    alive: bool = Field(description="Heard from within controller.host_silent_s.")
    last_seen_s: float | None
    problem: str = Field(description="Stable code of the agent's present trouble, or empty.")
    agent_version: str
    n_vms: int
    n_open_mitigations: int
    worst_score: float = Field(description="Highest pair score on the host now.")
    cpu_demand_cores: float | None
    cpu_usage_cores: float | None
    psi_cpu_some: float | None
    psi_memory_some: float | None
    psi_io_some: float | None
    spool_batches: int
    spool_dropped: int
    tick_ms: float


class VmOut(Body):
    id: str
    name: str
    host: str
    tenant: str
    state: VmState
    n_vcpus: int
    memory_mib: float
    exempt: bool
    priority: float
    labels: list[str] = Field(default=[], description="Those it was placed with.")
    rules: list[str] = Field(default=[], description="What must hold where it stands, in words.")
    cpus: list[int] = Field(description="Host CPUs it may run on.")
    readings: list[Reading]
    inside_loss: float | None = Field(
        default=None,
        description="Share of its work that its own profiler says it did not get done.",
    )
    flaws: list[str]
    last_seen_s: float
    worst_score: float = Field(description="Highest score with this VM as the victim.")
    worst_aggressor: str | None
    worst_aggressor_name: str | None


class PairOut(Body):
    """A directed pair: the share of its demand the victim should lose to the aggressor."""

    host: str
    victim: str
    victim_name: str
    aggressor: str = Field(description='VM id, or "host" for load outside all VMs.')
    aggressor_name: str
    resource: Resource
    score: float
    probability: float
    severity: float
    confidence: float
    window_s: float
    n_samples: int
    horizon_s: float
    at_s: float


class MitigationOut(Body):
    id: str
    host: str
    kind: ActionKind
    state: MitigationState
    target: str
    target_name: str
    victim: str
    victim_name: str
    aggressor: str
    aggressor_name: str
    resource: Resource
    change: str = Field(description='What was changed, in words: "vCPU 0 pinned to CPU 1".')
    reason: str
    created_at_s: float
    expires_at_s: float
    state_at_s: float
    state_reason: str
    loss_before: float
    predicted_loss: float
    measured_loss: float | None


class RejectionOut(Body):
    kind: ActionKind
    target: str
    target_name: str
    predicted_loss: float
    why: str


class AdviceOut(Body):
    victim: str
    aggressor: str
    resource: Resource
    score: float
    answer: str = Field(description='What would help, in words, or "no beneficial action ...".')
    change: str | None
    predicted_loss: float | None
    rejected: list[RejectionOut]


class DeviationOut(Body):
    vm: str
    resource: Resource
    predicted_loss: float
    measured_loss: float
    at_s: float


class PairDeviationOut(Body):
    """A pair whose loss has not been as predicted since `since_s`; it still stands."""

    host: str
    victim: str
    victim_name: str
    aggressor: str = Field(description='VM id, "host", or "nobody": no culprit can be named.')
    aggressor_name: str
    resource: Resource
    predicted_loss: float = Field(description="Mean since then, as the score said.")
    measured_loss: float = Field(description="Mean since then of what is put down to the pair.")
    since_s: float
    n_minutes: int
    horizon_s: float


class SuspicionOut(Body):
    """One who may have caused a loss; the parts add up to the measured loss."""

    who: str = Field(description='VM id, "host", the victim\'s own id, or empty: nobody known.')
    name: str
    attributed_loss: float
    probability: float = Field(description="That it did most of the loss.")
    loss_without: float | None = Field(description="What physics expects had it not pressed.")


class FindingOut(Body):
    """What an experiment found: a suspect was throttled a little for seconds."""

    suspect: str
    suspect_name: str
    verdict: str = Field(description="confirmed, cleared or inconclusive.")
    at_s: float
    expected_drop: float
    loss_free: float | None
    loss_throttled: float | None
    n_free: int
    n_throttled: int
    reason: str


class EvidenceOut(Body):
    """Why somebody is suspected of this VM's loss. Losses are shares of what it wants."""

    resource: Resource
    measured_loss: float
    predicted_loss: float
    witnesses: dict[str, float | None] = Field(
        description="cpu, memory, net, iops: by counters; inside: by the guest's own profiler; "
        "unexplained: what of that no counter explains. Null: it does not speak."
    )
    suspects: list[SuspicionOut]
    findings: list[FindingOut]


class WhyOut(Body):
    """Who hurts this VM, with what evidence, and what would help."""

    vm: VmOut
    summary: str = Field(description="One sentence a person can act on.")
    hurt_by: list[PairOut]
    hurts: list[PairOut]
    deviations: list[DeviationOut]
    pair_deviations: list[PairDeviationOut] = Field(
        default=[], description="With this VM as the victim or the aggressor."
    )
    advice: list[AdviceOut]
    mitigations: list[MitigationOut]
    evidence: EvidenceOut | None = None


class SeriesOut(Body):
    """A VM over time; one entry per tick in every list, null where nothing is known."""

    vm: str
    resource: Resource
    unit: str
    at_s: list[float]
    demand: list[float | None]
    usage: list[float | None]
    loss: list[float | None]
    self_limited: list[float | None]


class MapCell(Body):
    victim: int = Field(description="Index into `vms`.")
    aggressor: int = Field(description="Index into `vms`, or -1 for the host itself.")
    resource: Resource
    score: float
    confidence: float


class MapOut(Body):
    """The contention map of one host. Pairs that are not listed score below 1."""

    host: str
    at_s: float | None
    alive: bool
    vms: list[str]
    names: list[str]
    cells: list[MapCell]
    horizon_s: float = PRESENT_S
    deviations: list[PairDeviationOut] = []


class EventOut(Body):
    id: int
    at_s: float
    kind: str
    severity: str
    message: str
    host: str | None
    vm: str | None
    detail: dict[str, str | int | float | bool | None]


class StatusOut(Body):
    version: str
    mode: Mode
    started_at_s: float
    n_hosts: int
    n_hosts_alive: int
    n_vms: int
    n_pairs_above_threshold: int
    n_open_mitigations: int
    alarms: list[PairOut] = Field(description="Pairs above the threshold, worst first, at most 10.")
    problems: list[str]


class ModeOut(Body):
    mode: Mode = Field(description="Fleet default.")
    hosts: dict[str, Mode]
    tenants: dict[str, Mode]


class ModeIn(Body):
    """Set the mode of one host, one tenant, or (neither given) the fleet. Null mode: unset."""

    mode: Mode | None
    host: str | None = None
    tenant: str | None = None


class TokenIn(Body):
    role: str = Field(pattern="^(admin|agent|tenant)$")
    subject: str = Field(
        min_length=1, max_length=200, description="Host id, tenant id, or a person's name."
    )


class TokenOut(Body):
    id: str
    role: str
    subject: str
    created_at_s: float
    revoked_at_s: float | None
    token: str | None = Field(default=None, description="Shown once, at creation.")
