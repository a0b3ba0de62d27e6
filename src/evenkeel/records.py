"""What the controller keeps: the values that go into a `Store` and come out of it again.

Everything here is current state or history derived from agents' batches, plus tokens and modes.
Times are UTC epoch seconds; `*_seen_s` and `received_at_s` are the controller's own clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from evenkeel.domain.arrays import F64, Bools
from evenkeel.domain.events import Event
from evenkeel.domain.evidence import VictimEvidence
from evenkeel.domain.host import Host, Mode
from evenkeel.domain.ids import HostId, TenantId, VmId
from evenkeel.domain.plan import Advice, Mitigation
from evenkeel.domain.rollup import HELD_BACK_LOSS
from evenkeel.domain.score import Deviation, PairDeviation, PairScore
from evenkeel.domain.vm import Vm
from evenkeel.wire import Health, TickBody


@dataclass(frozen=True, slots=True)
class HostRecord:
    """A host as its newest batch (`epoch`, `seq`) told it.

    `tick` is that of the newest batch that had one (`tick_epoch`, `tick_seq`): an agent that
    cannot observe for a while does not empty its host.
    """

    host: Host
    epoch: str
    seq: int
    sent_at_s: float
    last_seen_s: float
    mode: Mode
    health: Health = field(default_factory=Health)
    advice: tuple[Advice, ...] = ()
    skewed: bool = False
    tick: TickBody | None = None
    tick_epoch: str = ""
    tick_seq: int = 0
    tick_seen_s: float | None = None
    pair_deviations: tuple[PairDeviation, ...] = ()
    evidence: tuple[VictimEvidence, ...] = ()


@dataclass(frozen=True, slots=True)
class Claim:
    """One host's newest tick says that it has this VM. Two hosts may, during a migration."""

    vm: VmId
    host: HostId
    running: bool
    taken_at_s: float


@dataclass(frozen=True, slots=True)
class VmRecord:
    """A VM that is or was in the fleet.

    `home` is where it is now (None: it left), `told` the home last written to the event log,
    `last_home` the last host it was known on.
    """

    vm: Vm
    home: HostId | None
    told: HostId | None
    last_home: HostId
    left_at_s: float | None = None


@dataclass(frozen=True, slots=True)
class PairRecord:
    host: HostId
    score: PairScore
    at_s: float


@dataclass(frozen=True, slots=True)
class PairsPassed:
    """Where a list of pairs, worst first, goes on: after `n_passed` pairs of this very score."""

    score: float
    n_passed: int


@dataclass(frozen=True, slots=True)
class MitigationRecord:
    """A mitigation as the batch (`epoch`, `seq`) of its host told it."""

    mitigation: Mitigation
    epoch: str
    seq: int


@dataclass(frozen=True, slots=True)
class EventRecord:
    id: int
    event: Event


@dataclass(frozen=True, slots=True)
class DeviationRecord:
    at_s: float
    deviation: Deviation


@dataclass(frozen=True, slots=True)
class BatchSource:
    """Names a batch, and so what came with it."""

    host: HostId
    epoch: str
    seq: int


@dataclass(frozen=True, slots=True, eq=False)
class VmSeries:
    """One VM's ticks, oldest first: `values` is (n_ticks, 4, n_resources), NaN where unknown.

    The second axis is demand, usage, loss, self_limited.
    """

    at_s: F64
    values: F64 = field(default_factory=lambda: np.empty((0, 4, 0)))


@dataclass(frozen=True, slots=True, eq=False)
class RosterTicks:
    """Ticks of one host while it had these VMs: `values` is (n_ticks, 4, n_vms, n_resources).

    The second axis is demand, usage, loss, self_limited; NaN where unknown. They were taken at
    `at_s` (n_ticks,), oldest first.
    """

    id: int
    host: HostId
    vms: tuple[VmId, ...]
    at_s: F64
    values: F64

    @property
    def demand(self) -> F64:
        """(n_ticks, n_vms, n_resources)"""
        return self.values[:, 0]

    @property
    def loss(self) -> F64:
        return self.values[:, 2]

    def held_back(self) -> Bools:
        """Where others or its own limits kept a VM from what it wanted, (n_ticks, n_vms, n_res)."""
        by_itself = np.nan_to_num(self.values[:, 3])
        known: Bools = ~np.isnan(self.demand)
        wants = known & (self.demand > 0)
        limited = np.divide(by_itself, self.demand, out=np.zeros_like(self.demand), where=wants)
        return known & (np.nan_to_num(self.loss) + limited >= HELD_BACK_LOSS)


@dataclass(frozen=True, slots=True)
class FleetSummary:
    n_hosts: int
    n_hosts_alive: int
    n_vms: int
    n_pairs_above_threshold: int
    n_open_mitigations: int


@dataclass(frozen=True, slots=True)
class HostSummary:
    n_open_mitigations: int = 0
    worst_score: float = 0.0


@dataclass(frozen=True, slots=True)
class ModeSettings:
    """The operator's modes. `version` grows with every change."""

    version: int = 0
    fleet: Mode = Mode.ADVISE
    hosts: dict[HostId, Mode] = field(default_factory=dict)
    tenants: dict[TenantId, Mode] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """A token without its secret; `role` is admin, agent or tenant."""

    id: str
    role: str
    subject: str
    created_at_s: float
    revoked_at_s: float | None = None


@dataclass(frozen=True, slots=True)
class Maintenance:
    """Nothing new is placed on a host."""

    since_s: float
    reason: str
