"""Shards and lots: what is sold of a host, under which name, from when to when.

A lot is n shards of one resource at one location for [start, end). Lots can be split, merged and
moved; what all of them together commit at an instant never changes by a split or a merge. All
amounts here are integers, so that this holds exactly, in whatever order it is added up.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, NewType
from urllib.parse import quote, unquote, urlsplit

from evenkeel.domain.errors import EvenkeelError
from evenkeel.domain.ids import HostId, TenantId
from evenkeel.domain.resources import SPECS, Resource

LotId = NewType("LotId", str)
SCHEME: Final = "shard"
MILLI: Final = 1000
MAX_SHARDS: Final = 10**8
"""More than any host has; sums of squares of thousandths of so many still fit 64 bits."""
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


class ShardInvalid(EvenkeelError):
    code = "shard_invalid"
    http_status = 422
    exit_code = 2
    default_hint = "A name reads shard://provider/region/host/resource/id."


class PerformanceClass(StrEnum):
    """What a holder can count on. Pinned: all of it, always. Shared: all of it where its demand is
    not forecast, else what it demands, but for an accepted risk. Best-effort: what is left."""

    PINNED = "pinned"
    SHARED = "shared"
    BEST_EFFORT = "best-effort"


class LotState(StrEnum):
    UPCOMING = "upcoming"
    ACTIVE = "active"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, order=True)
class Location:
    """Where a host is. `provider` and `region` are `local` on a fleet of one's own."""

    host: HostId
    region: str = "local"
    provider: str = "local"


@dataclass(frozen=True, slots=True)
class ShardName:
    """`shard://provider/region/host/resource/id`; every part is percent-encoded."""

    location: Location
    resource: Resource
    id: LotId

    def __str__(self) -> str:
        at = self.location
        parts = (at.provider, at.region, at.host, self.resource.value, self.id)
        return f"{SCHEME}://" + "/".join(quote(part, safe="") for part in parts)

    @classmethod
    def parse(cls, text: str) -> ShardName:
        """Raises ShardInvalid."""
        try:
            url = urlsplit(text)
        except ValueError as error:
            raise ShardInvalid(f"{text[:200]!r} is not a name of shards: {error}") from error
        parts = [unquote(part) for part in (url.netloc + url.path).split("/")]
        if url.scheme != SCHEME or len(parts) != 5 or url.query or url.fragment:
            raise ShardInvalid(f"{text[:200]!r} is not a name of shards")
        if not all(parts) or any(_CONTROL.search(part) for part in parts):
            raise ShardInvalid(f"a part of {text[:200]!r} is empty or holds a control character")
        provider, region, host, resource, lot = parts
        if resource not in set(Resource):
            raise ShardInvalid(
                f"{resource[:50]!r} is not a resource",
                hint=f"One of {', '.join(r.value for r in Resource)}.",
            )
        return cls(Location(HostId(host), region, provider), Resource(resource), LotId(lot))


@dataclass(frozen=True, slots=True)
class Demand:
    """What the holder of a lot wants of it, from `from_s` until the next one says otherwise.

    In thousandths of a shard (`variance`: their square). The three are sums over parts, as
    `placement.shortfall.Totals` has them, so that a lot can be split and merged again.
    """

    from_s: int
    mean: int
    variance: int
    deviation: int

    @classmethod
    def of(cls, resource: Resource, mean: float, deviation: float, from_s: int = 0) -> Demand:
        """From amounts in the resource's unit. Raises ShardInvalid for what is no distribution."""
        shard = SPECS[resource].shard
        most = MAX_SHARDS * shard
        if not (0 <= mean <= most and 0 <= deviation <= most):
            raise ShardInvalid(
                "demand has a mean and a deviation of 0 or more, in the resource's unit"
            )
        # A rounding error of a float is not another thousandth.
        milli = [math.ceil(round(x / shard * MILLI, 6)) for x in (mean, deviation)]
        return cls(from_s, milli[0], milli[1] ** 2, milli[1])

    def part(self, n: int, of: int) -> Demand:
        """What is wanted of n shards out of so many."""
        return Demand(
            self.from_s, self.mean * n // of, self.variance * n // of, self.deviation * n // of
        )

    def __add__(self, other: Demand) -> Demand:
        return Demand(
            self.from_s,
            self.mean + other.mean,
            self.variance + other.variance,
            self.deviation + other.deviation,
        )

    def __sub__(self, other: Demand) -> Demand:
        return Demand(
            self.from_s,
            self.mean - other.mean,
            self.variance - other.variance,
            self.deviation - other.deviation,
        )


@dataclass(frozen=True, slots=True)
class Lot:
    """`n_shards` for [start_s, end_s), whole UTC epoch seconds. `demand` is for shared lots, by
    `from_s`; the first one holds from the lot's start. Without it all shards count."""

    id: LotId
    location: Location
    resource: Resource
    n_shards: int
    start_s: int
    end_s: int
    performance: PerformanceClass
    owner: TenantId
    demand: tuple[Demand, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.n_shards <= MAX_SHARDS:
            raise ShardInvalid(f"a lot of {self.n_shards} shards", hint="One shard at least.")
        if self.start_s >= self.end_s:
            raise ShardInvalid(f"a lot from {self.start_s} to {self.end_s} holds for no time")

    @property
    def name(self) -> ShardName:
        return ShardName(self.location, self.resource, self.id)

    @property
    def amount(self) -> float:
        """In the resource's unit."""
        return self.n_shards * SPECS[self.resource].shard

    def state(self, now_s: float) -> LotState:
        if now_s < self.start_s:
            return LotState.UPCOMING
        return LotState.ACTIVE if now_s < self.end_s else LotState.ENDED


def split_shards(lot: Lot, n: int, new_id: LotId) -> tuple[Lot, Lot]:
    """The first keeps the id and `n` shards. Raises ShardInvalid if either would be empty."""
    if not 0 < n < lot.n_shards:
        raise ShardInvalid(f"{n} shards cannot be split from {lot.n_shards}")
    kept = tuple(step.part(n, lot.n_shards) for step in lot.demand)
    rest = tuple(step - part for step, part in zip(lot.demand, kept, strict=True))
    return (
        replace(lot, n_shards=n, demand=kept),
        replace(lot, id=new_id, n_shards=lot.n_shards - n, demand=rest),
    )


def split_time(lot: Lot, at_s: int, new_id: LotId) -> tuple[Lot, Lot]:
    """The earlier part keeps the id. Raises ShardInvalid if either would be empty."""
    if not lot.start_s < at_s < lot.end_s:
        raise ShardInvalid(f"{at_s} is not inside a lot from {lot.start_s} to {lot.end_s}")
    return replace(lot, end_s=at_s), replace(lot, id=new_id, start_s=at_s)


def merge(first: Lot, second: Lot) -> Lot:
    """One lot of two that are alike but for their shards, or that follow one another in time.

    It has the first one's id. Raises ShardInvalid when one lot cannot say the same.
    """
    if _kind(first) != _kind(second):
        raise ShardInvalid("lots of unlike resource, place, class or owner cannot be merged")
    if (first.start_s, first.end_s) == (second.start_s, second.end_s):
        if [d.from_s for d in first.demand] != [d.from_s for d in second.demand]:
            raise ShardInvalid("lots whose demand changes at other times cannot be merged")
        wanted = tuple(a + b for a, b in zip(first.demand, second.demand, strict=True))
        return replace(first, n_shards=first.n_shards + second.n_shards, demand=wanted)
    early, late = sorted((first, second), key=lambda lot: lot.start_s)
    if early.end_s == late.start_s and (first.n_shards, first.demand) == (
        second.n_shards,
        second.demand,
    ):
        return replace(first, start_s=early.start_s, end_s=late.end_s)
    raise ShardInvalid("these lots neither hold at the same time nor follow one another")


def move(lot: Lot, to: Location) -> Lot:
    """The same lot elsewhere; its name changes with its place, its id does not."""
    return replace(lot, location=to)


def _kind(lot: Lot) -> tuple[object, ...]:
    return lot.location, lot.resource, lot.performance, lot.owner
