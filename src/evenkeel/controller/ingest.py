"""Takes agents' batches into the store: each once, in any order, acknowledged when durable.

Threads that wait for the disk at the same time share one transaction (group commit): the first
becomes the leader and commits for all that queued meanwhile, so that a thousand hosts cost a few
fsyncs a second. A batch that fails is undone alone.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from evenkeel.controller.contention_model import ContentionModel
from evenkeel.controller.inventory import update_inventory
from evenkeel.controller.modes import policy_for
from evenkeel.controller.reliability import count_reliability
from evenkeel.controller.strays import strays
from evenkeel.domain.errors import EvenkeelError, StoreUnavailable
from evenkeel.domain.events import Event
from evenkeel.domain.plan import OPEN_STATES, MitigationState
from evenkeel.domain.policy import Policy
from evenkeel.domain.vm import Vm
from evenkeel.ports import Clock
from evenkeel.ports_store import Session, Store
from evenkeel.records import BatchSource, MitigationRecord
from evenkeel.wire import Batch, BatchReply, ServingModel, SlotsAhead


@dataclass(slots=True)
class _Ticket:
    batch: Batch
    reply: BatchReply | None = None
    error: Exception | None = None

    @property
    def settled(self) -> bool:
        return self.reply is not None or self.error is not None

    def result(self) -> BatchReply:
        if self.reply is None:
            raise self.error or RuntimeError("a batch was left without an answer")
        return self.reply


class Ingest:
    """The one way for batches into the store. Thread-safe."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        base_policy: Policy | None = None,
        short_models: Callable[[], tuple[ServingModel, ...] | None] = lambda: None,
        slots_ahead: Callable[[Sequence[Vm], float], SlotsAhead | None] = lambda _vms, _s: None,
    ) -> None:
        self._slots_ahead = slots_ahead
        self._short_models = short_models
        self._store = store
        self._clock = clock
        self._base_policy = base_policy or Policy()
        self._leader = threading.Lock()
        self._mutex = threading.Lock()
        self._waiting: list[_Ticket] = []
        self.counts: Counter[str] = Counter()
        """accepted, duplicate and commits since start, for /metrics."""
        self.contention_model = ContentionModel(clock)
        """Fed by the batches, served with the replies."""

    def accept(self, batch: Batch) -> BatchReply:
        """Store a checked batch; when this returns, it is durable. Retry: yes.

        Raises StoreUnavailable: nothing of the batch was stored, and it may be sent again.
        """
        ticket = _Ticket(batch)
        with self._mutex:
            self._waiting.append(ticket)
        with self._leader:
            if not ticket.settled:
                with self._mutex:
                    group, self._waiting = self._waiting, []
                self._commit(group)
        return ticket.result()

    def _commit(self, group: list[_Ticket]) -> None:
        replies: dict[int, BatchReply] = {}
        try:
            with self._store.write() as session:
                for ticket in group:
                    try:
                        with session.savepoint():
                            replies[id(ticket)] = self._take(session, ticket.batch)
                    except StoreUnavailable:
                        raise
                    except Exception as error:  # of this batch alone; its sender hears of it
                        ticket.error = error
        except Exception as error:
            if not isinstance(error, EvenkeelError) and len(group) > 1:
                error = StoreUnavailable("the group of batches was not stored")
            for ticket in group:
                ticket.error = ticket.error or error
            return
        self.counts["commits"] += 1
        for ticket in group:
            if ticket.error is None:
                ticket.reply = replies[id(ticket)]
                self.counts["duplicate" if ticket.reply.duplicate else "accepted"] += 1

    def _take(self, session: Session, batch: Batch) -> BatchReply:
        now_s = self._clock.wall_s()
        source = BatchSource(batch.host.id, batch.epoch, batch.seq)
        duplicate = session.history.knows(source)
        # Even of a batch that seems known nothing may be lost: below the pruning watermark there
        # may be one that never came. Events and mitigations are stored by name, so twice is once.
        session.chronicle.add_events(_own_events(batch), source)
        _merge_mitigations(session, batch)
        if not duplicate:
            session.history.add(source, now_s, batch.tick, batch.deviations)
            count_reliability(session, batch, now_s)
            update_inventory(session, batch, now_s)
        self.contention_model.hear(batch)
        policy = policy_for(batch.host.id, session.access.modes(), self._base_policy)
        return BatchReply(
            accepted=not duplicate,
            duplicate=duplicate,
            policy=policy,
            server_time_s=now_s,
            take_over=strays(session, batch),
            short_models=self._short_models(),
            slots_ahead=(
                self._slots_ahead(batch.tick.vms, batch.slots_origin_s) if batch.tick else None
            ),
            contention_model=self.contention_model.serving(),
        )


def _own_events(batch: Batch) -> list[Event]:
    """A host speaks for itself only."""
    return [
        Event(e.at_s, e.kind, e.message, e.severity, batch.host.id, e.vm, e.detail)
        for e in batch.events
    ]


def _merge_mitigations(session: Session, batch: Batch) -> None:
    """Keep of each mitigation what the newest batch says of it; closed once is closed for good.

    Batches are ordered by (epoch, seq) and not by the host's wall clock, which may jump.
    """
    told = {one.id: one for one in batch.mitigations}
    known = session.chronicle.mitigations_by_id(batch.host.id, told)
    changed = [
        MitigationRecord(one, batch.epoch, batch.seq)
        for one in told.values()
        if one.id not in known or _supersedes(batch, one.state, known[one.id])
    ]
    session.chronicle.put_mitigations(changed)


def _supersedes(batch: Batch, state: MitigationState, known: MitigationRecord) -> bool:
    new = (_is_closed(state), batch.epoch, batch.seq)
    return new > (_is_closed(known.mitigation.state), known.epoch, known.seq)


def _is_closed(state: MitigationState) -> bool:
    return state not in OPEN_STATES and state is not MitigationState.ADVISED
