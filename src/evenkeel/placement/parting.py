"""A part of a claim as another claim, and two claims as one: no instant's sum changes by it."""

from __future__ import annotations

from dataclasses import replace

from evenkeel.domain.claim import Ask, Claim, ClaimInvalid, ClaimSplit
from evenkeel.domain.instants import shown
from evenkeel.domain.shard import LotId, split_shards, split_time
from evenkeel.placement.claiming import Step, check_open, released, starting, step_to, with_lots


def split(claim: Claim, split: ClaimSplit, now_s: float) -> tuple[Step, Step]:
    """The claim without the part, and the part. Raises ClaimEnded, ClaimInvalid."""
    now = int(now_s)
    check_open(claim, now)
    from_s = starting(claim, split.from_s, now)
    if from_s >= claim.end_s:
        raise ClaimInvalid(
            f"the split is from {shown(from_s)} on, and the claim ends at {shown(claim.end_s)} UTC"
        )
    n_made = claim.n_lots_made
    after, moved = list(claim.lots), []
    for ask in split.asks:
        left = ask.n_shards
        for lot in claim.lots:
            same = (lot.location.host, lot.resource, lot.performance) == _what(ask)
            if not same or not left or not lot.start_s <= from_s < lot.end_s:
                continue
            after.remove(lot)
            if lot.start_s < from_s:
                early, lot = split_time(lot, from_s, LotId(f"{claim.id}.{n_made}"))
                n_made += 1
                after.append(early)
            if lot.n_shards > left:
                lot, rest = split_shards(lot, left, LotId(f"{claim.id}.{n_made}"))
                n_made += 1
                after.append(rest)
            left -= lot.n_shards
            moved.append(lot)
        if left:
            raise ClaimInvalid(
                f"claim {claim.id} has {ask.n_shards - left} of {ask.n_shards} such shards of "
                f"{ask.resource.value} on {ask.host}",
                hint="Split what it has; `evenkeel claim show` lists it.",
            )
    # It ends with its last lot.
    smaller = replace(claim, n_lots_made=n_made)
    if not any(lot.end_s > from_s for lot in after):
        is_over = from_s <= now or not after
        smaller = replace(
            smaller, end_s=from_s, released_at_s=now if is_over else claim.released_at_s
        )
    rest_step = step_to(claim, smaller, after, now)
    assert rest_step is not None, "a split takes something"
    part = Claim(
        id=split.new_claim,
        key=split.key,
        owner=split.owner,
        vm=split.vm,
        start_s=from_s,
        end_s=claim.end_s,
        lots=(),
        version=1,
        digest=split.digest(),
        created_at_s=now_s,
    )
    return rest_step, with_lots(part, moved, from_s)


def merged(into: Claim, other: Claim, now_s: float) -> tuple[Step, ...]:
    """The one with all of the other's lots, and the other without; nothing if that is so already.

    Raises ClaimEnded, ClaimInvalid.
    """
    now = int(now_s)
    if other.released_at_s is not None or other.end_s <= now:
        return ()
    check_open(into, now)
    if into.id == other.id or into.owner != other.owner:
        raise ClaimInvalid(
            "a claim is merged with another one of the same owner",
            hint="Split what another owner is to have.",
        )
    cut = released(other, now_s)
    assert cut is not None, "it has not ended"
    ahead = [replace(lot, start_s=max(lot.start_s, now)) for lot in other.lots]
    end_s = max(into.end_s, other.end_s)
    whole = with_lots(replace(into, end_s=end_s, version=into.version + 1), ahead, now)
    return cut, whole


def _what(ask: Ask) -> tuple[object, ...]:
    return ask.host, ask.resource, ask.performance
