"""Drains the spool to the controller in a thread of its own, so that a slow link stalls nothing."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from evenkeel.domain.errors import (
    BatchInvalid,
    BatchTooLarge,
    ControllerUnavailable,
    EvenkeelError,
)
from evenkeel.ports import ControllerLink, Spool
from evenkeel.wire import BatchReply

log = logging.getLogger(__name__)

FIRST_BACKOFF_S: Final = 1.0
MAX_BACKOFF_S: Final = 30.0


class Reporter:
    """Sends the oldest batch first, forgets it when acknowledged, backs off when it cannot."""

    def __init__(
        self,
        link: ControllerLink,
        spool: Spool,
        on_reply: Callable[[BatchReply], None],
        on_acknowledged: Callable[[int], None],
    ) -> None:
        self._link = link
        self._spool = spool
        self._on_reply = on_reply
        self._on_acknowledged = on_acknowledged
        self._work = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)
        self.problem = ""
        """Stable code of why batches do not arrive, or empty."""

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """There is something new to send."""
        self._work.set()

    def stop(self, timeout_s: float = 3.0) -> None:
        """Give what is spooled one more chance to leave, then end."""
        self._stopped.set()
        self._work.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        backoff_s = FIRST_BACKOFF_S
        while True:
            if self.drain():
                backoff_s = FIRST_BACKOFF_S
                if self._stopped.is_set():
                    return
                self._work.wait()
                self._work.clear()
                continue
            if self._stopped.wait(backoff_s):
                self.drain()
                return
            backoff_s = min(MAX_BACKOFF_S, backoff_s * 2)

    def drain(self) -> bool:
        """Send all there is. False when the link failed and should be left alone for a while."""
        while (oldest := self._spool.oldest()) is not None:
            ticket, body = oldest
            try:
                reply = self._link.send(body)
            except (BatchInvalid, BatchTooLarge) as error:
                # It would never pass, and would hold up all that come after it.
                log.error("controller refused a batch for good: %s (%s)", error, error.code)
                self.problem = error.code
            except EvenkeelError as error:
                if error.code != self.problem:
                    log.warning("batches wait in the spool: %s (%s)", error, error.code)
                self.problem = error.code
                return False
            except Exception:
                log.exception("sending failed unexpectedly")
                self.problem = ControllerUnavailable.code
                return False
            else:
                self.problem = ""
                self._on_reply(reply)
                self._on_acknowledged(ticket)
            self._spool.drop(ticket)
        return True
