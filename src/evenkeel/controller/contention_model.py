"""Traits of kinds, pooled from what every host has learnt, and served to all of them.

What hosts said last is held in memory alone: after a restart they say it again within a minute,
and until then agents go on with the model they have.
"""

from __future__ import annotations

import hashlib
import threading
from typing import Final

import numpy as np

from evenkeel.domain.errors import ModelNotFound
from evenkeel.domain.ids import HostId
from evenkeel.interference.kinds import Priors, Said, pool
from evenkeel.ports import Clock
from evenkeel.wire import Batch, KindTraits, ServingModel

MODEL_EVERY_S: Final = 900.0
"""A new model no more often than this: every host fetches it."""
SILENT_S: Final = 86_400.0
"""What a host said counts for so long after it was heard last."""
NAME: Final = "contention"


class ContentionModel:
    """Thread-safe. `hear` takes batches in any order, any number of times."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._heard: dict[HostId, tuple[str, int, float, tuple[KindTraits, ...]]] = {}
        self._blobs: dict[str, bytes] = {}
        self._serving: ServingModel | None = None
        self._made_at_s = -np.inf

    def hear(self, batch: Batch) -> None:
        """What the newest of a host's batches says of its VMs."""
        if not batch.traits:
            return
        with self._lock:
            known = self._heard.get(batch.host.id)
            if known is None or (batch.epoch, batch.seq) > known[:2]:
                now_s = self._clock.monotonic_s()
                self._heard[batch.host.id] = (batch.epoch, batch.seq, now_s, batch.traits)

    def serving(self) -> ServingModel | None:
        """The model that agents should have; None before any host has said anything."""
        with self._lock:
            now_s = self._clock.monotonic_s()
            if self._heard and now_s - self._made_at_s >= MODEL_EVERY_S:
                self._made_at_s = now_s
                self._make(now_s)
            return self._serving

    def blob(self, model_id: str) -> bytes:
        """The model that serves, or the one before. Raises ModelNotFound."""
        with self._lock:
            try:
                return self._blobs[model_id]
            except KeyError:
                raise ModelNotFound(f"there is no contention model {model_id}") from None

    def _make(self, now_s: float) -> None:
        for host, (_, _, heard_at_s, _) in list(self._heard.items()):
            if now_s - heard_at_s > SILENT_S:
                del self._heard[host]
        blob = self._pooled().save()
        sha256 = hashlib.sha256(blob).hexdigest()
        name = f"{NAME}-{sha256[:16]}"
        self._blobs = dict([*list(self._blobs.items())[-1:], (name, blob)])
        self._serving = ServingModel(NAME, name, sha256)

    def _pooled(self) -> Priors:
        """Hosts in a fixed order, so that the same words give the same bytes."""
        return pool(
            Said(one.kind, np.array(one.weight), np.array(one.total))
            for _, (_, _, _, traits) in sorted(self._heard.items())
            for one in traits
        )
