"""What makes no sense in a claim, whatever the fleet: refused before anything is looked at."""

from __future__ import annotations

from typing import Final

from evenkeel.domain.claim import Ask, ClaimInvalid, ClaimRequest, ClaimSplit
from evenkeel.domain.instants import shown
from evenkeel.domain.resources import Resource
from evenkeel.domain.shard import MAX_SHARDS, PerformanceClass

MAX_ASKS: Final = 256
MAX_NAME: Final = 200
MAX_TIME_S: Final = 2**40
LATE_S: Final = 60
"""A start that lies so far back is taken as meant for now: clocks differ, networks delay."""


def check_request(request: ClaimRequest) -> None:
    """Raises ClaimInvalid for what makes no sense at any time; `check_interval` has the rest."""
    _check_names(request)
    _check_times(request.start_s, request.end_s)
    check_asks(request.asks)
    if not request.vm and any(ask.by_forecast for ask in request.asks):
        raise ClaimInvalid(
            "an ask counts by forecast, and the claim names no VM",
            hint="Say for which VM it is, or tell its demand.",
        )


def check_split(split: ClaimSplit) -> None:
    """Raises ClaimInvalid, likewise."""
    _check_names(split)
    if split.from_s is not None:
        _check_times(split.from_s)
    check_asks(split.asks)
    if any(ask.demand or ask.by_forecast for ask in split.asks):
        raise ClaimInvalid(
            "a split tells what is wanted of the shards", hint="They keep the demand that they had."
        )


def _check_names(request: ClaimRequest | ClaimSplit) -> None:
    for what, name in (("key", request.key), ("owner", request.owner)):
        if not name:
            raise ClaimInvalid(f"the claim has no {what}")
    for what, name in (("key", request.key), ("owner", request.owner), ("vm", request.vm)):
        _check_name(what, name)


def _check_name(what: str, name: str) -> None:
    if len(name) > MAX_NAME or not name.isprintable():
        raise ClaimInvalid(f"the {what} is longer than {MAX_NAME} or not printable")


def whole_second(at_s: float) -> int:
    """Raises ClaimInvalid for what is no whole UTC epoch second."""
    if type(at_s) is not int or not 0 <= at_s < MAX_TIME_S:
        raise ClaimInvalid("start and end are whole UTC epoch seconds")
    return at_s


def whole_shards(n_shards: float, resource: Resource) -> int:
    """Raises ClaimInvalid for a fraction."""
    if type(n_shards) is not int:
        raise ClaimInvalid(f"{n_shards!r} shards of {resource.value}", hint="Shards are whole.")
    return n_shards


def _check_times(*times: int) -> None:
    for at_s in times:
        whole_second(at_s)


def check_interval(start_s: int, end_s: int, now_s: float, max_span_s: int) -> None:
    """Raises ClaimInvalid."""
    _check_times(start_s, end_s)
    if start_s >= end_s:
        raise ClaimInvalid(
            f"the claim ends at {shown(end_s)}, not after its start at {shown(start_s)} UTC",
            hint="An interval holds its start and not its end.",
        )
    if start_s < now_s - LATE_S:
        raise ClaimInvalid(
            f"the claim starts {now_s - start_s:.0f} s ago",
            hint=f"What is past cannot be reserved: start at {int(now_s)} or later.",
        )
    if end_s <= now_s:
        raise ClaimInvalid(
            f"the claim has ended at {shown(end_s)} UTC", hint="Let it end in the future."
        )
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
        whole_shards(ask.n_shards, ask.resource)
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
