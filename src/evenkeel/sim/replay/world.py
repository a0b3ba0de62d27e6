"""What a replayed fleet is made of: its hosts in columns, and where everybody is.

The recording (`domain.recording`) says who wants what; nothing here decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evenkeel.domain.arrays import F64, Bools, Ints
from evenkeel.domain.errors import TraceInvalid
from evenkeel.domain.recording import NOWHERE, HostShape
from evenkeel.sim.replay.power import watts_of


@dataclass(frozen=True, slots=True, eq=False)
class Hosts:
    """H hosts in columns, (H,) each. Watts when on and idle, and with all CPUs busy; a host
    without VMs is off. `fault_domain` codes, equal where the names are."""

    ids: tuple[str, ...]
    n_cpus: F64
    memory_mib: F64
    net: F64
    iops: F64
    idle_w: F64
    busy_w: F64
    fault_domain: Ints

    @classmethod
    def of(cls, shapes: Sequence[HostShape]) -> Hosts:
        """Raises TraceInvalid where there is none, a name is used twice or a size is not above 0.

        Watts that are not known (0) are those of `power.watts_of`.
        """
        names = tuple(shape.name for shape in shapes)
        if not shapes or len(set(names)) != len(names):
            raise TraceInvalid("a fleet needs hosts, each with a name of its own")
        sizes = np.array([(s.n_cpus, s.memory_mib, s.net_mbit_s, s.iops) for s in shapes], float)
        if not (np.isfinite(sizes) & (sizes > 0)).all():
            bad = names[int(np.argmin((np.isfinite(sizes) & (sizes > 0)).all(axis=1)))]
            raise TraceInvalid(f"host {bad!r}: a size is not above 0")
        watts = np.array([watts_of(shape) for shape in shapes])
        domains = {name: i for i, name in enumerate(dict.fromkeys(s.fault_domain for s in shapes))}
        return cls(
            ids=names,
            n_cpus=sizes[:, 0].copy(),
            memory_mib=sizes[:, 1].copy(),
            net=sizes[:, 2].copy(),
            iops=sizes[:, 3].copy(),
            idle_w=watts[:, 0],
            busy_w=watts[:, 1],
            fault_domain=np.array([domains[s.fault_domain] for s in shapes], dtype=np.intp),
        )

    @property
    def n(self) -> int:
        return len(self.ids)

    @property
    def capacity(self) -> F64:
        """(H, R)"""
        return np.column_stack([self.n_cpus, self.memory_mib, self.net, self.iops])


@dataclass(slots=True, eq=False)
class State:
    """Where the V VMs are, (V,) each.

    `host`: where it runs, NOWHERE: it is not there (yet, any longer, or was refused); `target`:
    where it is moving to, NOWHERE: it stays; `left_mib`: what of its memory is still to be sent;
    `moved_slot`: when its newest move began, -1: never.
    """

    host: Ints
    target: Ints
    left_mib: F64
    moved_slot: Ints

    @classmethod
    def empty(cls, n_vms: int) -> State:
        return cls(
            np.full(n_vms, NOWHERE, dtype=np.intp),
            np.full(n_vms, NOWHERE, dtype=np.intp),
            np.zeros(n_vms),
            np.full(n_vms, -1, dtype=np.intp),
        )

    @property
    def there(self) -> Bools:
        """(V,)"""
        return np.asarray(self.host != NOWHERE)

    @property
    def moving(self) -> Bools:
        """(V,)"""
        return np.asarray(self.target != NOWHERE)

    def copy(self) -> State:
        """For those who may not change it."""
        return State(
            self.host.copy(), self.target.copy(), self.left_mib.copy(), self.moved_slot.copy()
        )


def by_host(at: Ints, values: F64, n_hosts: int) -> F64:
    """(H,) sums of `values` (n,) by the host `at` (n,) which each is."""
    return np.bincount(at, values, n_hosts).astype(np.float64)
