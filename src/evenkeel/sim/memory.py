"""Journal, spool, policy and models, in memory: they forget everything with the process."""

from __future__ import annotations

from evenkeel.domain.errors import JournalUnavailable
from evenkeel.domain.ids import MitigationId
from evenkeel.domain.plan import OPEN_STATES, Mitigation
from evenkeel.domain.policy import Policy
from evenkeel.domain.resources import Resource
from evenkeel.ports import KeptModel
from evenkeel.sim.faults import FaultKind, Faults


class MemoryJournal:
    """Implements `ports.Journal`. It outlives a simulated agent, as a disk would."""

    def __init__(self, faults: Faults | None = None) -> None:
        self._faults = faults
        self._rows: dict[MitigationId, Mitigation] = {}

    def record(self, mitigation: Mitigation) -> None:
        self._check()
        self._rows.pop(mitigation.id, None)
        self._rows[mitigation.id] = mitigation

    def open_mitigations(self) -> tuple[Mitigation, ...]:
        self._check()
        return tuple(m for m in self._rows.values() if m.state in OPEN_STATES)

    def unreported(self) -> tuple[Mitigation, ...]:
        self._check()
        return tuple(m for m in self._rows.values() if m.state not in OPEN_STATES)

    def mark_reported(self, mitigations: tuple[Mitigation, ...]) -> None:
        self._check()
        for carried in mitigations:
            if carried.state not in OPEN_STATES and self._rows.get(carried.id) == carried:
                del self._rows[carried.id]

    def close(self) -> None:
        """Nothing to close; the rows stay for the next agent."""

    def _check(self) -> None:
        if self._faults is not None and self._faults.strikes(FaultKind.JOURNAL_UNAVAILABLE):
            raise JournalUnavailable("simulated: the journal's disk is gone")


class MemorySpool:
    """Implements `ports.Spool`, bounded by the bytes of the bodies."""

    def __init__(self, max_bytes: int = 1 << 24) -> None:
        self._max_bytes = max_bytes
        self._n_bytes = 0
        self._batches: dict[int, bytes] = {}
        self._n_tickets = 0
        self._n_dropped = 0

    def put(self, body: bytes) -> int:
        self._n_tickets += 1
        self._batches[self._n_tickets] = body
        self._n_bytes += len(body)
        while self._n_bytes > self._max_bytes:
            self.drop(next(iter(self._batches)))
            self._n_dropped += 1
        return self._n_tickets

    def oldest(self) -> tuple[int, bytes] | None:
        return next(iter(self._batches.items()), None)

    def drop(self, ticket: int) -> None:
        self._n_bytes -= len(self._batches.pop(ticket, b""))

    def n_batches(self) -> int:
        return len(self._batches)

    def n_dropped(self) -> int:
        return self._n_dropped

    def close(self) -> None:
        """Nothing to close; the batches stay for the next agent."""


class MemoryModels:
    """Implements `ports.ModelMemory`."""

    def __init__(self) -> None:
        self._models: dict[Resource, KeptModel | None] = {}

    def load(self, resource: Resource) -> KeptModel | None:
        return self._models.get(resource)

    def save(self, resource: Resource, model: KeptModel | None) -> None:
        self._models[resource] = model


class MemoryPolicy:
    """Implements `ports.PolicyMemory`."""

    def __init__(self, policy: Policy | None = None) -> None:
        self._policy = policy

    def load(self) -> Policy | None:
        return self._policy

    def save(self, policy: Policy) -> None:
        self._policy = policy


class MemoryTraits:
    """Implements `ports.TraitKeeper`."""

    def __init__(self, blob: bytes | None = None) -> None:
        self.blob = blob

    def load(self) -> bytes | None:
        return self.blob

    def save(self, blob: bytes) -> None:
        self.blob = blob
