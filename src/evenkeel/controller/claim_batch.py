"""One transaction's worth of operations on claims: decided in memory, then written together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from evenkeel.controller.books import Books
from evenkeel.domain.claim import (
    Ask,
    CapacityUnknown,
    Claim,
    ClaimChange,
    ClaimId,
    ClaimMerge,
    ClaimRefused,
    ClaimRelease,
    ClaimRequest,
    ClaimSplit,
    HostUnknown,
    capacity_short,
)
from evenkeel.domain.claim_checks import check_interval
from evenkeel.domain.errors import NotFound
from evenkeel.domain.ids import HostId, VmId
from evenkeel.domain.placement import Terms
from evenkeel.domain.resources import SPECS, axis_of
from evenkeel.domain.shard import Lot, LotId
from evenkeel.placement import claiming, parting
from evenkeel.placement.calendar import UNKNOWN
from evenkeel.ports_store import Session

Foresee = Callable[[VmId, Ask], Ask]
Operation = ClaimRequest | ClaimChange | ClaimRelease | ClaimSplit | ClaimMerge


class LostSwap(Exception):
    """Somebody wrote past the store's only writer."""


@dataclass(slots=True, eq=False)
class _Written:
    """A claim in the course of a batch: what will have to be written of it."""

    claim: Claim
    is_new: bool
    is_touched: bool = False
    put: dict[LotId, Lot] = field(default_factory=dict)
    gone: set[LotId] = field(default_factory=set)

    def take(self, step: claiming.Step) -> None:
        self.claim, self.is_touched = step.claim, True
        for lot_id in step.gone:
            self.put.pop(lot_id, None)
            self.gone.add(lot_id)
        self.put |= {lot.id: lot for lot in step.put}

    def as_stored(self) -> Claim:
        """With the lots that have to be put."""
        return replace(self.claim, lots=tuple(self.put.values()))


class Batch:
    """Decides in order, each operation as if it were alone, and every later one after the former.

    Parameters
    ----------
    books : of hosts; `decide` changes them, `give_up` closes what it touched
    foresee : fills in the demand of an ask that is to count by its VM's forecast
    """

    def __init__(self, books: Books, now_s: float, max_span_s: int, foresee: Foresee) -> None:
        self._books = books
        self._foresee = foresee
        self._now_s = now_s
        self._max_span_s = max_span_s
        self._written: dict[ClaimId, _Written] = {}
        self._terms: dict[VmId, Terms] = {}
        self._touched: dict[HostId, int] = {}
        self._generations: dict[HostId, int] = {}

    def decide(self, session: Session, operations: Sequence[Operation]) -> list[Claim | Exception]:
        """An answer to each: the claim as it will be, or a refusal."""
        ids = {claim for operation in operations for claim in operation.claims}
        known = session.claims.claims_by_id(ids, int(self._now_s))
        hosts = {ask.host for one in operations for ask in _asks(one)}
        hosts |= {lot.location.host for claim in known.values() for lot in claim.lots}
        self._generations = self._books.read(session, hosts)
        self._written = {i: _Written(claim, is_new=False) for i, claim in known.items()}
        answers: list[Claim | Exception] = []
        for operation in operations:
            try:
                answers.append(self._decide(operation))
            except (ClaimRefused, NotFound) as refusal:
                answers.append(refusal)
        return answers

    def _decide(self, operation: Operation) -> Claim:
        match operation:
            case ClaimRequest():
                return self._request(operation)
            case ClaimSplit():
                return self._split(operation)
            case ClaimMerge():
                into, other = self._known(operation.claim), self._known(operation.other)
                self._take((), *parting.merged(into, other, self._now_s))
            case ClaimRelease():
                claim = self._known(operation.claim)
                self._take((), *_some(claiming.released(claim, self._now_s)))
            case ClaimChange():
                claim = self._known(operation.claim)
                if operation.asks is not None:
                    asks = self._filled(claim.vm, operation.asks)
                    operation = replace(operation, asks=asks)
                step = claiming.changed(claim, operation, self._now_s, self._max_span_s)
                self._take(operation.asks or (), *_some(step))
        return self._known(operation.claim)

    def _request(self, request: ClaimRequest) -> Claim:
        found = self._written.get(request.claim)
        if found is not None:
            return claiming.repeated(request, found.claim)
        check_interval(request.start_s, request.end_s, self._now_s, self._max_span_s)
        filled = request
        if any(ask.by_forecast for ask in request.asks):
            asks = self._filled(request.vm, request.asks)
            filled = replace(request, asks=asks, said=request.digest())
        self._take(request.asks, claiming.granted(filled, self._now_s))
        if request.terms is not None:
            self._terms[request.vm] = request.terms
        return self._known(request.claim)

    def _split(self, split: ClaimSplit) -> Claim:
        found = self._written.get(split.new_claim)
        if found is not None:
            return claiming.repeated(split, found.claim)
        self._take((), *parting.split(self._known(split.claim), split, self._now_s))
        return self._known(split.new_claim)

    def _known(self, claim: ClaimId) -> Claim:
        found = self._written.get(claim)
        if found is None:
            hint = "`evenkeel claim list` lists them."
            raise NotFound(f"there is no claim {claim!r}", hint=hint)
        return found.claim

    def _filled(self, vm: VmId, asks: tuple[Ask, ...]) -> tuple[Ask, ...]:
        return tuple(self._foresee(vm, ask) if ask.by_forecast else ask for ask in asks)

    def _take(self, asks: Iterable[Ask], *steps: claiming.Step) -> None:
        """Into the calendar, all of it, or raise the refusal."""
        calendar = self._books.calendar
        for ask in asks:
            if ask.host not in calendar:
                raise HostUnknown(f"there is no host {ask.host!r}")
            if calendar.book(ask.host).capacity[axis_of(ask.resource)] == UNKNOWN:
                raise CapacityUnknown(
                    f"how much {SPECS[ask.resource].label} host {ask.host} has is not known"
                )
        changes = claiming.together(steps)
        obstacle = calendar.change(changes, int(self._now_s) + self._max_span_s)
        if obstacle is not None:
            spec = SPECS[obstacle.resource]
            raise capacity_short(obstacle, f"shards ({spec.shard:g} {spec.unit})")
        for host in changes:
            self._touched[host] = self._generations[host]
        for step in steps:
            new = _Written(step.claim, is_new=True)
            self._written.setdefault(step.claim.id, new).take(step)

    def write(self, session: Session) -> None:
        """Raises LostSwap."""
        touched = [written for written in self._written.values() if written.is_touched]
        if not touched:
            return
        if not session.claims.advance(self._touched):
            raise LostSwap
        session.claims.add([written.as_stored() for written in touched if written.is_new])
        if self._terms:
            session.terms.put(self._terms, self._now_s)
        old = [written for written in touched if not written.is_new]
        if old:
            gone = {lot_id for written in old for lot_id in written.gone}
            session.claims.change([written.as_stored() for written in old], gone)

    def settle(self) -> None:
        """It is durable."""
        self._books.advance(self._touched)

    def give_up(self) -> None:
        """It may or may not be durable: nothing that it looked at is known any more."""
        self._books.close(self._generations)


def _some(step: claiming.Step | None) -> tuple[claiming.Step, ...]:
    return () if step is None else (step,)


def _asks(operation: Operation) -> Iterable[Ask]:
    match operation:
        case ClaimRequest() | ClaimChange():
            return operation.asks or ()
    return ()
