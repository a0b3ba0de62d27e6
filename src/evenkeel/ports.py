"""What the services need from the outside world, as Protocols. Adapters and sim/ implement them.

Every method says what it raises; an implementation raises nothing else on expected trouble.
`retry` says whether calling again with the same arguments is safe.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from evenkeel.domain.arrays import F64
from evenkeel.domain.host import Mode
from evenkeel.domain.ids import VmId
from evenkeel.domain.plan import Instruction, Mitigation
from evenkeel.domain.policy import Policy
from evenkeel.domain.resources import Resource
from evenkeel.domain.sample import Ahead, GuestReading, HostCounters, HostTick
from evenkeel.domain.score import PairDeviation, PairScore
from evenkeel.domain.vm import CpuTuning
from evenkeel.wire import BatchReply, Health


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An agent's latest results, for whoever shows them; no counters while libvirt is silent."""

    mode: Mode
    counters: HostCounters | None = None
    tick: HostTick | None = None
    scores: tuple[PairScore, ...] = ()
    mitigations: tuple[Mitigation, ...] = ()
    health: Health = field(default_factory=Health)
    ahead: Ahead | None = None
    """Of the VMs of `tick`, in its order."""
    deviating: tuple[PairDeviation, ...] = ()
    reliability: dict[float, F64] = field(default_factory=dict)
    """By horizon, (4, n_resources, n_bins) since the agent's start: number of predictions, sums of
    predicted, of measured loss, of squared error."""


class Clock(Protocol):
    """Time, injected. `wall_s` may jump; `monotonic_s` never goes back."""

    def wall_s(self) -> float: ...

    def monotonic_s(self) -> float: ...


class Hypervisor(Protocol):
    """One host's hypervisor. Calls return within the adapter's own timeout."""

    def observe(self) -> HostCounters:
        """All VMs in one call. Retry: yes. Raises HypervisorError."""
        ...

    def tuning(self, vm_id: VmId) -> CpuTuning:
        """Read one VM's knobs afresh. Retry: yes. Raises VmGone, HypervisorError."""
        ...

    def apply(self, instruction: Instruction) -> None:
        """Turn one knob of a running VM, for this run only. Retry: yes, it is idempotent.

        Raises VmGone, ActionUnsupported, ActionRefused, HypervisorError.
        """
        ...

    def close(self) -> None: ...


class GuestProfiles(Protocol):
    """What profilers inside the VMs of one host say. Most VMs have none, and lose nothing."""

    def read(self) -> Mapping[VmId, GuestReading]:
        """What came since the last call, of the VMs that have a channel. Never blocks or raises.

        A report is given once. What a VM sends that cannot be true, or beyond a bound, is refused
        and marked with a flaw of that VM's reading; other VMs' readings are what they would be
        without it.
        """
        ...

    def close(self) -> None: ...


class Journal(Protocol):
    """The agent's durable record of mitigations. A call that returns is on disk.

    Raises JournalUnavailable; whoever cannot write the journal does not act.
    """

    def record(self, mitigation: Mitigation) -> None:
        """Insert or replace by id. Retry: yes."""
        ...

    def open_mitigations(self) -> tuple[Mitigation, ...]: ...

    def unreported(self) -> tuple[Mitigation, ...]:
        """Closed mitigations that no acknowledged batch has carried yet."""
        ...

    def mark_reported(self, mitigations: tuple[Mitigation, ...]) -> None:
        """Forget closed ones as carried, if they have not changed since. Retry: yes."""
        ...

    def close(self) -> None: ...


class Spool(Protocol):
    """Bounded durable queue of encoded batches, oldest first. Never raises, never waits long.

    Batches come out in the order they were put, those of former agent runs first. A batch that
    was put survives the agent's death (not always a power cut). One thread may put while another
    takes.
    """

    def put(self, body: bytes) -> int:
        """Keep a batch; returns the ticket that `oldest` will show it by."""
        ...

    def oldest(self) -> tuple[int, bytes] | None:
        """The batch to deliver next, with the ticket to drop it by; None when empty."""
        ...

    def drop(self, ticket: int) -> None:
        """Forget a batch that was acknowledged (or refused for good). Retry: yes."""
        ...

    def n_batches(self) -> int: ...

    def n_dropped(self) -> int:
        """Batches lost to the bound, a full disk or damage since start; shown, never silent."""
        ...

    def close(self) -> None: ...


class PolicyMemory(Protocol):
    """Keeps the last policy over restarts, so that an agent alone goes on by it."""

    def load(self) -> Policy | None:
        """The policy saved last; None when there is none that can be read."""
        ...

    def save(self, policy: Policy) -> None:
        """Never raises: a policy that could not be written is logged and holds for this run."""
        ...


@dataclass(frozen=True, slots=True)
class KeptModel:
    """A short model as an agent keeps it. `sha256` is that of `blob`."""

    id: str
    sha256: str
    blob: bytes


class ModelMemory(Protocol):
    """Keeps the short models over restarts, one a resource."""

    def load(self, resource: Resource) -> KeptModel | None:
        """The one saved last; None when there is none. Raises ModelCorrupt: it is damaged."""
        ...

    def save(self, resource: Resource, model: KeptModel | None) -> None:
        """Replace it, whole or not at all; None: forget it. Raises ModelsUnavailable."""
        ...


class TraitKeeper(Protocol):
    """Keeps what an agent learnt of its VMs' traits over restarts, in one blob."""

    def load(self) -> bytes | None:
        """The one saved last; None when there is none. Raises ModelCorrupt: it cannot be read."""
        ...

    def save(self, blob: bytes) -> None:
        """Replace it, whole or not at all. Raises ModelsUnavailable."""
        ...


class ControllerLink(Protocol):
    def model(self, model_id: str) -> bytes:
        """What a model that serves learnt, as it came. Retry: yes.

        Raises ControllerUnavailable, Unauthenticated, Forbidden (it serves no longer).
        """
        ...

    def send(self, body: bytes) -> BatchReply:
        """Deliver one encoded batch. Retry: yes, (host, epoch, seq) deduplicates.

        Raises ControllerUnavailable (try later), Unauthenticated, Forbidden (try later, it is
        the operator's to mend), BatchInvalid, BatchTooLarge (drop it, it will never pass).
        """
        ...
