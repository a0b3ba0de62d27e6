"""Claims and calendars: POST, PATCH, DELETE, GET /v1/claims, GET /v1/hosts/{host}/calendar.

Administrators claim, for any tenant; a tenant reads its own claims and changes none, as long as
nothing limits or prices what it would take from the others.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query

from evenkeel.api import cursor as cursors
from evenkeel.api.access import ADMIN, READERS
from evenkeel.api.errors import ERROR_RESPONSES
from evenkeel.api.reader import DEFAULT_LIMIT, MAX_LIMIT, Principal, Role
from evenkeel.api.schemas import Page
from evenkeel.api.schemas_claims import (
    CalendarOut,
    ClaimIn,
    ClaimOut,
    ClaimPatch,
    LotOut,
    MergeIn,
    SplitIn,
    calendar_out,
    claim_out,
)
from evenkeel.api.services import Services, services_of
from evenkeel.domain.claim import Claim, ClaimId, ClaimMerge
from evenkeel.domain.errors import InvalidRequest, NotFound, StoreUnavailable
from evenkeel.domain.ids import HostId, TenantId, VmId
from evenkeel.domain.shard import ShardName
from evenkeel.placement.calendar import Book, capacity_shards
from evenkeel.placement.profile import Profile

router = APIRouter(prefix="/v1", tags=["claims"], responses=ERROR_RESPONSES)

ANSWER_S: Final = 30.0
DAY_S: Final = 86_400
MAX_TIME_S: Final = 2**40
Wired = Annotated[Services, Depends(services_of)]
Operator = Annotated[Principal, Depends(ADMIN)]
Reader = Annotated[Principal, Depends(READERS)]
At = Annotated[int | None, Query(ge=0, le=MAX_TIME_S)]


@router.post("/claims", status_code=201, summary="Take shards on one or several hosts, or nothing")
async def claim(body: ClaimIn, who: Operator, services: Wired) -> ClaimOut:
    """For [start_s, end_s). Repeat it with the same key when in doubt: it is taken once.

    Refused (409 `capacity_short`) with the host, resource and slot that stand in the way.
    """
    return await _answer(services, services.claims.submit(body.request()))


@router.patch("/claims/{claim_id}", summary="Resize, move, extend or shorten a claim")
async def change_claim(claim_id: str, body: ClaimPatch, who: Operator, services: Wired) -> ClaimOut:
    """`asks` is all that the claim is to have from then on, on whatever hosts. It states what is
    to be, so it may be repeated. Refused, the claim stays as it was."""
    if body.asks is None and body.end_s is None:
        raise InvalidRequest("nothing is to change", hint="Say asks, end_s, or both.")
    return await _answer(services, services.claims.change(body.change(claim_id)))


@router.delete("/claims/{claim_id}", summary="Give a claim back, from now on")
async def release_claim(claim_id: str, who: Operator, services: Wired) -> ClaimOut:
    """One that has ended is answered as it is."""
    return await _answer(services, services.claims.release(ClaimId(claim_id)))


@router.post("/claims/{claim_id}/split", status_code=201, summary="Make a part another claim")
async def split_claim(claim_id: str, body: SplitIn, who: Operator, services: Wired) -> ClaimOut:
    """Of the same or another owner, with no instant in between at which it is free. The new one."""
    return await _answer(services, services.claims.split(body.split(claim_id)))


@router.post("/claims/{claim_id}/merge", summary="Get all that another claim has")
async def merge_claims(claim_id: str, body: MergeIn, who: Operator, services: Wired) -> ClaimOut:
    """Both of one owner; the other ends."""
    merge = ClaimMerge(ClaimId(claim_id), ClaimId(body.other))
    return await _answer(services, services.claims.merge(merge))


async def _answer(services: Services, answer: Future[Claim]) -> ClaimOut:
    try:
        claim = await asyncio.wait_for(asyncio.wrap_future(answer), ANSWER_S)
    except TimeoutError as error:
        raise StoreUnavailable(
            "the database takes too long",
            hint="It may have been done: repeat the request to find out.",
        ) from error
    return claim_out(claim, services.clock.wall_s())


@router.get("/claims", summary="Claims by id; a tenant's own")
def list_claims(
    who: Reader,
    services: Wired,
    vm: Annotated[str | None, Query(description="Only this VM's (id).")] = None,
    host: Annotated[str | None, Query(description="Only those with lots on this host.")] = None,
    owner: Annotated[str | None, Query(description="Only this tenant's.")] = None,
    past: Annotated[bool, Query(description="Also what has ended.")] = False,
    cursor: Annotated[str | None, Query(max_length=2000)] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = DEFAULT_LIMIT,
) -> Page[ClaimOut]:
    now_s = services.clock.wall_s()
    after = str(cursors.decode(cursor, str)[0]) if cursor else ""
    tenant = who.subject if who.role is Role.TENANT else owner
    with services.store.read() as session:
        found = session.claims.claims(
            -1 if past else int(now_s),
            owner=None if tenant is None else TenantId(tenant),
            vm=None if vm is None else VmId(vm),
            host=None if host is None else HostId(host),
            after=after,
            limit=limit,
        )
    if who.role is Role.TENANT and owner not in (None, who.subject):
        found = []
    return Page(
        items=[claim_out(one, now_s) for one in found],
        next=cursors.following((found[-1].id,) if found else None, found, limit),
    )


@router.get("/claims/{claim_id}", summary="One claim with its lots")
def get_claim(
    claim_id: str,
    who: Reader,
    services: Wired,
    past: Annotated[bool, Query(description="Also the lots that have ended.")] = False,
) -> ClaimOut:
    return _found(services, who, ClaimId(claim_id), past=past)


@router.get("/shards", summary="The lot that has this name")
def get_shards(
    who: Reader,
    services: Wired,
    name: Annotated[str, Query(max_length=2000, description="shard://provider/region/host/...")],
) -> LotOut:
    """A lot that moved has another name, and one that was given back has none."""
    parsed = ShardName.parse(name)
    claim = ClaimId(parsed.id.rpartition(".")[0])
    try:
        for lot in _found(services, who, claim, past=True).lots:
            if lot.name == str(parsed):
                return lot
    except NotFound:
        pass
    raise NotFound(f"nothing is named {name}", hint="`evenkeel claim list` lists what is held.")


def _found(services: Services, who: Principal, claim: ClaimId, *, past: bool) -> ClaimOut:
    """Raises NotFound, also for another tenant's."""
    now_s = services.clock.wall_s()
    with services.store.read() as session:
        found = session.claims.claims_by_id([claim], -1 if past else int(now_s))
    for one in found.values():
        if who.role is not Role.TENANT or one.owner == who.subject:
            return claim_out(one, now_s)
    raise NotFound(f"there is no claim {claim!r}", hint="`evenkeel claim list` lists them.")


@router.get("/hosts/{host}/calendar", summary="What of a host is promised, and what is free")
def calendar(
    host: str,
    who: Operator,
    services: Wired,
    since_s: At = None,
    until_s: At = None,
) -> CalendarOut:
    """From `since_s` (default: now) until `until_s` (default: a day later)."""
    now_s = services.clock.wall_s()
    since = int(now_s) if since_s is None else since_s
    until = since + DAY_S if until_s is None else until_s
    if since >= until:
        raise InvalidRequest(f"until_s {until} is not after since_s {since}")
    with services.store.read() as session:
        record = session.inventory.host(HostId(host))
        if record is None:
            raise NotFound(f"there is no host {host!r}", hint="`evenkeel hosts` lists them.")
        lots = session.claims.lots_of([record.host.id], since)[record.host.id]
    book = Book(capacity_shards(record.host.capacity), Profile.of(lots))
    return calendar_out(host, book, lots, services.claims.chance, since, until, now_s)
