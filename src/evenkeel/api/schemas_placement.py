"""What is asked and answered about placements."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from evenkeel.api.schemas import Body
from evenkeel.domain.placement import Relation, Scope
from evenkeel.domain.resources import Resource
from evenkeel.domain.shard import PerformanceClass


class RuleIn(Body):
    """Must share a host (or a fault domain) with one of a group of VMs, or must not."""

    relation: Relation
    scope: Scope = Scope.HOST
    label: str = Field("", max_length=100, description="VMs with this label; empty: all.")
    tenant: str | None = Field(None, description="Whose VMs; null: the VM's own tenant's.")


class NewcomerIn(Body):
    """A VM that needs a host. What is not told that it wants is what `like` is forecast to want;
    else all it may of CPU and memory, and nothing of network and disk."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    vm: str = Field(min_length=1, max_length=100, description="Its UUID or name.")
    vcpus: int | None = Field(None, ge=1, description="Null: as many as `like` has.")
    memory_mib: float | None = Field(None, gt=0)
    like: str | None = Field(None, description="A VM (id or name) whose forecast it has.")
    wants: dict[Resource, float] = Field(
        {}, description="Mean demand: cores, MiB, Mbit/s, requests/s."
    )
    deviation: dict[Resource, float] = Field(
        {}, description="Standard deviation of it; else half of what it wants, a tenth of memory."
    )
    tenant: str | None = None
    labels: list[str] = Field([], max_length=20)
    performance: PerformanceClass = PerformanceClass.SHARED
    rules: list[RuleIn] = Field([], max_length=20)
    alone: bool = Field(False, description="No VM of another tenant may be on its host.")
    only: list[str] = Field([], max_length=10_000, description="Hosts; empty: any.")
    never: list[str] = Field([], max_length=10_000, description="Hosts that are ruled out.")


class PlacementsIn(Body):
    vms: list[NewcomerIn] = Field(min_length=1, max_length=1000)
    start_s: int | None = Field(None, description="UTC epoch seconds; null: now.")
    end_s: int | None = Field(None, description="Null: a day after the start; extend the claim.")
    all_or_nothing: bool = False
    dry_run: bool = Field(False, description="Decide and explain; take nothing.")
    precise: bool = Field(
        False, description="Ask the contention model itself about the finalists (some 10 ms)."
    )


class OptionOut(Body):
    host: str
    cell: int = Field(description="The NUMA cell; -1: spread over all of the host's.")
    cpus: list[int] = Field(description="Cores it may run on; empty: not known.")
    contention_pct: float = Field(
        description="Work that all there are expected to lose more, in percent of a host."
    )
    free: float = Field(description="What is then left of the host, 0 to 1.")


class ReasonOut(Body):
    code: str
    text: str
    n_hosts: int
    examples: list[str]


class OutcomeOut(Body):
    """One VM: placed, with the chosen host first among `options`; or refused with a code."""

    vm: str
    placed: bool
    host: str | None = None
    claim: str | None = Field(default=None, description="What was reserved; null in a dry run.")
    why: str
    code: str | None = None
    hint: str | None = None
    n_fit: int = 0
    n_hosts: int = 0
    options: tuple[OptionOut, ...] = ()
    reasons: tuple[ReasonOut, ...] = ()


class PlacementsOut(Body):
    start_s: int
    end_s: int
    dry_run: bool
    n_placed: int
    n_refused: int
    outcomes: list[OutcomeOut]
