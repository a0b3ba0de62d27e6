"""The controller's database, as Protocols: what the services ask of it. adapters/store has it.

Every method raises StoreUnavailable when the database does not serve, and nothing else. Where
`tenant` is given, only what belongs to that tenant's VMs is answered; None means everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from evenkeel.domain.events import Event
from evenkeel.domain.host import Mode
from evenkeel.domain.ids import HostId, MitigationId, TenantId, VmId
from evenkeel.domain.plan import Mitigation
from evenkeel.domain.reliability import BinSums
from evenkeel.domain.resources import Resource
from evenkeel.domain.score import PRESENT_S, Deviation, PairScore
from evenkeel.ports_claims import ClaimStore, TermsStore
from evenkeel.records import (
    BatchSource,
    Claim,
    DeviationRecord,
    EventRecord,
    FleetSummary,
    HostRecord,
    HostSummary,
    Maintenance,
    MitigationRecord,
    ModeSettings,
    PairRecord,
    PairsPassed,
    RosterTicks,
    TokenRecord,
    VmRecord,
    VmSeries,
)
from evenkeel.wire import TickBody


class InventoryStore(Protocol):
    """Current state: hosts, the VMs on them, and the pairs that score."""

    def host(self, host_id: HostId) -> HostRecord | None: ...

    def hosts(self, after: str = "", limit: int = 100) -> list[HostRecord]:
        """By id, those beyond `after`."""
        ...

    def hosts_by_id(self, hosts: Iterable[HostId]) -> dict[HostId, HostRecord]: ...

    def host_summaries(self, hosts: Iterable[HostId]) -> dict[HostId, HostSummary]: ...

    def put_host(self, record: HostRecord) -> None: ...

    def vms_by_id(self, vms: Iterable[VmId]) -> dict[VmId, VmRecord]:
        """VMs that left the fleet too."""
        ...

    def vms_named(self, name: str, tenant: TenantId | None) -> list[VmRecord]:
        """Present ones; two at most, which is enough to see that a name is not unique."""
        ...

    def vms(
        self,
        host: HostId | None,
        tenant: TenantId | None,
        after: tuple[str, str] = ("", ""),
        limit: int = 100,
    ) -> list[VmRecord]:
        """Present ones by (name, id), those beyond `after`."""
        ...

    def put_vms(self, records: Sequence[VmRecord]) -> None: ...

    def claims(self, vms: Iterable[VmId]) -> list[Claim]: ...

    def claims_of(self, host: HostId) -> list[Claim]: ...

    def replace_claims(self, host: HostId, running: dict[VmId, bool]) -> None:
        """The host has these VMs now, and no others."""
        ...

    def pairs(
        self,
        host: HostId | None = None,
        victims: Sequence[VmId] | None = None,
        aggressors: Sequence[VmId] | None = None,
        tenant: TenantId | None = None,
        min_score: float = 0.0,
        alive_since_s: float | None = None,
        after: PairsPassed | None = None,
        limit: int = 100,
        horizon_s: float = PRESENT_S,
    ) -> list[PairRecord]:
        """Worst first, told by the host where the victim is now. A tenant's: either side is its.

        `alive_since_s` leaves out hosts not heard from since then.
        """
        ...

    def replace_pairs(self, host: HostId, scores: Sequence[PairScore], at_s: float) -> None: ...

    def summary(
        self, tenant: TenantId | None, alive_since_s: float, alarm_score: float
    ) -> FleetSummary: ...

    def troubled_hosts(self, alive_since_s: float, limit: int) -> list[tuple[HostId, float, str]]:
        """(host, last_seen_s, problem) of those that are silent or have a problem, by id."""
        ...


class HistoryStore(Protocol):
    """What each batch measured, kept for a while; and for ever, which batches there were."""

    def knows(self, source: BatchSource) -> bool:
        """The batch was stored, even if its history is pruned by now."""
        ...

    def add(
        self,
        source: BatchSource,
        received_at_s: float,
        tick: TickBody | None,
        deviations: Sequence[Deviation],
    ) -> None: ...

    def series(self, vm: VmId, since_s: float, until_s: float) -> VmSeries: ...

    def deviations(self, vm: VmId, limit: int) -> list[DeviationRecord]:
        """Newest first."""
        ...

    def arrivals(self, since_s: float, slot_s: int) -> dict[int, float]:
        """Slots with ticks that were received since then: start of slot -> newest receipt."""
        ...

    def ticks(
        self, since_s: float, until_s: float, after: int = 0, limit: int = 200
    ) -> list[RosterTicks]:
        """Ticks taken in [since_s, until_s), of `limit` rosters with ids beyond `after`, by id.

        A roster without such ticks comes along empty, so that the list is short only at the end.
        """
        ...

    def prune(self, before_s: float, limit: int) -> int:
        """Forget at most `limit` batches received before then; how many went. Retry: yes."""
        ...


class ReliabilityStore(Protocol):
    """What was predicted and what came, added up by hour: of each host, and of the fleet."""

    def add(
        self,
        host: HostId,
        hour_s: int,
        resource: Resource,
        horizon_s: float,
        sums: Mapping[int, BinSums],
    ) -> None:
        """Add to the hour that starts then, for the host and the fleet. Retry: no, it adds twice.

        Whoever calls it sees to it that each report is added once.
        """
        ...

    def sums(
        self,
        since_s: float,
        host: HostId | None = None,
        resource: Resource | None = None,
        horizon_s: float | None = None,
    ) -> dict[tuple[float, Resource], dict[int, BinSums]]:
        """Of the hours that end after `since_s`: by horizon and resource, by bin."""
        ...

    def prune(self, before_s: float) -> int:
        """Forget hours that ended before then; how many rows went. Retry: yes."""
        ...


class ChronicleStore(Protocol):
    """What was done and what happened. Never deleted."""

    def mitigations_by_id(
        self, host: HostId, ids: Iterable[MitigationId]
    ) -> dict[MitigationId, MitigationRecord]: ...

    def put_mitigations(self, records: Sequence[MitigationRecord]) -> None: ...

    def mitigations(
        self,
        host: HostId | None = None,
        vm: VmId | None = None,
        tenant: TenantId | None = None,
        open_only: bool = False,
        before: tuple[float, str, str] | None = None,
        limit: int = 100,
    ) -> list[Mitigation]:
        """Newest first, those before (created_at_s, host, id). A VM's: in any role."""
        ...

    def abandoned(self, targets: Iterable[VmId]) -> list[Mitigation]:
        """What was left undone on these VMs because they were gone, on whatever host."""
        ...

    def add_events(self, events: Sequence[Event], source: BatchSource | None = None) -> None:
        """Append. With a source, the same event of the same batch is kept once. Retry: then."""
        ...

    def events(
        self,
        host: HostId | None = None,
        vm: VmId | None = None,
        tenant: TenantId | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[EventRecord]:
        """Newest first, those with a smaller id than `before`."""
        ...


class AccessStore(Protocol):
    """Tokens (hashes only) and the operator's modes."""

    def token_by_hash(self, sha256: str) -> TokenRecord | None: ...

    def token_by_id(self, token_id: str) -> TokenRecord | None: ...

    def tokens(self, after: tuple[float, str] = (0.0, ""), limit: int = 100) -> list[TokenRecord]:
        """Oldest first, those beyond (created_at_s, id); revoked ones too."""
        ...

    def add_token(self, record: TokenRecord, sha256: str) -> None: ...

    def revoke_token(self, token_id: str, at_s: float) -> None: ...

    def n_valid_tokens(self, role: str) -> int: ...

    def modes(self) -> ModeSettings: ...

    def maintenance(self) -> dict[HostId, Maintenance]:
        """Hosts on which nothing new is placed."""
        ...

    def put_maintenance(self, host: HostId, value: Maintenance | None) -> None:
        """None: it is over. Retry: yes."""
        ...

    def put_mode(self, scope: str, name: str, value: Mode | None) -> None:
        """Scope is fleet, host or tenant; None unsets. The version of the settings grows."""
        ...


class Session(Protocol):
    """One transaction."""

    @property
    def inventory(self) -> InventoryStore: ...

    @property
    def history(self) -> HistoryStore: ...

    @property
    def reliability(self) -> ReliabilityStore: ...

    @property
    def chronicle(self) -> ChronicleStore: ...

    @property
    def access(self) -> AccessStore: ...

    @property
    def claims(self) -> ClaimStore: ...

    @property
    def terms(self) -> TermsStore: ...

    def savepoint(self) -> AbstractContextManager[object]:
        """An exception undoes what was done inside, and only that."""
        ...


class Store(Protocol):
    """The controller's database. Thread-safe."""

    def read(self) -> AbstractContextManager[Session]:
        """A consistent view. Raises StoreUnavailable."""
        ...

    def write(self) -> AbstractContextManager[Session]:
        """The only writer until the block ends; durable when it ended, undone if it raised.

        Raises StoreUnavailable, also at the end of the block: then nothing was stored.
        """
        ...

    def close(self) -> None: ...
