"""Claims, lots and calendars as the REST API says them."""

from __future__ import annotations

from pydantic import Field

from evenkeel.api.schemas import Body
from evenkeel.domain.claim import Ask, Claim, ClaimChange, ClaimId, ClaimRequest, ClaimSplit
from evenkeel.domain.claim_checks import whole_second, whole_shards
from evenkeel.domain.ids import NO_TENANT, HostId, TenantId, VmId
from evenkeel.domain.resources import AXIS, SPECS, Resource, axis_of
from evenkeel.domain.shard import MILLI, Demand, Lot, LotState, PerformanceClass
from evenkeel.placement.calendar import UNKNOWN, Book
from evenkeel.placement.fleet import Chance
from evenkeel.placement.levels import FIRM
from evenkeel.placement.profile import committed

Whole = int | float
"""Taken as it comes; what is not whole is refused with a hint."""


class DemandIn(Body):
    """What is wanted of the shards, from `from_s` until the next one; in the resource's unit."""

    mean: float
    deviation: float
    from_s: int = 0


class AskIn(Body):
    host: str
    resource: Resource
    n_shards: Whole = Field(description="Whole shards: 0.05 cores, 64 MiB, 1 Mbit/s, 10 IOPS each.")
    performance: PerformanceClass = PerformanceClass.SHARED
    demand: list[DemandIn] = Field(
        default=[],
        max_length=1000,
        description="Of shared ones: forecast demand, by which they count. None: in full.",
    )

    by_forecast: bool = Field(
        default=False,
        description="Of shared ones: count by the newest forecasts of the claim's VM.",
    )

    def ask(self) -> Ask:
        """Raises ShardInvalid, ClaimInvalid."""
        steps = (Demand.of(self.resource, d.mean, d.deviation, d.from_s) for d in self.demand)
        return Ask(
            HostId(self.host),
            self.resource,
            whole_shards(self.n_shards, self.resource),
            self.performance,
            tuple(steps),
            self.by_forecast,
        )


class ClaimIn(Body):
    key: str = Field(description="Of your choosing: the same again is answered with the same.")
    owner: str = NO_TENANT
    vm: str = ""
    start_s: Whole
    end_s: Whole
    asks: list[AskIn]

    def request(self) -> ClaimRequest:
        """Raises ShardInvalid, ClaimInvalid."""
        return ClaimRequest(
            self.key,
            TenantId(self.owner),
            VmId(self.vm),
            whole_second(self.start_s),
            whole_second(self.end_s),
            tuple(ask.ask() for ask in self.asks),
        )


class ClaimPatch(Body):
    """What is to be from `from_s` (none: now) on; what is left out stays as it is."""

    asks: list[AskIn] | None = None
    end_s: Whole | None = None
    from_s: Whole | None = None
    if_version: int | None = None

    def change(self, claim: str) -> ClaimChange:
        """Raises ShardInvalid, ClaimInvalid."""
        return ClaimChange(
            ClaimId(claim),
            None if self.asks is None else tuple(ask.ask() for ask in self.asks),
            None if self.end_s is None else whole_second(self.end_s),
            None if self.from_s is None else whole_second(self.from_s),
            self.if_version,
        )


class PartIn(Body):
    host: str
    resource: Resource
    n_shards: Whole
    performance: PerformanceClass = PerformanceClass.SHARED


class SplitIn(Body):
    """So many shards of what the claim has are, from `from_s` (none: now) on, another claim."""

    key: str
    owner: str = NO_TENANT
    vm: str = ""
    asks: list[PartIn]
    from_s: Whole | None = None

    def split(self, claim: str) -> ClaimSplit:
        parts = (
            Ask(HostId(p.host), p.resource, whole_shards(p.n_shards, p.resource), p.performance)
            for p in self.asks
        )
        return ClaimSplit(
            ClaimId(claim),
            self.key,
            TenantId(self.owner),
            VmId(self.vm),
            tuple(parts),
            None if self.from_s is None else whole_second(self.from_s),
        )


class MergeIn(Body):
    other: str = Field(description="The claim whose lots this one gets; it ends.")


class LotOut(Body):
    id: str
    name: str = Field(description="shard://provider/region/host/resource/id")
    host: str
    resource: Resource
    n_shards: int
    amount: float
    unit: str
    start_s: int
    end_s: int
    performance: PerformanceClass
    state: LotState
    demand: list[DemandIn] = Field(
        description="The forecast demand that it counts by; empty: it counts in full."
    )


class ClaimOut(Body):
    """`lots`: those that have not ended, or all of them where the past was asked for."""

    id: str
    key: str
    owner: str
    vm: str
    start_s: int
    end_s: int
    state: LotState
    version: int
    created_at_s: float
    released_at_s: int | None
    lots: list[LotOut]


class SlotOut(Body):
    """Shards of one resource from `start_s` until `end_s` (null: for good)."""

    start_s: int
    end_s: int | None
    firm: int
    committed: float = Field(description="With what forecast demand needs beside the firm ones.")
    free: int


class ResourceCalendarOut(Body):
    resource: Resource
    unit: str
    shard: float
    capacity: int | None = Field(description="In shards; null: not known, so none are promised.")
    slots: list[SlotOut]


class CalendarOut(Body):
    host: str
    since_s: int
    until_s: int
    resources: list[ResourceCalendarOut]
    lots: list[LotOut]


def lot_out(lot: Lot, now_s: float) -> LotOut:
    spec = SPECS[lot.resource]
    return LotOut(
        id=lot.id,
        name=str(lot.name),
        host=lot.location.host,
        resource=lot.resource,
        n_shards=lot.n_shards,
        amount=round(lot.amount, 6),
        unit=spec.unit,
        start_s=lot.start_s,
        end_s=lot.end_s,
        performance=lot.performance,
        state=lot.state(now_s),
        demand=[
            DemandIn(
                mean=round(step.mean / MILLI * spec.shard, 6),
                deviation=round(step.deviation / MILLI * spec.shard, 6),
                from_s=step.from_s,
            )
            for step in lot.demand
        ],
    )


def claim_out(claim: Claim, now_s: float) -> ClaimOut:
    over = claim.released_at_s is not None or claim.end_s <= now_s
    begun = LotState.ACTIVE if claim.start_s <= now_s else LotState.UPCOMING
    return ClaimOut(
        id=claim.id,
        key=claim.key,
        owner=claim.owner,
        vm=claim.vm,
        start_s=claim.start_s,
        end_s=claim.end_s,
        state=LotState.ENDED if over else begun,
        version=claim.version,
        created_at_s=claim.created_at_s,
        released_at_s=claim.released_at_s,
        lots=[lot_out(lot, now_s) for lot in claim.lots],
    )


def resource_calendar(
    book: Book, resource: Resource, chance: Chance, since_s: int, until_s: int
) -> ResourceCalendarOut:
    """One resource of a host; slots that are alike in it are one."""
    axis, profile = axis_of(resource), book.profile
    capacity = int(book.capacity[axis])
    rows = profile.rows(since_s, until_s)
    firm = profile.levels[rows, axis, FIRM]
    need = committed(profile.levels[rows], chance)[:, axis]
    slots: list[SlotOut] = []
    for k, starts_s in enumerate(profile.times[rows]):
        end_s = profile.until(rows.start + k)
        new = SlotOut(
            start_s=max(int(starts_s), since_s),
            end_s=end_s,
            firm=int(firm[k]),
            committed=int(need[k]) / MILLI,
            free=max(0, capacity * MILLI - int(need[k])) // MILLI,
        )
        same = slots and (slots[-1].firm, slots[-1].committed) == (new.firm, new.committed)
        if same:
            slots[-1] = slots[-1].model_copy(update={"end_s": end_s})
        else:
            slots.append(new)
    spec = SPECS[resource]
    return ResourceCalendarOut(
        resource=resource,
        unit=spec.unit,
        shard=spec.shard,
        capacity=None if capacity == UNKNOWN else capacity,
        slots=slots,
    )


def calendar_out(
    host: str, book: Book, lots: list[Lot], chance: Chance, since_s: int, until_s: int, now_s: float
) -> CalendarOut:
    shown = [lot for lot in lots if lot.start_s < until_s and lot.end_s > since_s]
    return CalendarOut(
        host=host,
        since_s=since_s,
        until_s=until_s,
        resources=[resource_calendar(book, r, chance, since_s, until_s) for r in AXIS],
        lots=[lot_out(lot, now_s) for lot in sorted(shown, key=lambda x: (x.start_s, x.id))],
    )
