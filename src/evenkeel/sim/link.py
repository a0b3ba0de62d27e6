"""The way to the controller, simulated: batches go to a function, through a bad network."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from evenkeel.domain.errors import BatchInvalid, BatchTooLarge, ControllerUnavailable
from evenkeel.sim.faults import FaultKind, Faults
from evenkeel.wire import BatchReply


class SimLink:
    """Implements `ports.ControllerLink`. `deliver` is the controller's end; what it raises passes.

    `subject` (the host's id) is whom the faults know it by; `models` has what serves, by id.
    """

    def __init__(
        self,
        deliver: Callable[[bytes], BatchReply],
        faults: Faults | None = None,
        subject: str = "",
        models: Mapping[str, bytes] | None = None,
    ) -> None:
        self._models = models or {}
        self._deliver = deliver
        self._faults = faults
        self._subject = subject
        self._delayed: list[bytes] = []

    def model(self, model_id: str) -> bytes:
        if self._strikes(FaultKind.CONTROLLER_AWAY):
            raise ControllerUnavailable("simulated: connection refused")
        if model_id not in self._models:
            raise ControllerUnavailable(f"simulated: there is no model {model_id!r}")
        return self._models[model_id]

    def send(self, body: bytes) -> BatchReply:
        if self._strikes(FaultKind.CONTROLLER_AWAY):
            raise ControllerUnavailable("simulated: connection refused")
        if self._strikes(FaultKind.DELAYED):
            self._delayed.append(body)
            raise ControllerUnavailable("simulated: no answer in time")
        reply = self._deliver(body)
        if self._strikes(FaultKind.DUPLICATED):
            self._deliver(body)
        self._deliver_delayed()
        if self._strikes(FaultKind.REPLY_LOST):
            raise ControllerUnavailable("simulated: the answer was lost")
        return reply

    def _deliver_delayed(self) -> None:
        """What was held up arrives behind a later one; nobody waits for its answer any more."""
        delayed, self._delayed = self._delayed, []
        for body in delayed:
            try:
                self._deliver(body)
            except (BatchInvalid, BatchTooLarge):
                continue

    def _strikes(self, kind: FaultKind) -> bool:
        return self._faults is not None and self._faults.strikes(kind, self._subject)
