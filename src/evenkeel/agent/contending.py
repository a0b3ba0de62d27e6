"""The host's contention maps, now and a minute ahead, by traits that are learnt on the way.

The tick's thread observes, learns and scores; the reporter's thread brings what the controller
pooled from all hosts, for VMs that are new here. A prediction is always made before what it
predicts is learnt from. What was learnt is kept on disk; where that is damaged, all traits are 1
again, and that is said.
"""

from __future__ import annotations

import hashlib
import logging
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from evenkeel.agent.foresight import News
from evenkeel.domain.errors import EvenkeelError, ModelCorrupt
from evenkeel.domain.events import Severity
from evenkeel.domain.sample import Ahead, HostTick
from evenkeel.interference.contention import ContentionMap, score_ahead, score_loads
from evenkeel.interference.kinds import Priors, TraitMemory, expected, pool, said_by
from evenkeel.interference.loads import host_loads
from evenkeel.interference.rows import present
from evenkeel.interference.traits import evidence, learn
from evenkeel.interference.weighing import Findings
from evenkeel.interference.window import Window
from evenkeel.ports import TraitKeeper
from evenkeel.wire import MAX_KIND, MAX_KINDS, KindTraits, ServingModel

log = logging.getLogger(__name__)

POOL_EVERY_S: Final = 60.0
SAVE_EVERY_S: Final = 300.0
REPLIES_TO_WAIT: Final = 12
"""After a model could not be had, so many replies go by before it is asked for again."""


class Contending:
    """`follow` belongs to the reporter's thread, all else to the tick's. Nothing in it raises."""

    def __init__(self, keeper: TraitKeeper, half_life_s: float) -> None:
        self._keeper = keeper
        self._half_life_s = half_life_s
        self._news: deque[News] = deque(maxlen=10)
        self._memory = self._recalled()
        self._said = said_by(self._memory.kept.values())
        self._own_priors = pool(self._said)
        self._served: Priors | None = None
        self._served_sha256 = self._refused_sha256 = ""
        self._replies_to_wait = 0
        self._is_news_to_tell = False
        self._unpooled_s = self._unsaved_s = 0.0
        self._fails_to_save = False

    def observe(
        self, window: Window, tick: HostTick, ahead: Ahead, findings: Findings | None = None
    ) -> tuple[ContentionMap, ContentionMap]:
        """The map as it stands, and as it will at the farthest of the horizons of `ahead`.

        `window` ends with `tick`, `ahead` was forecast from it, and `findings` are what
        experiments on the host's VMs found.
        """
        rows = present(window, self._half_life_s)
        loads = host_loads(rows, tick.host)
        priors = self._served or self._own_priors
        prior = expected(tick.vms, priors)
        belief = self._memory.belief(tick.vms, priors)
        belief = learn(belief, prior, evidence(loads, tick), tick.interval_s)
        self._memory = self._memory.with_(tick.vms, belief)
        self._keep_up(tick.interval_s)
        half_life_s = self._half_life_s
        now = score_loads(rows, loads, window, tick.host, half_life_s, belief.traits(), findings)
        horizon_s = ahead.horizons_s[-1]
        soon = score_ahead(
            ahead.quantiles[:, :, -1],
            horizon_s,
            window,
            tick.host,
            half_life_s,
            belief.traits(horizon_s),
            findings,
        )
        return now, soon

    def report(self) -> tuple[KindTraits, ...]:
        """What the host has learnt, by kind; empty between two poolings."""
        if not self._is_news_to_tell:
            return ()
        self._is_news_to_tell = False
        return tuple(
            KindTraits(one.kind[:MAX_KIND], one.weight.tolist(), one.total.tolist())
            for one in self._said[:MAX_KINDS]
        )

    def follow(self, serving: ServingModel | None, fetch: Callable[[str], bytes]) -> None:
        """Have what the controller pooled; `fetch` is `ControllerLink.model`."""
        self._replies_to_wait = max(0, self._replies_to_wait - 1)
        if serving is None or self._replies_to_wait:
            return
        if serving.sha256 in (self._served_sha256, self._refused_sha256):
            return
        try:
            blob = fetch(serving.id)
            if hashlib.sha256(blob).hexdigest() != serving.sha256:
                raise ModelCorrupt(f"{serving.id} came with a wrong checksum")
        except Exception as error:  # batches go on, whatever it is
            log.warning("contention model %s could not be had: %s", serving.id, error)
            self._replies_to_wait = REPLIES_TO_WAIT
            return
        try:
            self._served = Priors.load(blob)
            self._served_sha256 = serving.sha256
        except ModelCorrupt as error:
            self._refused_sha256 = serving.sha256
            self._tell("contention_model_refused", f"{serving.id}: {error.message}")

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
            self._said = said_by(self._memory.kept.values())
            self._own_priors = pool(self._said)
            self._is_news_to_tell = True
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
