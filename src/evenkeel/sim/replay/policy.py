"""What a policy of a replay is asked and knows, and what comes of it.

Those who decide on a live fleet meet this in `wiring.replay`; opponents are in `opponents`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from evenkeel.domain.arrays import F64, Ints
from evenkeel.sim.replay.world import Hosts, State


class Past(Protocol):
    """What was measured in slots that are over."""

    @property
    def n_slots(self) -> int:
        """Slots 0 .. n_slots - 1 are over."""
        ...

    def wanted(self, slot: int) -> F64:
        """(V, R) demand (not usage) of VMs that were there, NaN: not there, or not known.

        Raises IndexError for a slot that is not over.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Sizes:
    """What is known of V VMs from the day they come: names, (V,) `vcpus` and `memory_mib`,
    `tenant`, and the `kind` of work they do."""

    ids: tuple[str, ...]
    vcpus: F64
    memory_mib: F64
    tenant: tuple[str, ...]
    kind: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What a policy knows as `slot` begins. Rows of VMs that did not come yet are not to be read;
    `recorded` (V,) is the host on which one that comes was recorded, NOWHERE: not known."""

    slot: int
    start_s: float
    slot_s: float
    hosts: Hosts
    vms: Sizes
    recorded: Ints
    state: State
    past: Past


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """What n VMs got (n, R), in the units of what they wanted, and what was done for it."""

    got: F64
    n_actions: int = 0
    n_rolled_back: int = 0
    events: tuple[str, ...] = ()


class InPlace(Protocol):
    """What a host does by itself, short of moving VMs; it keeps what it needs between slots."""

    def slot(self, host: int, vms: Ints, wanted: F64, start_s: float, span_s: float) -> Given:
        """A slot of a host that runs short, or on which something is still open.

        Parameters
        ----------
        host : position in `Hosts`
        vms : (n,) positions in the recording, ascending; who was there before and is not now has
            left or moved
        wanted : (n, R) mean demand over the slot
        """
        ...

    def is_open(self, host: int) -> bool:
        """Whether it has to be asked in the next slot, short or not."""
        ...


class Policy(Protocol):
    """Decides who goes where; one object a run."""

    @property
    def name(self) -> str: ...

    @property
    def in_place(self) -> InPlace | None: ...

    def place(self, seen: Seen, vms: Ints) -> Ints:
        """(n,) hosts of the VMs (n,) that come in this slot; NOWHERE: refused, for good."""
        ...

    def move(self, seen: Seen) -> tuple[Ints, Ints]:
        """(M,) VMs that are there and stay, and the hosts that they begin to move to."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What came of a policy: numbers, `by_slot` (T,) and `by_vm` (V,) columns, assumptions."""

    policy: str
    metrics: dict[str, float]
    by_slot: dict[str, F64]
    by_vm: dict[str, F64]
    notes: tuple[str, ...] = ()
