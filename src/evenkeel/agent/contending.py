"""The host's contention maps, now and a minute ahead, by traits that are learnt on the way.

All of it belongs to the tick's thread. A prediction is always made before what it predicts is
learnt from. What was learnt is kept on disk; where that is damaged, all traits are 1 again, and
that is said.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from typing import Final

from evenkeel.agent.foresight import News
from evenkeel.domain.errors import EvenkeelError
from evenkeel.domain.events import Severity
from evenkeel.domain.sample import Ahead, HostTick
from evenkeel.interference.contention import ContentionMap, host_loads, score_ahead, score_loads
from evenkeel.interference.kinds import TraitMemory, expected, pool
from evenkeel.interference.rows import present
from evenkeel.interference.traits import evidence, learn
from evenkeel.interference.window import Window
from evenkeel.ports import TraitKeeper

log = logging.getLogger(__name__)

POOL_EVERY_S: Final = 60.0
SAVE_EVERY_S: Final = 300.0


class Contending:
    """`observe` once a tick. Nothing in it raises."""

    def __init__(self, keeper: TraitKeeper, half_life_s: float) -> None:
        self._keeper = keeper
        self._half_life_s = half_life_s
        self._news: deque[News] = deque(maxlen=10)
        self._memory = self._recalled()
        self._priors = pool(self._memory.kept.values())
        self._unpooled_s = self._unsaved_s = 0.0
        self._fails_to_save = False

    def observe(
        self, window: Window, tick: HostTick, ahead: Ahead
    ) -> tuple[ContentionMap, ContentionMap]:
        """The map as it stands, and as it will at the farthest of the horizons of `ahead`.

        `window` ends with `tick`, and `ahead` was forecast from it.
        """
        rows = present(window, self._half_life_s)
        loads = host_loads(rows, tick.host)
        prior = expected(tick.vms, self._priors)
        belief = self._memory.belief(tick.vms, self._priors)
        belief = learn(belief, prior, evidence(loads, tick), tick.interval_s)
        self._memory = self._memory.with_(tick.vms, belief)
        self._keep_up(tick.interval_s)
        now = score_loads(rows, loads, window, tick.host, self._half_life_s, belief.traits())
        horizon_s = ahead.horizons_s[-1]
        soon = score_ahead(
            ahead.quantiles[:, :, -1],
            horizon_s,
            window,
            now,
            self._half_life_s,
            belief.traits(horizon_s),
        )
        return now, soon

    def save(self) -> None:
        """Put what was learnt on disk; said once when it cannot be."""
        self._unsaved_s = 0.0
        try:
            self._keeper.save(self._memory.save())
        except EvenkeelError as error:
            if not self._fails_to_save:
                self._tell("traits_not_saved", error.message)
            self._fails_to_save = True
            return
        self._fails_to_save = False

    def news(self) -> Iterator[News]:
        """(kind, message, severity) of what happened since it was asked last."""
        while self._news:
            yield self._news.popleft()

    def _keep_up(self, passed_s: float) -> None:
        self._unpooled_s += passed_s
        self._unsaved_s += passed_s
        if self._unpooled_s >= POOL_EVERY_S:
            self._unpooled_s = 0.0
            self._priors = pool(self._memory.kept.values())
        if self._unsaved_s >= SAVE_EVERY_S:
            self.save()

    def _recalled(self) -> TraitMemory:
        try:
            blob = self._keeper.load()
            return TraitMemory() if blob is None else TraitMemory.load(blob)
        except EvenkeelError as error:
            self._tell(
                "traits_damaged", f"{error.message}; all traits are 1 until they are learnt anew"
            )
            return TraitMemory()

    def _tell(self, kind: str, message: str) -> None:
        log.warning("%s", message)
        self._news.append((kind, message, Severity.WARNING))
