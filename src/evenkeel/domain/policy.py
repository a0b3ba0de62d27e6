"""The operator's policy for a host: thresholds, patience and limits. Sent by the controller."""

from __future__ import annotations

from dataclasses import dataclass, field

from evenkeel.domain.host import Mode
from evenkeel.domain.ids import TenantId, VmId
from evenkeel.domain.plan import REMEDIES, ActionKind


@dataclass(frozen=True, slots=True)
class PairThreshold:
    """A pair's own alarm threshold."""

    victim: VmId
    aggressor: VmId
    alarm_score: float


@dataclass(frozen=True, slots=True)
class Policy:
    """Scores are 0-100. A pair alarms at `alarm_score` and calms below `release_score`.

    `pair_thresholds` override the threshold for a (victim, aggressor) pair. A mitigation starts
    after `hold_ticks` ticks above it, lives `ttl_s` unless extended, is judged after
    `verify_after_s`, and its victim is left alone for `cooldown_s` afterwards, twice as long each
    time that what was done for it came to nothing. A candidate must cut the victim's loss by at
    least `min_benefit` (a share of its demand) and win it back at least `min_gain_cores`: a VM that
    wants next to nothing is not worth disturbing others for. Whoever is the culprit with less than
    `min_confidence` is not made to lose anything.

    `probe` lets Evenkeel find out in mode act: it throttles a suspect by at most the share
    `probe_depth` of its present use, for at most `probe_max_s` at a time and `probe_rounds` times,
    where the culprit is less sure than `probe_below`; one experiment at a time on a host, at most
    `probes_per_hour` evenly spaced, and the same suspect again only after `probe_cooldown_s`.
    """

    version: int = 0
    mode: Mode = Mode.ADVISE
    tenant_modes: dict[TenantId, Mode] = field(default_factory=dict)
    alarm_score: float = 20.0
    release_score: float = 10.0
    pair_thresholds: tuple[PairThreshold, ...] = ()
    hold_ticks: int = 2
    ttl_s: float = 120.0
    verify_after_s: float = 10.0
    cooldown_s: float = 60.0
    min_benefit: float = 0.05
    min_gain_cores: float = 0.1
    max_open_per_host: int = 8
    allowed: frozenset[ActionKind] = REMEDIES
    min_confidence: float = 0.5
    probe: bool = False
    probe_depth: float = 0.2
    probe_max_s: float = 6.0
    probe_rounds: int = 3
    probe_below: float = 0.8
    probes_per_hour: float = 12.0
    probe_cooldown_s: float = 900.0

    def mode_for(self, tenant: TenantId) -> Mode:
        """A tenant's own mode can only hold Evenkeel back further than the host's."""
        own = self.tenant_modes.get(tenant, self.mode)
        return min(own, self.mode, key=_CAUTION.index)

    def alarm_for(self, victim: VmId, aggressor: VmId) -> float:
        for pair in self.pair_thresholds:
            if pair.victim == victim and pair.aggressor == aggressor:
                return pair.alarm_score
        return self.alarm_score


_CAUTION = (Mode.OBSERVE, Mode.ADVISE, Mode.ACT)
