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
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final

import structlog

from evenkeel.controller.books import Books
from evenkeel.controller.claim_batch import Batch, Foresee, LostSwap, Operation
from evenkeel.domain.claim import (
    Claim,
    ClaimChange,
    ClaimContended,
    ClaimId,
    ClaimMerge,
    ClaimRefused,
    ClaimRelease,
    ClaimRequest,
    ClaimSplit,
)
from evenkeel.domain.claim_checks import check_asks, check_request, check_split
from evenkeel.domain.errors import EvenkeelError, StoreUnavailable
from evenkeel.placement.fleet import Chance
from evenkeel.ports import Clock
from evenkeel.ports_store import Store

MAX_BATCH: Final = 256
MAX_WAITING: Final = 20_000
TRIES: Final = 3
STOP_S: Final = 10.0
_log = structlog.get_logger("evenkeel.claims")


class ClaimsBusy(ClaimRefused):
    code = "claims_busy"
    http_status = 503
    default_hint = "More claims are waiting than can be served: try again, slower."


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    operation: Operation
    answer: Future[Claim]


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

    def split(self, split: ClaimSplit) -> Future[Claim]:
        """A part of a claim becomes another claim, with no instant in between at which it is
        free. The new claim; the same again is answered with the same. Raises likewise, NotFound."""
        return self._enqueue(split, lambda: check_split(split))

    def merge(self, merge: ClaimMerge) -> Future[Claim]:
        """One claim gets all that another of the same owner has from now on. Likewise."""
        return self._enqueue(merge)

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
            batch = [one for one in batch if one.answer.set_running_or_notify_cancel()]
            if batch:
                self._serve(batch)
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
            batch = Batch(self._books, self._clock.wall_s(), self._max_span_s, self._foresee)
            try:
                with self._store.write() as session:
                    answers = batch.decide(session, operations)
                    batch.write(session)
            except LostSwap:
                batch.give_up()
                continue
            except BaseException:
                batch.give_up()
                raise
            batch.settle()
            return answers
        raise ClaimContended("others changed the same hosts at the same time")
