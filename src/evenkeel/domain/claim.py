"""Claims: lots on one or several hosts that are taken together or not at all.

A request carries a key of its owner's choosing: asked again, in whatever state of doubt, it is
answered with the claim that the first asking made.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Final, NewType

from evenkeel.domain.errors import EvenkeelError
from evenkeel.domain.ids import HostId, TenantId, VmId
from evenkeel.domain.resources import Resource
from evenkeel.domain.shard import MAX_SHARDS, Demand, Lot, PerformanceClass

ClaimId = NewType("ClaimId", str)
MAX_ASKS: Final = 256
MAX_NAME: Final = 200
MAX_TIME_S: Final = 2**40
LATE_S: Final = 60
"""A start that lies so far back is taken as meant for now: clocks differ, networks delay."""


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
    of the request as it was made, where something was filled in since."""

    key: str
    owner: TenantId
    vm: VmId
    start_s: int
    end_s: int
    asks: tuple[Ask, ...]
    said: str = ""

    def digest(self) -> str:
        """Tells another request under the same key from the same one asked again."""
        if self.said:
            return self.said
        asks = [
            [a.host, a.resource, a.n_shards, a.performance, a.by_forecast]
            + [_numbers(step) for step in a.demand]
            for a in self.asks
        ]
        said = json.dumps([self.key, self.owner, self.vm, self.start_s, self.end_s, asks])
        return hashlib.sha256(said.encode()).hexdigest()

    @property
    def claim(self) -> ClaimId:
        """The id follows from owner and key, so that a repetition can make no second claim."""
        both = f"{len(self.owner)}:{self.owner}{self.key}"
        return ClaimId(hashlib.sha256(both.encode()).hexdigest()[:32])


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


@dataclass(frozen=True, slots=True)
class ClaimRelease:
    """Nothing is held from now on."""

    claim: ClaimId


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
    default_hint = "A key names one request for ever: take another key for another claim."


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
    later = "" if o.from_s is None else f" All of it fits from {o.from_s} on."
    return CapacityShort(
        f"host {o.host} has {o.free} of {o.asked} {unit} of {o.resource.value} left "
        f"from {o.slot_start_s} to {o.slot_end_s}",
        hint=(f"{o.fits} would fit there for all of the time." if o.fits else "Try another host.")
        + later,
        obstacle=obstacle,
    )


def check_request(request: ClaimRequest) -> None:
    """Raises ClaimInvalid for what makes no sense at any time; `check_interval` has the rest."""
    for what, name in (("key", request.key), ("owner", request.owner)):
        if not name:
            raise ClaimInvalid(f"the claim has no {what}")
    for what, name in (("key", request.key), ("owner", request.owner), ("vm", request.vm)):
        _check_name(what, name)
    _check_times(request.start_s, request.end_s)
    check_asks(request.asks)
    if not request.vm and any(ask.by_forecast for ask in request.asks):
        raise ClaimInvalid(
            "an ask counts by forecast, and the claim names no VM",
            hint="Say for which VM it is, or tell its demand.",
        )


def _check_name(what: str, name: str) -> None:
    if len(name) > MAX_NAME or not name.isprintable():
        raise ClaimInvalid(f"the {what} is longer than {MAX_NAME} or not printable")


def _check_times(*times: int) -> None:
    if any(type(at) is not int or not 0 <= at < MAX_TIME_S for at in times):
        raise ClaimInvalid("start and end are whole UTC epoch seconds")


def check_interval(start_s: int, end_s: int, now_s: float, max_span_s: int) -> None:
    """Raises ClaimInvalid."""
    _check_times(start_s, end_s)
    if start_s >= end_s:
        raise ClaimInvalid(
            f"the claim ends at {end_s}, not after its start at {start_s}",
            hint="An interval holds its start and not its end.",
        )
    if start_s < now_s - LATE_S:
        raise ClaimInvalid(
            f"the claim starts {now_s - start_s:.0f} s ago",
            hint=f"What is past cannot be reserved: start at {int(now_s)} or later.",
        )
    if end_s <= now_s:
        raise ClaimInvalid(f"the claim has ended at {end_s}", hint="Let it end in the future.")
    if end_s - now_s > max_span_s:
        raise ClaimInvalid(
            f"the claim ends {(end_s - now_s) / 86_400:.0f} days from now",
            hint=f"At most {max_span_s // 86_400} days ahead can be reserved: extend it later.",
        )


def check_asks(asks: tuple[Ask, ...]) -> None:
    """Raises ClaimInvalid."""
    if not 0 < len(asks) <= MAX_ASKS:
        raise ClaimInvalid(f"a claim asks for 1 to {MAX_ASKS} things, not {len(asks)}")
    seen = set()
    for ask in asks:
        if type(ask.n_shards) is not int:
            raise ClaimInvalid(
                f"{ask.n_shards!r} shards of {ask.resource.value}", hint="Shards are whole."
            )
        if not 0 < ask.n_shards <= MAX_SHARDS:
            raise ClaimInvalid(
                f"{ask.n_shards} shards of {ask.resource.value}",
                hint="At least one shard; to give all of it back, release the claim.",
            )
        if not ask.host:
            raise ClaimInvalid("an ask names no host")
        _check_name("host", ask.host)
        if ask.demand and ask.performance is not PerformanceClass.SHARED:
            raise ClaimInvalid(
                f"demand is told for {ask.performance.value} shards",
                hint="Only shared ones are committed by demand.",
            )
        if ask.by_forecast and (ask.demand or ask.performance is not PerformanceClass.SHARED):
            raise ClaimInvalid(
                "an ask counts by forecast, and its demand is told or it is not shared",
                hint="Say one of the two, and only of shared ones.",
            )
        froms = [step.from_s for step in ask.demand]
        if froms != sorted(set(froms)):
            raise ClaimInvalid("the times of an ask's demand do not grow")
        what = (ask.host, ask.resource, ask.performance)
        if what in seen:
            raise ClaimInvalid(
                f"{ask.resource.value} of {ask.host} is asked for twice", hint="Ask for the sum."
            )
        seen.add(what)
