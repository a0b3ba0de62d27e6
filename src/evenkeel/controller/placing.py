"""Places VMs: decides, takes the shards durably, answers with reasons.

A decision counts at once, for whoever asks next; it is undone when its claim is refused, and then
the next best host is tried. So nothing is promised before it is durable, and nothing is decided
twice. The claim has the last word: it knows of reservations that start later.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Final, Protocol

import numpy as np

from evenkeel.domain.arrays import F64
from evenkeel.domain.claim import CapacityShort, Claim, ClaimId, ClaimRefused, ClaimRequest
from evenkeel.domain.claim_checks import check_interval
from evenkeel.domain.errors import EvenkeelError
from evenkeel.domain.ids import HostId, VmId
from evenkeel.domain.placement import (
    Newcomer,
    NoHostFits,
    Outcome,
    Placed,
    PlacementInvalid,
    Refused,
    checked,
    not_twice,
)
from evenkeel.placement.allocate import N_OPTIONS, Allocator, Stay
from evenkeel.placement.batch import in_order, place_all
from evenkeel.placement.entitlement import Interval, request_of
from evenkeel.placement.slices import Load
from evenkeel.ports import Clock

MOST_TRIES: Final = 4
MOST_AT_ONCE: Final = 1000


class AlreadyPlaced(PlacementInvalid):
    code = "already_placed"
    http_status = 409
    default_hint = "Release its claim first, or ask for another VM."


class ClaimDesk(Protocol):
    """Where shards are taken. Thread-safe."""

    def submit(self, request: ClaimRequest) -> Future[Claim]:
        """Durable once the future is done; its exception is a ClaimRefused otherwise."""
        ...

    def release(self, claim: ClaimId) -> Future[Claim]: ...


class Exact(Protocol):
    """The contention model itself, which is too slow to be asked about each host each time."""

    def worst(self, vm: Newcomer, hosts: Sequence[HostId]) -> Sequence[float]:
        """Of each host: the largest loss (percent) by resource, of the VM or of those there."""
        ...


@dataclass(slots=True)
class Pending:
    """A decision whose claim is on its way."""

    vm: Newcomer
    placed: Placed
    future: Future[Claim]
    interval: Interval
    refused: frozenset[HostId] = frozenset()
    """Hosts that were tried, and had no room for its claim."""


class PlacementService:
    """Thread-safe.

    Parameters
    ----------
    fleet : the allocator of the fleet as it is; called with the lock held
    desk : takes the shards
    exact : asked about the finalists when a request wants it (`precise`); None: never
    look_again : has `fleet` lay out anew; called with the lock held
    max_span_s : how far ahead can be reserved
    """

    def __init__(
        self,
        fleet: Callable[[], Allocator],
        desk: ClaimDesk,
        clock: Clock,
        exact: Exact | None = None,
        look_again: Callable[[], None] = lambda: None,
        max_span_s: int = 366 * 86_400,
    ) -> None:
        self._fleet = fleet
        self._desk = desk
        self._clock = clock
        self._exact = exact
        self._look_again = look_again
        self._max_span_s = max_span_s
        self._lock = threading.Lock()

    def place(
        self,
        newcomers: Sequence[Newcomer],
        interval: Interval,
        *,
        all_or_nothing: bool = False,
        dry_run: bool = False,
        precise: bool = False,
    ) -> list[Outcome]:
        """In the order of the question. Raises PlacementInvalid, ClaimInvalid (of the interval):
        nothing was placed then. Raises StoreUnavailable."""
        if not 0 < len(newcomers) <= MOST_AT_ONCE:
            raise PlacementInvalid(f"{len(newcomers)} VMs at once, not 1 to {MOST_AT_ONCE}")
        check_interval(interval.start_s, interval.end_s, self._clock.wall_s(), self._max_span_s)
        for vm in newcomers:
            checked(vm)
        with self._lock:
            self._must_be_new(newcomers)
        if dry_run:
            return self._tried(newcomers, interval, all_or_nothing, precise)
        return self._claimed(newcomers, interval, all_or_nothing, precise)

    def begin(
        self,
        vm: Newcomer,
        interval: Interval,
        precise: bool = False,
        refused: frozenset[HostId] = frozenset(),
    ) -> Pending | Refused:
        """Decide about one VM and hand its claim in; `finish` waits. Raises PlacementInvalid."""
        load = Load.of(vm)
        with self._lock:
            allocator = self._fleet()
            if vm.vm in allocator.seats:
                allocator = self._must_be_new([vm])
            wanted = replace(vm, never=vm.never | refused) if refused else vm
            placed = self._decided(allocator, wanted, load, precise, interval)
            if isinstance(placed, Refused):
                return placed
            host = allocator.put_at(vm, load, placed.chosen, float(interval.end_s))
            allocator.pending.add(vm.vm)
            capacity = allocator.slices.layout.hosts.capacity[host]
        request = request_of(vm, placed.chosen.host, capacity, interval)
        return Pending(vm, placed, self._desk.submit(request), interval, refused)

    def finish(self, pending: Pending) -> Outcome:
        """Wait for the claim; where it is refused for lack of room, try the next best host."""
        while True:
            try:
                claim = pending.future.result()
            except BaseException as error:
                with self._lock:
                    allocator = self._fleet()
                    allocator.pending.discard(pending.vm.vm)
                    allocator.remove(pending.vm.vm)
                if not isinstance(error, ClaimRefused):
                    raise
                if not isinstance(error, CapacityShort) or len(pending.refused) + 1 >= MOST_TRIES:
                    return Refused(pending.vm.vm, error.code, error.message, error.hint)
                again = self._again(pending)
                if isinstance(again, Refused):
                    return again
                pending = again
            else:
                with self._lock:
                    self._fleet().pending.discard(pending.vm.vm)
                return replace(pending.placed, claim=claim.id)

    def look_again(self) -> None:
        """Something about the fleet has changed that only a new layout knows."""
        with self._lock:
            self._look_again()

    def removed(self, vm: VmId) -> None:
        """The VM is gone, or its claim was released."""
        with self._lock:
            self._fleet().remove(vm)

    def _must_be_new(self, newcomers: Sequence[Newcomer]) -> Allocator:
        """Whoever seems to be there may have left, or its claim been released, meanwhile."""
        allocator = self._fleet()
        if any(vm.vm in allocator.seats for vm in newcomers):
            self._look_again()
            allocator = self._fleet()
        for vm in newcomers:
            seat = allocator.seats.get(vm.vm)
            if seat is not None:
                host = allocator.slices.layout.hosts.ids[seat.host]
                raise AlreadyPlaced(f"VM {vm.vm!r} has its place on host {host!r}")
        return allocator

    def _again(self, pending: Pending) -> Pending | Refused:
        refused = pending.refused | {pending.placed.chosen.host}
        return self.begin(pending.vm, pending.interval, refused=refused)

    def _decided(
        self,
        allocator: Allocator,
        vm: Newcomer,
        load: Load,
        precise: bool,
        interval: Interval,
        n_options: int = 2,
    ) -> Outcome:
        stay = Stay(interval.start_s, interval.end_s)
        outcome = allocator.decide(vm, load, N_OPTIONS if precise else n_options, stay)
        if isinstance(outcome, Refused) or not precise or self._exact is None:
            return outcome
        worst = self._exact.worst(vm, [option.host for option in outcome.options])
        order = sorted(range(len(worst)), key=lambda i: (round(worst[i], 1), i))
        options = tuple(outcome.options[i] for i in order)
        why = (
            f"of the {len(options)} best of {outcome.n_fit} hosts that take it, {options[0].host} "
            f"is where the contention model expects the least loss: {worst[order[0]]:.1f} %."
        )
        return replace(outcome, options=options, why=why)

    def _tried(
        self,
        newcomers: Sequence[Newcomer],
        interval: Interval,
        all_or_nothing: bool,
        precise: bool,
    ) -> list[Outcome]:
        with self._lock:
            allocator = self._fleet()
            if len(newcomers) == 1:
                load = Load.of(newcomers[0])
                return [self._decided(allocator, newcomers[0], load, precise, interval, N_OPTIONS)]
            outcomes = place_all(allocator, newcomers, all_or_nothing=all_or_nothing)
            for vm in newcomers:
                allocator.remove(vm.vm)
        return outcomes

    def _claimed(
        self,
        newcomers: Sequence[Newcomer],
        interval: Interval,
        all_or_nothing: bool,
        precise: bool,
    ) -> list[Outcome]:
        not_twice(newcomers)
        tried = self._tried(newcomers, interval, True, False) if all_or_nothing else []
        if any(isinstance(outcome, Refused) for outcome in tried):
            return _none_of(newcomers, tried)
        ended: dict[int, Outcome] = {}
        begun: dict[int, Pending | Refused] = {}
        try:
            for i in in_order(newcomers, self._usual_host()):
                begun[i] = self.begin(newcomers[i], interval, precise)
            for i, one in begun.items():
                ended[i] = one if isinstance(one, Refused) else self.finish(one)
        except BaseException:
            self._give_back(begun, ended)
            raise
        outcomes = [ended[i] for i in sorted(ended)]
        if all_or_nothing and any(isinstance(outcome, Refused) for outcome in outcomes):
            self._give_back(begun, ended)
            return _none_of(newcomers, outcomes)
        return outcomes

    def _usual_host(self) -> F64:
        with self._lock:
            capacity = self._fleet().slices.layout.capacity
        return np.asarray(capacity.max(axis=0, initial=0.0))

    def _give_back(
        self, begun: Mapping[int, Pending | Refused], ended: Mapping[int, Outcome]
    ) -> None:
        """Release whatever of these was taken or is on its way."""
        for i, one in begun.items():
            outcome = ended.get(i)
            if outcome is None and isinstance(one, Pending):
                with contextlib.suppress(EvenkeelError):
                    outcome = self.finish(one)
            if isinstance(outcome, Placed):
                with contextlib.suppress(EvenkeelError):
                    self._desk.release(ClaimId(outcome.claim)).result()
                self.removed(outcome.vm)


def _none_of(newcomers: Sequence[Newcomer], outcomes: Sequence[Outcome]) -> list[Outcome]:
    """All refused: those that would have been placed because of those that were not."""
    refused = {o.vm: o for o in outcomes if isinstance(o, Refused)}
    first = next(iter(refused))
    message = f"VM {first!r} could not be placed, and it was to be all or nothing"
    hint = "Ask without all_or_nothing."
    return [
        refused.get(one.vm, Refused(one.vm, NoHostFits.code, message, hint)) for one in newcomers
    ]
