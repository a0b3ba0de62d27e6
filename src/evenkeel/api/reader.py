"""What a reader of the fleet may ask: the one read interface behind REST routes and the page.

Every method takes the principal and shows only what that principal may see; asking for somebody
else's VM raises NotFound, as if it did not exist.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from evenkeel.api.reliability import RELIABILITY_HOURS, ReliabilityOut
from evenkeel.api.schemas import (
    EventOut,
    HostOut,
    MapOut,
    MitigationOut,
    ModeOut,
    Page,
    PairOut,
    SeriesOut,
    StatusOut,
    VmOut,
    WhyOut,
)
from evenkeel.api.schemas_forecast import ForecastOut, ProfileOut
from evenkeel.domain.resources import Resource
from evenkeel.domain.score import PRESENT_S

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000


class Role(StrEnum):
    ADMIN = "admin"
    AGENT = "agent"
    TENANT = "tenant"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: `subject` is a host id for agents, a tenant id for tenants."""

    role: Role
    subject: str
    token_id: str


class FleetReader(Protocol):
    """All methods raise NotFound for what is not there or not theirs, StoreUnavailable."""

    def status(self, who: Principal) -> StatusOut: ...

    def hosts(
        self, who: Principal, cursor: str | None = None, limit: int = DEFAULT_LIMIT
    ) -> Page[HostOut]: ...

    def host(self, who: Principal, host: str) -> HostOut: ...

    def vms(
        self,
        who: Principal,
        host: str | None = None,
        cursor: str | None = None,
        limit: int = DEFAULT_LIMIT,
    ) -> Page[VmOut]: ...

    def vm(self, who: Principal, vm: str) -> VmOut:
        """By id, or by name where exactly one visible VM has it."""
        ...

    def series(
        self,
        who: Principal,
        vm: str,
        resource: Resource,
        since_s: float,
        until_s: float,
        max_points: int = 720,
    ) -> SeriesOut: ...

    def why(self, who: Principal, vm: str) -> WhyOut: ...

    def forecast(self, who: Principal, vm: str, resource: Resource | None = None) -> ForecastOut:
        """Of all resources, or of one. Raises ForecastUnavailable too."""
        ...

    def profile(self, who: Principal, vm: str) -> ProfileOut:
        """Raises ForecastUnavailable too."""
        ...

    def contention_map(self, who: Principal, host: str, horizon_s: float = PRESENT_S) -> MapOut: ...

    def pairs(
        self,
        who: Principal,
        host: str | None = None,
        min_score: float = 1.0,
        cursor: str | None = None,
        limit: int = DEFAULT_LIMIT,
        horizon_s: float = PRESENT_S,
    ) -> Page[PairOut]:
        """Worst first."""
        ...

    def reliability(
        self,
        who: Principal,
        host: str | None = None,
        resource: Resource | None = None,
        horizon_s: float | None = None,
        hours: float = RELIABILITY_HOURS,
    ) -> ReliabilityOut:
        """Operators' only: the counts of a host are made of all its VMs. Raises Forbidden too."""
        ...

    def mitigations(
        self,
        who: Principal,
        host: str | None = None,
        vm: str | None = None,
        open_only: bool = False,
        cursor: str | None = None,
        limit: int = DEFAULT_LIMIT,
    ) -> Page[MitigationOut]:
        """Newest first."""
        ...

    def events(
        self,
        who: Principal,
        host: str | None = None,
        vm: str | None = None,
        cursor: str | None = None,
        limit: int = DEFAULT_LIMIT,
    ) -> Page[EventOut]:
        """Newest first."""
        ...

    def mode(self, who: Principal) -> ModeOut: ...
