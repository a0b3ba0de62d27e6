"""What the agent hands to the exposition: its latest results, replaced as a whole each tick."""

from __future__ import annotations

from dataclasses import dataclass, field

from evenkeel.domain.host import Mode
from evenkeel.domain.plan import Mitigation
from evenkeel.domain.sample import HostCounters, HostTick
from evenkeel.domain.score import PairScore
from evenkeel.wire import Health


@dataclass(frozen=True, slots=True)
class MetricsSnapshot:
    """One tick's results. `counters` is None while the hypervisor does not answer."""

    mode: Mode
    counters: HostCounters | None = None
    tick: HostTick | None = None
    scores: tuple[PairScore, ...] = ()
    mitigations: tuple[Mitigation, ...] = ()
    health: Health = field(default_factory=Health)
