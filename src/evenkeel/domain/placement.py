"""A VM that needs a host: what it wants, who it may stand beside, and what was decided.

Asked of the controller (`POST /v1/placements`), decided by `placement.allocate`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from evenkeel.domain.errors import EvenkeelError
from evenkeel.domain.ids import NO_TENANT, HostId, TenantId, VmId
from evenkeel.domain.resources import AXIS, CPU_AXIS, N_RESOURCES
from evenkeel.domain.shard import PerformanceClass
from evenkeel.domain.vm import Vm

MOST_VCPUS: Final = 4096


class PlacementInvalid(EvenkeelError):
    """The request makes no sense, whatever the fleet."""

    code = "placement_invalid"
    http_status = 422
    exit_code = 2


class AffinityContradicts(PlacementInvalid):
    code = "affinity_contradicts"
    default_hint = "No host can satisfy both rules: drop one of them."


class LargerThanAnyHost(PlacementInvalid):
    code = "larger_than_any_host"
    http_status = 409


class NoHostFits(EvenkeelError):
    code = "no_host_fits"
    http_status = 409


class Relation(StrEnum):
    TOGETHER = "together"
    APART = "apart"


class Scope(StrEnum):
    HOST = "host"
    FAULT_DOMAIN = "fault_domain"


@dataclass(frozen=True, slots=True)
class Group:
    """VMs of a tenant that carry a label; all of the tenant's where there is no label."""

    tenant: TenantId
    label: str = ""

    def __str__(self) -> str:
        return f"label {self.label!r} of {self.tenant}" if self.label else f"tenant {self.tenant}"


@dataclass(frozen=True, slots=True)
class Rule:
    """Must share a host (or a fault domain) with one of a group; or must not."""

    relation: Relation
    group: Group
    scope: Scope = Scope.HOST

    def __str__(self) -> str:
        where = "on a host" if self.scope is Scope.HOST else "in a fault domain"
        beside = "with" if self.relation is Relation.TOGETHER else "without"
        return f"{where} {beside} {self.group}"


@dataclass(frozen=True, slots=True)
class Terms:
    """On what a VM was placed: they hold as long as it is there, whoever asks for a host.

    `alone`: no VM of another tenant may be on its host. `only` (where not empty) and `never`:
    hosts.
    """

    tenant: TenantId = NO_TENANT
    labels: frozenset[str] = frozenset()
    rules: tuple[Rule, ...] = ()
    alone: bool = False
    only: frozenset[HostId] = frozenset()
    never: frozenset[HostId] = frozenset()

    @property
    def is_plain(self) -> bool:
        """Whether there is nothing to remember."""
        return not (self.labels or self.rules or self.alone or self.only or self.never)

    def groups(self) -> tuple[Group, ...]:
        """All that a VM on these terms belongs to."""
        return (Group(self.tenant), *(Group(self.tenant, label) for label in sorted(self.labels)))

    def said(self, to: TenantId | None = None) -> list[str]:
        """What is to hold, in words; a tenant is told neither of others nor of hosts."""
        out = [str(rule) for rule in self.rules if to in (None, rule.group.tenant)]
        if to is not None:
            return out
        out += ["on a host without VMs of other tenants"] if self.alone else []
        out += [f"on one of {', '.join(sorted(self.only))}"] if self.only else []
        return out + ([f"not on {', '.join(sorted(self.never))}"] if self.never else [])


def terms_of(vm: Vm, placed: Mapping[VmId, Terms]) -> Terms:
    """On what a VM of the fleet stands, by the id or name under which it was placed; a name is its
    only within its tenant."""
    found = placed.get(vm.id)
    if found is None:
        found = placed.get(VmId(vm.name))
        found = found if found is not None and found.tenant == vm.tenant else None
    return found or Terms(vm.tenant)


@dataclass(frozen=True, slots=True)
class Newcomer:
    """One VM to be placed.

    `mean` and `deviation` (R,): of its demand from slot to slot; the others: see `Terms`.
    """

    vm: VmId
    n_vcpus: int
    memory_mib: float
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    tenant: TenantId = NO_TENANT
    labels: frozenset[str] = frozenset()
    performance: PerformanceClass = PerformanceClass.SHARED
    rules: tuple[Rule, ...] = ()
    alone: bool = False
    only: frozenset[HostId] = frozenset()
    never: frozenset[HostId] = frozenset()

    @property
    def terms(self) -> Terms:
        return Terms(self.tenant, self.labels, self.rules, self.alone, self.only, self.never)

    def on(self, terms: Terms) -> Newcomer:
        """The same on other terms."""
        return replace(
            self,
            tenant=terms.tenant,
            labels=terms.labels,
            rules=terms.rules,
            alone=terms.alone,
            only=terms.only,
            never=terms.never,
        )

    def groups(self) -> tuple[Group, ...]:
        """All that it belongs to."""
        return (Group(self.tenant), *(Group(self.tenant, label) for label in sorted(self.labels)))


def checked(newcomer: Newcomer) -> Newcomer:
    """The same. Raises PlacementInvalid, AffinityContradicts."""
    who = f"VM {newcomer.vm!r}"
    if not newcomer.vm:
        raise PlacementInvalid("a VM has a name", hint="Send `vm`, its UUID or name.")
    if not 1 <= newcomer.n_vcpus <= MOST_VCPUS:
        raise PlacementInvalid(f"{who}: vcpus is {newcomer.n_vcpus}, not 1 to {MOST_VCPUS}")
    if not 0 < newcomer.memory_mib < math.inf:
        raise PlacementInvalid(f"{who}: memory_mib is {newcomer.memory_mib:g}, not above 0")
    for name, values in (("wants", newcomer.mean), ("deviation", newcomer.deviation)):
        if len(values) != N_RESOURCES:
            raise PlacementInvalid(f"{who}: {name} has {len(values)} values, not {N_RESOURCES}")
        for resource, value in zip(AXIS, values, strict=True):
            if not 0 <= value < math.inf:
                raise PlacementInvalid(f"{who}: {name}.{resource} is {value:g}, not 0 or more")
    if newcomer.mean[CPU_AXIS] > newcomer.n_vcpus:
        raise PlacementInvalid(
            f"{who}: it wants {newcomer.mean[CPU_AXIS]:g} cores and has {newcomer.n_vcpus} vCPUs",
            hint="Give it more vCPUs, or let it want less.",
        )
    both = newcomer.only & newcomer.never
    if both:
        raise AffinityContradicts(f"{who}: host {min(both)!r} is both demanded and ruled out")
    _check_rules(who, newcomer)
    return newcomer


def _check_rules(who: str, newcomer: Newcomer) -> None:
    for rule in newcomer.rules:
        if rule.relation is Relation.APART:
            continue
        if newcomer.alone and rule.scope is Scope.HOST and rule.group.tenant != newcomer.tenant:
            raise AffinityContradicts(f"{who}: it must be {rule}, and alone with its own tenant")
        for other in newcomer.rules:
            if other.relation is not Relation.APART or not _covers(other.group, rule.group):
                continue
            # Apart in the whole fault domain is apart on each of its hosts.
            if other.scope is rule.scope or other.scope is Scope.FAULT_DOMAIN:
                raise AffinityContradicts(f"{who}: it must be {rule}, and {other}")


def _covers(group: Group, other: Group) -> bool:
    """Whoever is in `other` is in `group`."""
    return group.tenant == other.tenant and group.label in ("", other.label)


@dataclass(frozen=True, slots=True)
class Reason:
    """Why some hosts do not take a VM. `examples`: a few of them."""

    code: str
    text: str
    n_hosts: int
    examples: tuple[HostId, ...]


@dataclass(frozen=True, slots=True)
class Option:
    """A host that takes the VM. `contention`: work that all on it together are expected to lose
    more, in parts of what the host has; `cell` -1: spread over all its NUMA cells; `cpus`: the
    cores it may run on, empty where they are not known."""

    host: HostId
    cell: int
    cpus: tuple[int, ...]
    contention: float
    free: float


@dataclass(frozen=True, slots=True)
class Placed:
    """`options`: the best hosts, the chosen one first. `claim`: the id of what was reserved."""

    vm: VmId
    options: tuple[Option, ...]
    n_fit: int
    n_hosts: int
    why: str
    claim: str = ""

    @property
    def chosen(self) -> Option:
        return self.options[0]


@dataclass(frozen=True, slots=True)
class Refused:
    """`code` is stable; `reasons` cover all hosts, the most frequent first."""

    vm: VmId
    code: str
    message: str
    hint: str
    reasons: tuple[Reason, ...] = ()


Outcome = Placed | Refused


def not_twice(newcomers: Sequence[Newcomer]) -> None:
    """Raises PlacementInvalid when a VM is asked for more than once."""
    seen: set[VmId] = set()
    for newcomer in newcomers:
        if newcomer.vm in seen:
            raise PlacementInvalid(f"VM {newcomer.vm!r} is asked for twice")
        seen.add(newcomer.vm)
