"""Claims: lots on one or several hosts that are taken together or not at all.

A request carries a key of its owner's choosing: asked again, in whatever state of doubt, it is
answered with the claim that the first asking made.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NewType

from evenkeel.domain.errors import EvenkeelError
from evenkeel.domain.ids import HostId, TenantId, VmId
from evenkeel.domain.instants import shown
from evenkeel.domain.placement import Terms
from evenkeel.domain.resources import Resource
from evenkeel.domain.shard import Demand, Lot, PerformanceClass

ClaimId = NewType("ClaimId", str)


@dataclass(frozen=True, slots=True)
class Ask:
    """So many shards of one host's resource, in a class; `demand`: see `Lot`. With `by_forecast` it
    is filled in by what is forecast of the claim's VM."""

    host: HostId
    resource: Resource
    n_shards: int
    performance: PerformanceClass = PerformanceClass.SHARED
    demand: tuple[Demand, ...] = ()
    by_forecast: bool = False


def _numbers(demand: Demand) -> tuple[int, int, int, int]:
    """`dataclasses.astuple` copies what cannot change, at thirty times the cost."""
    return demand.from_s, demand.mean, demand.variance, demand.deviation


@dataclass(frozen=True, slots=True)
class ClaimRequest:
    """All `asks` for [start_s, end_s), whole UTC epoch seconds, or nothing. `vm` is whose
    entitlement it is to be; empty: nobody's yet. `key` is unique per owner. `said` is the digest
    of the request as it was made, where something was filled in since. `terms` of its VM, to be
    kept with what is taken; None: nothing is told of them."""

    key: str
    owner: TenantId
    vm: VmId
    start_s: int
    end_s: int
    asks: tuple[Ask, ...]
    said: str = ""
    terms: Terms | None = None

    def digest(self) -> str:
        """Tells another request under the same key from the same one asked again."""
        if self.said:
            return self.said
        said = [self.key, self.owner, self.vm, self.start_s, self.end_s, _said(self.asks)]
        return _digest(said)

    @property
    def claim(self) -> ClaimId:
        return claim_id(self.owner, self.key)

    @property
    def claims(self) -> tuple[ClaimId, ...]:
        return (self.claim,)


@lru_cache(maxsize=4096)
def claim_id(owner: TenantId, key: str) -> ClaimId:
    """The id follows from owner and key, so that a repetition can make no second claim."""
    both = f"{len(owner)}:{owner}{key}"
    return ClaimId(hashlib.sha256(both.encode()).hexdigest()[:32])


def _said(asks: tuple[Ask, ...]) -> list[list[object]]:
    return [
        [a.host, a.resource, a.n_shards, a.performance, a.by_forecast]
        + [_numbers(step) for step in a.demand]
        for a in asks
    ]


def _digest(said: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class ClaimChange:
    """From `from_s` on (None: from now on) the claim has these `asks` (None: as it has) until
    `end_s` (None: as it has). It states what is to be, so it may be repeated. With `if_version`
    it is only done to the claim in that version."""

    claim: ClaimId
    asks: tuple[Ask, ...] | None = None
    end_s: int | None = None
    from_s: int | None = None
    if_version: int | None = None

    @property
    def claims(self) -> tuple[ClaimId, ...]:
        return (self.claim,)


@dataclass(frozen=True, slots=True)
class ClaimRelease:
    """Nothing is held from now on."""

    claim: ClaimId

    @property
    def claims(self) -> tuple[ClaimId, ...]:
        return (self.claim,)


@dataclass(frozen=True, slots=True)
class ClaimSplit:
    """From `from_s` on (None: from now on) a part of `claim`, so many shards as `asks` say of what
    it has, is another claim: of `owner`, for `vm`, under `key`."""

    claim: ClaimId
    key: str
    owner: TenantId
    vm: VmId
    asks: tuple[Ask, ...]
    from_s: int | None = None

    @property
    def new_claim(self) -> ClaimId:
        return claim_id(self.owner, self.key)

    @property
    def claims(self) -> tuple[ClaimId, ...]:
        return (self.claim, self.new_claim)

    def digest(self) -> str:
        said = [self.claim, self.key, self.owner, self.vm, _said(self.asks), self.from_s]
        return _digest(said)


@dataclass(frozen=True, slots=True)
class ClaimMerge:
    """All that `other` has from now on is `claim`'s; `other` ends."""

    claim: ClaimId
    other: ClaimId

    @property
    def claims(self) -> tuple[ClaimId, ...]:
        return (self.claim, self.other)


@dataclass(frozen=True, slots=True)
class Claim:
    """What was taken. `lots` holds the past too, until it is forgotten. `version` grows with every
    change; `released_at_s` is set once it was given back."""

    id: ClaimId
    key: str
    owner: TenantId
    vm: VmId
    start_s: int
    end_s: int
    lots: tuple[Lot, ...]
    version: int
    digest: str
    created_at_s: float
    released_at_s: int | None = None
    n_lots_made: int = 0


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Where a claim did not fit: in [slot_start_s, slot_end_s) of that host's resource `free`
    shards were left for it, of `asked`. `fits` of them would fit for the whole interval, and all
    of them from `from_s` on (None: not within what may be reserved)."""

    host: HostId
    resource: Resource
    slot_start_s: int
    slot_end_s: int
    asked: int
    free: int
    fits: int
    from_s: int | None = None


class ClaimRefused(EvenkeelError):
    """A claim was not taken, and nothing of it was. `obstacle` says where it did not fit."""

    code = "claim_refused"
    http_status = 409
    exit_code = 5

    def __init__(
        self, message: str, *, hint: str | None = None, obstacle: Obstacle | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.obstacle = obstacle


class CapacityShort(ClaimRefused):
    code = "capacity_short"


class HostUnknown(ClaimRefused):
    code = "host_unknown"
    http_status = 404
    default_hint = "`evenkeel hosts` lists those that ever reported."


class CapacityUnknown(ClaimRefused):
    code = "capacity_unknown"
    default_hint = "Tell the agent the host's capacity: `agent.net_mbit_s`, `agent.iops`."


class KeyReused(ClaimRefused):
    code = "key_reused"
    default_hint = (
        "A key names one request for ever: take another key for another claim. "
        "To repeat one, say its start and end as dates: 'now' is another time each time."
    )


class ClaimEnded(ClaimRefused):
    code = "claim_ended"
    default_hint = "It was released or has run out: make a new claim."


class ClaimChanged(ClaimRefused):
    code = "claim_changed"
    default_hint = "Look at it again and repeat the change with its present version."


class ClaimContended(ClaimRefused):
    code = "claim_contended"
    http_status = 503
    default_hint = "Other controllers were quicker several times: try again."


class ClaimInvalid(ClaimRefused):
    code = "claim_invalid"
    http_status = 422
    exit_code = 2
    default_hint = "`evenkeel claim --help` tells what may be asked for."


def capacity_short(obstacle: Obstacle, unit: str) -> CapacityShort:
    """The refusal in words; `unit` as in "shards of 0.05 cores"."""
    o = obstacle
    later = "" if o.from_s is None else f" All of it fits from {shown(o.from_s)} UTC on."
    return CapacityShort(
        f"host {o.host} has {o.free} of {o.asked} {unit} of {o.resource.value} left "
        f"from {shown(o.slot_start_s)} to {shown(o.slot_end_s)} UTC",
        hint=(f"{o.fits} would fit there for all of the time." if o.fits else "Try another host.")
        + later,
        obstacle=obstacle,
    )
