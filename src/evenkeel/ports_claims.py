"""Claims, lots and VMs' terms in the controller's database, as Protocols; adapters/store has it.

Every method raises StoreUnavailable when the database does not serve, and nothing else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

from evenkeel.domain.claim import Claim, ClaimId
from evenkeel.domain.ids import HostId, TenantId, VmId
from evenkeel.domain.placement import Terms
from evenkeel.domain.shard import Lot, LotId


class ClaimStore(Protocol):
    """What is reserved. Whoever changes a host's lots advances its generation with it."""

    def claims_by_id(self, claims: Iterable[ClaimId], lots_since_s: int) -> dict[ClaimId, Claim]:
        """With those of their lots that end after `lots_since_s`, by start, host, resource and
        number."""
        ...

    def claims(
        self,
        lots_since_s: int,
        owner: TenantId | None = None,
        vm: VmId | None = None,
        host: HostId | None = None,
        after: str = "",
        limit: int = 100,
    ) -> list[Claim]:
        """By id, those beyond `after` that end after `lots_since_s`, with their lots since then.

        A host's: those with such a lot on it.
        """
        ...

    def lots_of(self, hosts: Collection[HostId], since_s: int) -> dict[HostId, list[Lot]]:
        """Of each of these hosts the lots that end after `since_s`."""
        ...

    def generations(self, hosts: Collection[HostId]) -> dict[HostId, int]:
        """How often each one's lots were changed; 0: never."""
        ...

    def advance(self, expected: Mapping[HostId, int]) -> bool:
        """Compare and swap: every host to its next generation, if all are in the expected one.

        False: at least one is not, and the transaction has to be given up. No hosts: always True.
        """
        ...

    def add(self, claims: Sequence[Claim]) -> None:
        """New ones with their lots."""
        ...

    def change(self, claims: Sequence[Claim], gone: Collection[LotId]) -> None:
        """What was known of these claims is replaced. Their lots are put, those `gone` removed,
        and others left alone."""
        ...

    def forget(self, before_s: int, limit: int) -> int:
        """At most `limit` lots and claims that ended before then; how many went. Retry: yes."""
        ...


class TermsStore(Protocol):
    """On what VMs were placed, under the id or name by which they were. Plain terms are none."""

    def put(self, terms: Mapping[VmId, Terms], at_s: float) -> None:
        """What was known of these VMs is replaced. Retry: yes."""
        ...

    def of(self, vms: Iterable[VmId]) -> dict[VmId, Terms]: ...

    def all(self, after: str = "", limit: int = 1000) -> dict[VmId, Terms]:
        """By VM, those beyond `after`."""
        ...

    def forget(self, before_s: float, limit: int) -> int:
        """At most `limit` that were put before then, of VMs that are not in the fleet and have no
        claim that ends after then; how many went. Retry: yes."""
        ...
