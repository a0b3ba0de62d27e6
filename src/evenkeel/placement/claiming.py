"""What a claim, a change or a release does to lots: the pure half of `controller.claims`.

A change touches the future alone: a lot that has begun is cut at the instant of the change, and
what comes after is another lot. Whoever asks for what is already so gets no change at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from evenkeel.domain.claim import (
    Ask,
    Claim,
    ClaimChange,
    ClaimChanged,
    ClaimEnded,
    ClaimId,
    ClaimInvalid,
    ClaimRequest,
    ClaimSplit,
    KeyReused,
)
from evenkeel.domain.claim_checks import LATE_S, check_interval
from evenkeel.domain.ids import HostId, TenantId
from evenkeel.domain.instants import shown
from evenkeel.domain.shard import Location, Lot, LotId
from evenkeel.placement.calendar import Lots


@dataclass(frozen=True, slots=True)
class Step:
    """`claim` as it is afterwards, with the lots that had not ended before; of these `put` are
    new or other than before, and those `gone` are no more. `changes`: to the calendar."""

    claim: Claim
    put: tuple[Lot, ...]
    gone: frozenset[LotId]
    changes: dict[HostId, Lots]


def granted(request: ClaimRequest, now_s: float) -> Step:
    """All that is asked for."""
    claim_id = request.claim
    lots = _lots(claim_id, request.owner, request.asks, request.start_s, request.end_s)
    claim = Claim(
        id=claim_id,
        key=request.key,
        owner=request.owner,
        vm=request.vm,
        start_s=request.start_s,
        end_s=request.end_s,
        lots=in_order(lots),
        version=1,
        digest=request.digest(),
        created_at_s=now_s,
        n_lots_made=len(lots),
    )
    return Step(claim, lots, frozenset(), _by_host([], lots, request.start_s))


def repeated(request: ClaimRequest | ClaimSplit, known: Claim) -> Claim:
    """What the same request was answered with, as it is now. Raises KeyReused for another one."""
    if known.digest != request.digest():
        raise KeyReused(
            f"{known.owner} used key {request.key!r} for another request (claim {known.id})"
        )
    return known


def changed(claim: Claim, change: ClaimChange, now_s: float, max_span_s: int) -> Step | None:
    """None: it is so already. Raises ClaimEnded, ClaimChanged, ClaimInvalid."""
    now = int(now_s)
    check_open(claim, now)
    if change.if_version is not None and change.if_version != claim.version:
        raise ClaimChanged(f"claim {claim.id} is in version {claim.version} by now")
    from_s = starting(claim, change.from_s, now)
    end_s = claim.end_s if change.end_s is None else change.end_s
    check_interval(max(claim.start_s, now), end_s, now_s, max_span_s)
    if from_s >= end_s:
        raise ClaimInvalid(
            f"the change is from {shown(from_s)} on, and the claim ends at {shown(end_s)} UTC"
        )
    if change.asks is None:
        after = _until(claim, end_s)
        n_made = 0
    else:
        after, new = _as_asked(claim, change.asks, from_s, end_s)
        after += new
        n_made = len(new)
    later = replace(claim, end_s=end_s, n_lots_made=claim.n_lots_made + n_made)
    return step_to(claim, later, after, now)


def released(claim: Claim, now_s: float) -> Step | None:
    """None: it has ended already."""
    now = int(now_s)
    if claim.released_at_s is not None or claim.end_s <= now:
        return None
    after = [replace(lot, end_s=now) for lot in claim.lots if lot.start_s < now]
    later = replace(claim, end_s=max(now, claim.start_s), released_at_s=now)
    return step_to(claim, later, after, now)


def in_order(lots: Iterable[Lot]) -> tuple[Lot, ...]:
    """By start, host, resource and number, as the store reads them."""
    return tuple(sorted(lots, key=_place))


def _place(lot: Lot) -> tuple[int, str, str, int]:
    number = int(lot.id.rpartition(".")[2])
    return lot.start_s, lot.location.host, lot.resource, number


def together(steps: Sequence[Step]) -> dict[HostId, Lots]:
    """What steps change of the calendar, as one."""
    if len(steps) == 1:
        return steps[0].changes
    changes: dict[HostId, Lots] = {}
    for step in steps:
        for host, lots in step.changes.items():
            so_far = changes.get(host, Lots())
            changes[host] = Lots(so_far.added + lots.added, so_far.removed + lots.removed)
    return changes


def with_lots(claim: Claim, lots: Sequence[Lot], since_s: int) -> Step:
    """The claim with these beside its own, under numbers of its own."""
    new = tuple(
        replace(lot, id=LotId(f"{claim.id}.{claim.n_lots_made + k}"), owner=claim.owner)
        for k, lot in enumerate(lots)
    )
    claim = replace(
        claim, lots=in_order((*claim.lots, *new)), n_lots_made=claim.n_lots_made + len(new)
    )
    return Step(claim, new, frozenset(), _by_host([], new, since_s))


def check_open(claim: Claim, now: int) -> None:
    """Raises ClaimEnded."""
    if claim.released_at_s is not None or claim.end_s <= now:
        raise ClaimEnded(f"claim {claim.id} has ended")


def starting(claim: Claim, from_s: int | None, now: int) -> int:
    """When a change begins that is to be from `from_s` on. Raises ClaimInvalid."""
    if from_s is None:
        return max(now, claim.start_s)
    if type(from_s) is not int:
        raise ClaimInvalid("a change is from a whole UTC epoch second on")
    if from_s < now - LATE_S:
        raise ClaimInvalid(
            f"the change is from {now - from_s} s ago on", hint="What is past stays."
        )
    return max(from_s, now, claim.start_s)


def _until(claim: Claim, end_s: int) -> list[Lot]:
    """Longer or shorter: the lots that held to the end hold to the new one."""
    return [
        replace(lot, end_s=end_s if lot.end_s == claim.end_s else min(lot.end_s, end_s))
        for lot in claim.lots
        if lot.start_s < end_s
    ]


def _as_asked(
    claim: Claim, asks: Sequence[Ask], from_s: int, end_s: int
) -> tuple[list[Lot], list[Lot]]:
    """The claim's lots that stay, cut or stretched, and the new ones."""
    wanted = {_kind(ask.host, ask): ask for ask in asks}
    kept: list[Lot] = []
    for lot in claim.lots:
        kind = _kind(lot.location.host, lot)
        if kind in wanted and lot.start_s <= from_s <= lot.end_s:
            del wanted[kind]
            kept.append(replace(lot, end_s=end_s))
        elif lot.start_s < from_s:
            kept.append(replace(lot, end_s=min(lot.end_s, from_s)))
    new = _lots(claim.id, claim.owner, wanted.values(), from_s, end_s, claim.n_lots_made)
    return kept, list(new)


def _kind(host: HostId, what: Ask | Lot) -> tuple[object, ...]:
    return host, what.resource, what.performance, what.n_shards, what.demand


def _lots(
    claim: ClaimId,
    owner: TenantId,
    asks: Iterable[Ask],
    start_s: int,
    end_s: int,
    first: int = 0,
) -> tuple[Lot, ...]:
    """Numbered from `first` on."""
    return tuple(
        Lot(
            id=LotId(f"{claim}.{first + k}"),
            location=Location(ask.host),
            resource=ask.resource,
            n_shards=ask.n_shards,
            start_s=start_s,
            end_s=end_s,
            performance=ask.performance,
            owner=owner,
            demand=ask.demand,
        )
        for k, ask in enumerate(asks)
    )


def step_to(claim: Claim, later: Claim, after: Sequence[Lot], now: int) -> Step | None:
    """To `later` with these lots, as the next version; None: it is so already."""
    before = {lot.id: lot for lot in claim.lots}
    put = tuple(lot for lot in after if before.get(lot.id) != lot)
    gone = frozenset(before) - {lot.id for lot in after}
    if not put and not gone and later == claim:
        return None
    touched = [before[lot.id] for lot in put if lot.id in before] + [before[i] for i in gone]
    later = replace(
        later,
        version=claim.version + 1,
        lots=in_order(lot for lot in after if lot.end_s > now),
    )
    return Step(later, put, gone, _by_host(touched, put, now))


def _by_host(before: Iterable[Lot], after: Iterable[Lot], since_s: int) -> dict[HostId, Lots]:
    """Only what lies ahead counts."""
    changes: dict[HostId, tuple[list[Lot], list[Lot]]] = {}
    for side, lots in enumerate((after, before)):
        for lot in lots:
            sides = changes.setdefault(lot.location.host, ([], []))
            if lot.end_s > since_s:
                ahead = lot if lot.start_s >= since_s else replace(lot, start_s=since_s)
                sides[side].append(ahead)
    return {host: Lots(tuple(come), tuple(go)) for host, (come, go) in changes.items()}
