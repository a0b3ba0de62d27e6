"""Claims: one thread takes all that is waiting, decides in memory, and commits it together.

The books of hosts are in memory, each as of a generation of its host in the store. A batch reads
the generations of the hosts that it touches within the transaction that writes; hosts that another
controller changed meanwhile are read anew, and the swap of the generations at the end says whether
all of that held. Answers are given when the transaction is durable. What fails is not in memory
either: the books concerned are closed, and read again when they are needed.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Final

import structlog

from evenkeel.controller.books import Books
from evenkeel.domain.claim import (
    Ask,
    CapacityUnknown,
    Claim,
    ClaimChange,
    ClaimContended,
    ClaimId,
    ClaimRefused,
    ClaimRelease,
    ClaimRequest,
    HostUnknown,
    capacity_short,
    check_asks,
    check_interval,
    check_request,
)
from evenkeel.domain.errors import EvenkeelError, NotFound, StoreUnavailable
from evenkeel.domain.ids import HostId, VmId
from evenkeel.domain.resources import SPECS, axis_of
from evenkeel.domain.shard import Lot, LotId
from evenkeel.placement import claiming
from evenkeel.placement.calendar import UNKNOWN
from evenkeel.placement.fleet import Chance
from evenkeel.ports import Clock
from evenkeel.ports_store import Session, Store

MAX_BATCH: Final = 256
MAX_WAITING: Final = 20_000
TRIES: Final = 3
STOP_S: Final = 10.0
Foresee = Callable[[VmId, Ask], Ask]
Operation = ClaimRequest | ClaimChange | ClaimRelease
_log = structlog.get_logger("evenkeel.claims")


class ClaimsBusy(ClaimRefused):
    code = "claims_busy"
    http_status = 503
    default_hint = "More claims are waiting than can be served: try again, slower."


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    operation: Operation
    answer: Future[Claim]


@dataclass(slots=True, eq=False)
class _Written:
    """A claim in the course of a batch: what will have to be written of it."""

    claim: Claim
    is_new: bool
    put: dict[LotId, Lot] = field(default_factory=dict)
    gone: set[LotId] = field(default_factory=set)


class _LostSwap(Exception):
    """Somebody wrote past the store's only writer."""


class Claims:
    """Thread-safe. The writer's thread starts with the first operation.

    Parameters
    ----------
    chance : the accepted risk of hosts on which demand is overcommitted
    max_span_s : how far ahead can be reserved
    foresee : fills in the demand of an ask that is to count by its VM's forecast
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        chance: Chance,
        max_span_s: int,
        foresee: Foresee = lambda _vm, ask: ask,
    ) -> None:
        self._store = store
        self._foresee = foresee
        self._clock = clock
        self._max_span_s = max_span_s
        self._books = Books(chance, clock)
        self._waiting: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._writer: threading.Thread | None = None
        self._is_closed = False

    @property
    def chance(self) -> Chance:
        """The accepted risk."""
        return self._books.calendar.chance

    def submit(self, request: ClaimRequest) -> Future[Claim]:
        """Take what is asked for. The answer, when it is durable, or ClaimRefused,
        StoreUnavailable. The same request again is answered with the same claim."""
        return self._enqueue(request, lambda: check_request(request))

    def change(self, change: ClaimChange) -> Future[Claim]:
        """Resize, move, extend or shrink. Raises likewise, and NotFound."""
        asks = change.asks
        return self._enqueue(change, lambda: None if asks is None else check_asks(asks))

    def release(self, claim: ClaimId) -> Future[Claim]:
        """Give back what is left of it; one that has ended is answered as it is. NotFound."""
        return self._enqueue(ClaimRelease(claim))

    def warm(self) -> int:
        """Open the books of all hosts beforehand, before the first operation; how many."""
        return self._books.warm(self._store)

    def close(self) -> None:
        """What is waiting is still done; what comes later is refused."""
        with self._lock:
            self._is_closed = True
            writer = self._writer
            self._waiting.put(None)
        if writer is not None:
            writer.join(STOP_S)

    def _enqueue(
        self, operation: Operation, check: Callable[[], None] = lambda: None
    ) -> Future[Claim]:
        answer: Future[Claim] = Future()
        try:
            check()
        except ClaimRefused as refusal:
            answer.set_exception(refusal)
            return answer
        with self._lock:
            if self._is_closed:
                answer.set_exception(StoreUnavailable("the controller is stopping"))
                return answer
            if self._waiting.qsize() >= MAX_WAITING:
                answer.set_exception(ClaimsBusy(f"{MAX_WAITING} claims are waiting already"))
                return answer
            self._waiting.put(_Waiting(operation, answer))
            if self._writer is None:
                self._writer = threading.Thread(target=self._write, name="claims", daemon=True)
                self._writer.start()
        return answer

    # --- the writer's thread ------------------------------------------------------------------

    def _write(self) -> None:
        while True:
            first = self._waiting.get()
            if first is None:
                return
            batch = [first]
            is_last = False
            while len(batch) < MAX_BATCH:
                try:
                    more = self._waiting.get_nowait()
                except queue.Empty:
                    break
                if more is None:
                    is_last = True
                    break
                batch.append(more)
            # From here on nobody can cancel it.
            self._serve([one for one in batch if one.answer.set_running_or_notify_cancel()])
            if is_last:
                return

    def _serve(self, batch: Sequence[_Waiting]) -> None:
        """Answer every one, whatever happens."""
        try:
            answers = self._transact([one.operation for one in batch])
        except EvenkeelError as error:
            answers = [error] * len(batch)
        except Exception as error:
            self._books.close_all()
            if len(batch) > 1:  # one of them is at fault; the others must not suffer for it
                for one in batch:
                    self._serve([one])
                return
            _log.exception("claim_crashed")
            answers = [error]
        for one, answer in zip(batch, answers, strict=True):
            if isinstance(answer, Claim):
                one.answer.set_result(answer)
            else:
                one.answer.set_exception(answer)

    def _transact(self, operations: Sequence[Operation]) -> list[Claim | Exception]:
        """Decide and commit. Raises StoreUnavailable, ClaimContended: then nothing was done."""
        for _ in range(TRIES):
            batch = _Batch(self._books, self._clock.wall_s(), self._max_span_s, self._foresee)
            try:
                with self._store.write() as session:
                    answers = batch.decide(session, operations)
                    batch.write(session)
            except _LostSwap:
                batch.give_up()
                continue
            except BaseException:
                batch.give_up()
                raise
            batch.settle()
            return answers
        raise ClaimContended("others changed the same hosts at the same time")


class _Batch:
    """One transaction's worth of operations."""

    def __init__(self, books: Books, now_s: float, max_span_s: int, foresee: Foresee) -> None:
        self._books = books
        self._foresee = foresee
        self._now_s = now_s
        self._max_span_s = max_span_s
        self._written: dict[ClaimId, _Written] = {}
        self._touched: dict[HostId, int] = {}
        self._generations: dict[HostId, int] = {}

    def decide(self, session: Session, operations: Sequence[Operation]) -> list[Claim | Exception]:
        """An answer to each, in order; every later one sees what the former did."""
        now = int(self._now_s)
        ids = {operation.claim for operation in operations}
        known = session.claims.claims_by_id(ids, now)
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
        found = self._written.get(operation.claim)
        if isinstance(operation, ClaimRequest):
            if found is not None:
                return claiming.repeated(operation, found.claim)
            check_interval(operation.start_s, operation.end_s, self._now_s, self._max_span_s)
            filled = operation
            if any(ask.by_forecast for ask in operation.asks):
                asks = self._filled(operation.vm, operation.asks)
                filled = replace(operation, asks=asks, said=operation.digest())
            step: claiming.Step | None = claiming.granted(filled, self._now_s)
            self._take(operation, step)
            return self._written[operation.claim].claim
        if found is None:
            raise NotFound(
                f"there is no claim {operation.claim!r}", hint="`evenkeel claim list` lists them."
            )
        if isinstance(operation, ClaimRelease):
            step = claiming.released(found.claim, self._now_s)
        else:
            if operation.asks is not None:
                asks = self._filled(found.claim.vm, operation.asks)
                operation = replace(operation, asks=asks)
            step = claiming.changed(found.claim, operation, self._now_s, self._max_span_s)
        self._take(operation, step)
        return found.claim

    def _filled(self, vm: VmId, asks: tuple[Ask, ...]) -> tuple[Ask, ...]:
        return tuple(self._foresee(vm, ask) if ask.by_forecast else ask for ask in asks)

    def _take(self, operation: Operation, step: claiming.Step | None) -> None:
        """Into the calendar, or raise the refusal."""
        if step is None:
            return
        calendar = self._books.calendar
        for ask in _asks(operation):
            if ask.host not in calendar:
                raise HostUnknown(f"there is no host {ask.host!r}")
            if calendar.book(ask.host).capacity[axis_of(ask.resource)] == UNKNOWN:
                raise CapacityUnknown(
                    f"how much {SPECS[ask.resource].label} host {ask.host} has is not known"
                )
        obstacle = calendar.change(step.changes, int(self._now_s) + self._max_span_s)
        if obstacle is not None:
            spec = SPECS[obstacle.resource]
            raise capacity_short(obstacle, f"shards ({spec.shard:g} {spec.unit})")
        for host in step.changes:
            self._touched[host] = self._generations[host]
        written = self._written.setdefault(step.claim.id, _Written(step.claim, is_new=True))
        written.claim = step.claim
        for lot_id in step.gone:
            written.put.pop(lot_id, None)
            written.gone.add(lot_id)
        written.put |= {lot.id: lot for lot in step.put}

    def write(self, session: Session) -> None:
        """Raises _LostSwap."""
        if not self._touched:
            return
        if not session.claims.advance(self._touched):
            raise _LostSwap
        new = [_as_written(w) for w in self._written.values() if w.is_new]
        old = [w for w in self._written.values() if not w.is_new and (w.put or w.gone)]
        session.claims.add(new)
        if old:
            gone = {lot_id for w in old for lot_id in w.gone}
            session.claims.change([_as_written(w) for w in old], gone)

    def settle(self) -> None:
        """It is durable."""
        self._books.advance(self._touched)

    def give_up(self) -> None:
        """It may or may not be durable: nothing that it touched is known any more."""
        self._books.close(self._generations)


def _as_written(written: _Written) -> Claim:
    return replace(written.claim, lots=tuple(written.put.values()))


def _asks(operation: Operation) -> Iterable[Ask]:
    if isinstance(operation, ClaimRequest):
        return operation.asks
    return () if isinstance(operation, ClaimRelease) else operation.asks or ()
