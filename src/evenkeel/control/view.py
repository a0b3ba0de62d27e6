"""What a host's decisions see, and what they remember from tick to tick."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from evenkeel.domain.ids import MitigationId, VmId
from evenkeel.domain.plan import Mitigation
from evenkeel.domain.policy import Policy
from evenkeel.domain.sample import Flaw, HostTick
from evenkeel.interference.contention import ContentionMap
from evenkeel.interference.loads import Tunings
from evenkeel.interference.window import Window

JUDGE_HALF_LIFE_S: Final = 7.5
UNTRUSTED: Final = frozenset({Flaw.NEW, Flaw.RESET, Flaw.IMPLAUSIBLE, Flaw.NO_DELAY})
MOST_DOUBLINGS: Final = 5

PairKey = tuple[VmId, VmId]


@dataclass(frozen=True, slots=True)
class Futile:
    """How many mitigations for a victim came to nothing, one after the other, and until when that
    is held against it."""

    n: int
    until_s: float


@dataclass(frozen=True, slots=True)
class Patience:
    """What the decision remembers: ticks above threshold, ticks of calm, and who is left alone."""

    above: dict[PairKey, int] = field(default_factory=dict)
    calm: dict[MitigationId, int] = field(default_factory=dict)
    cooldown_until_s: dict[VmId, float] = field(default_factory=dict)
    futile: dict[VmId, Futile] = field(default_factory=dict)

    def leaving_alone(self, victim: VmId, until_s: float) -> Patience:
        """The same, with a victim for which nothing is started before `until_s`."""
        return replace(self, cooldown_until_s={**self.cooldown_until_s, victim: until_s})

    def cooling(self, now_s: float) -> Patience:
        """The same without what is over."""
        return replace(
            self,
            cooldown_until_s={vm: t for vm, t in self.cooldown_until_s.items() if t > now_s},
            futile={vm: futile for vm, futile in self.futile.items() if futile.until_s > now_s},
        )

    def ended(self, victim: VmId, now_s: float, cooldown_s: float, in_vain: bool) -> Patience:
        """The same after a mitigation ended: its victim is left alone for a while, twice as long
        each time that what was done for it came to nothing. That is forgotten once as much time
        again has passed."""
        n = 0
        if in_vain:
            n = 1 + (self.futile[victim].n if victim in self.futile else 0)
        wait_s = cooldown_s * 2 ** min(max(n - 1, 0), MOST_DOUBLINGS)
        futile = {vm: known for vm, known in self.futile.items() if vm != victim}
        if n:
            futile[victim] = Futile(n, now_s + 2 * wait_s)
        return replace(self.leaving_alone(victim, now_s + wait_s), futile=futile)


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """All that a decision sees. `open_now` are the journal's open mitigations."""

    now_s: float
    tick: HostTick
    window: Window
    contention: ContentionMap
    open_now: tuple[Mitigation, ...]
    policy: Policy

    def after(self, changed: Tunings) -> View:
        """As it will be once these VMs are tuned so: what is decided next must reckon with it."""
        return replace(self, window=self.window.tuned(changed)) if changed else self
